import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ChatClient, type Room } from '../../src/client/index.js';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import {
  readStoredRoom,
  roomStateOf,
  type RoomState,
  type StoredRoom,
} from '../harness/room-state.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { person, type Person } from '../harness/tokens.js';

/** Each takes a second on a busy machine. */
const RUNS = 20;
/** There are fewer runs if these take longer. */
const TIME_LIMIT_MS = 60_000;
const RECONNECT_MS = 20;

const SERVER = person({}, { server: true });
const EMOJIS = ['👍', '\u{2764}', '\u{2764}\u{FE0F}'] as const;

/** What happens; a number chooses among what there is. */
type Step =
  | {
      readonly do: 'send';
      readonly by: number;
      readonly what: 'text' | 'data' | 'reply';
      readonly n: number;
    }
  | { readonly do: 'edit' | 'delete'; readonly by: number; readonly n: number }
  | {
      readonly do: 'react';
      readonly by: number;
      readonly n: number;
      readonly emoji: number;
      readonly on: boolean;
    }
  | { readonly do: 'sendV1' | 'cutV1' | 'rename'; readonly n: number }
  | { readonly do: 'read'; readonly by: number; readonly n: number }
  | { readonly do: 'rule'; readonly of: number; readonly permissions: string }
  | { readonly do: 'cut' | 'leave' | 'join'; readonly by: number }
  | { readonly do: 'erase'; readonly of: number }
  | { readonly do: 'settle' | 'restart' };

type Change = Extract<Step, { n: number; do: 'edit' | 'delete' }>;
type Reaction = Extract<Step, { emoji: number }>;

const by = fc.nat(2);
const n = fc.nat(1_000);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 24,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      by,
      what: fc.constantFrom('text' as const, 'text' as const, 'data' as const, 'reply' as const),
      n,
    }),
  },
  {
    weight: 21,
    arbitrary: fc.record({ do: fc.constantFrom('edit' as const, 'delete' as const), by, n }),
  },
  {
    weight: 21,
    arbitrary: fc.record({
      do: fc.constant('react' as const),
      by,
      n,
      emoji: fc.nat(EMOJIS.length - 1),
      on: fc.boolean(),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const), by, n }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('sendV1' as const), n }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constantFrom('cutV1' as const, 'rename' as const), n }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('rule' as const),
      of: fc.integer({ min: 1, max: 3 }),
      permissions: fc.constantFrom('rw', 'rw', 'r', 'w', 'rwb'),
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constantFrom('cut' as const, 'leave' as const, 'join' as const),
      by,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('erase' as const), of: fc.integer({ min: 0, max: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
);

let world: ChatWorld;
const nodes: TestNode[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  nodes.push(await world.start(), await world.start());
});
afterAll(() => world.close());

/** What waits until something is so, which is looked at behind each frame and each change. */
abstract class Peer {
  readonly who: Person;
  #waiting: (() => void)[] = [];

  constructor(who: Person) {
    this.who = who;
  }

  /** Breaks the connection. */
  abstract cut(): void;

  async until(what: string, isSo: () => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!isSo()) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`${this.who.userUUID} waits in vain: ${what}`);
      await Promise.race([
        new Promise<void>((resolve) => this.#waiting.push(resolve)),
        delay(left, undefined, { ref: false }),
      ]);
    }
  }

  protected look(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

interface Frame {
  readonly type: string;
  readonly data: unknown;
  readonly room_id?: number;
  readonly from?: number;
}

type ChangeType = 'message' | 'edit' | 'delete' | 'reaction';

/** A command that a client of version 2 gave, and what became of it. */
interface Settled {
  readonly ref: string;
  readonly type: ChangeType;
  /** Undefined of a message. */
  readonly target: number | undefined;
  /** Whether it is a message with data alone. */
  readonly isBare: boolean;
  readonly seq: number | undefined;
  readonly reason: string | undefined;
}

/** A user of the client library in one room, whose connections go to one node after the other. */
class PeerV2 extends Peer {
  readonly room: Room;
  /** The commands with an outcome. */
  readonly settled: Settled[] = [];
  /** Of what was sent by the socket's frames, how often, by ref. */
  readonly sent = new Map<string, number>();
  /** Entries that were not next behind the one before, or came twice. */
  readonly misplaced: string[] = [];
  unsettled = 0;
  readonly #client: ChatClient;
  #socket: WebSocket | undefined;
  #place: number | undefined;

  /** @param max how many entries are replayed to it at most */
  constructor(who: Person, roomId: number, node: number, max?: number) {
    super(who);
    let next = node;
    const { sent } = this;
    const opened = (socket: WebSocket): void => {
      this.#socket = socket;
    };
    class Socket extends WebSocket {
      constructor(_: string, subprotocol: string) {
        next += 1;
        super(anyNode(next).chatUrl, subprotocol);
        opened(this);
      }

      override send(frame: string): void {
        const { ref = '' } = JSON.parse(frame) as { ref?: string };
        sent.set(ref, (sent.get(ref) ?? 0) + 1);
        super.send(frame);
      }
    }
    this.#client = new ChatClient(anyNode(node).url, {
      token: () => who.token,
      WebSocket: Socket,
      fetch: (url, init) => {
        const { pathname, search } = url as URL;
        return fetch(`${anyNode(next).url}${pathname}${search}`, init);
      },
      ...(max !== undefined && { max }),
    });
    this.#client.on('state', (state) => {
      if (state === 'offline') setTimeout(() => this.#client.reconnect(), RECONNECT_MS);
    });
    this.room = this.#client.room(roomId);
    this.room.on('reset', () => {
      this.#place = undefined;
    });
    this.room.on('closed', () => {
      this.#place = undefined;
    });
    this.room.on('entry', (_, { seq }) => {
      const before = this.#place ?? seq - 1;
      if (seq !== before + 1) this.misplaced.push(`${seq} behind ${before}`);
      this.#place = seq;
    });
    this.room.on('change', () => {
      this.look();
    });
  }

  cut(): void {
    this.#socket?.terminate();
  }

  join(): void {
    this.#client.room(this.room.id);
  }

  leave(): void {
    this.#place = undefined;
    this.room.leave();
  }

  end(): void {
    this.#client.close();
  }

  /** Loads all messages. */
  async loadAll(): Promise<void> {
    while (await this.room.loadOlder());
  }

  /** Gives a command, and records its outcome. */
  do(given: Omit<Settled, 'seq' | 'reason'>, outcome: Promise<number>): void {
    this.unsettled += 1;
    const settle = (how: { seq?: number; reason?: string }): void => {
      this.unsettled -= 1;
      this.settled.push({ ...given, seq: how.seq, reason: how.reason });
      this.look();
    };
    outcome.then(
      (seq) => {
        settle({ seq });
      },
      ({ reason }: { reason: string }) => {
        settle({ reason });
      },
    );
  }
}

/** A client of version 1 in one room, which comes back behind its last message. */
class PeerV1 extends Peer {
  /** By number, as they came. */
  readonly messages = new Map<number, string>();
  /** Messages that came behind a later one. */
  readonly misplaced: string[] = [];
  isInRoom = false;
  readonly #roomId: number;
  readonly #unsent = new Map<string, string>();
  #last = 0;
  #socket: WebSocket | undefined;
  #node: number;
  #ended = false;

  constructor(who: Person, node: number, roomId: number) {
    super(who);
    this.#node = node;
    this.#roomId = roomId;
  }

  connect(): void {
    this.#node += 1;
    const socket = new WebSocket(anyNode(this.#node).chatUrl);
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      this.#received(JSON.parse(data.toString()) as Frame);
      this.look();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isInRoom = false;
      if (!this.#ended)
        setTimeout(() => {
          if (!this.#ended) this.connect();
        }, RECONNECT_MS);
    });
  }

  cut(): void {
    this.#socket?.terminate();
  }

  end(): void {
    this.#ended = true;
    this.cut();
  }

  get unsettled(): number {
    return this.#unsent.size;
  }

  say(content: string): void {
    const ref = randomUUID();
    this.#unsent.set(ref, content);
    if (this.isInRoom) this.#send({ type: 'message', content, ref });
  }

  select(): void {
    this.#send({ type: 'select_room', room_id: this.#roomId, after: this.#last });
  }

  #send(command: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }

  #received(frame: Frame & { readonly ref?: string; readonly reason?: string }): void {
    const { type, data: word, ref } = frame;
    if (type === 'message') {
      const { seq, content } = word as { seq: number; content: string };
      if (seq <= this.#last) this.misplaced.push(`${seq} behind ${this.#last}`);
      this.#last = seq;
      this.messages.set(seq, content);
    } else if (word === 'READY') {
      this.select();
    } else if (word === 'START?') {
      this.#send({ type: 'token', content: this.who.token });
    } else if (word === 'CONNECTED') {
      this.isInRoom = true;
      for (const [unsent, content] of this.#unsent) {
        this.#send({ type: 'message', content, ref: unsent });
      }
    } else if (ref === undefined) {
      this.isInRoom = false;
    } else if (word !== 'UNAVAILABLE') {
      this.#unsent.delete(ref);
    }
  }
}

/** A room with its four users, of whom the first one is its admin. */
class Story {
  readonly roomId: number;
  readonly v2: readonly PeerV2[];
  readonly v1: PeerV1;
  readonly #admin: Person;
  readonly #requests: Promise<Answer>[] = [];
  /** By client, numbers of messages that it has known. */
  readonly #known: Set<number>[] = [];

  private constructor(roomId: number, users: readonly [Person, Person, Person, Person]) {
    const [ana, ben, cleo, dan] = users;
    this.roomId = roomId;
    this.#admin = ana;
    this.v2 = [
      new PeerV2(ana, roomId, 0),
      new PeerV2(ben, roomId, 1),
      // Often far behind.
      new PeerV2(cleo, roomId, 2, 3),
    ];
    this.v1 = new PeerV1(dan, 1, roomId);
  }

  static async begin(): Promise<Story> {
    const users = [person({ levelOnEntity: 999 }), person(), person(), person()] as const;
    const [ana, ...others] = users;
    const node = anyNode(0);
    const roomId = await createRoom(node, ana);
    await rename(node, ana, roomId, 'as it begins');
    for (const { userUUID } of others) {
      await putRule(node, ana, roomId, { userUUID, permissions: 'rw' });
    }
    const story = new Story(roomId, [...users]);
    story.v1.connect();
    return story;
  }

  async take(step: Step): Promise<void> {
    const { roomId } = this;
    if (step.do === 'send') this.#send(step);
    else if (step.do === 'edit' || step.do === 'delete' || step.do === 'react') this.#change(step);
    else if (step.do === 'read') this.#read(step);
    else if (step.do === 'sendV1') this.v1.say(`v1 ${step.n}`);
    else if (step.do === 'cutV1') this.v1.cut();
    else if (step.do === 'rename') {
      this.#requests.push(rename(anyNode(step.n), this.#admin, roomId, `name ${step.n}`));
    } else if (step.do === 'rule') {
      const { userUUID } = [...this.v2, this.v1][step.of]?.who ?? this.#admin;
      const { permissions } = step;
      this.#requests.push(
        putRule(anyNode(step.of), this.#admin, roomId, { userUUID, permissions }),
      );
    } else if (step.do === 'erase') {
      const { userUUID } = [...this.v2, this.v1][step.of]?.who ?? this.#admin;
      const path = `/users/${userUUID}/messages`;
      this.#requests.push(request(anyNode(step.of), 'DELETE', path, { as: SERVER }));
    } else if (step.do === 'cut') this.#peer(step.by).cut();
    else if (step.do === 'leave') this.#peer(step.by).leave();
    else if (step.do === 'join') this.#peer(step.by).join();
    else if (step.do === 'restart') await this.#restart();
    else await this.#settle();
  }

  /** Gives all rights to all, and resolves when everybody has the whole log; returns it. */
  async end(): Promise<StoredRoom> {
    await Promise.all(this.#requests);
    for (const { who } of [...this.v2.slice(1), this.v1]) {
      await putRule(anyNode(0), this.#admin, this.roomId, {
        userUUID: who.userUUID,
        permissions: 'rw',
      });
    }
    for (const peer of this.v2) peer.join();
    if (!this.v1.isInRoom) this.v1.select();
    for (const peer of this.v2) {
      await peer.until('to be settled', () => peer.room.isLive && peer.unsettled === 0);
      await peer.loadAll();
    }
    await this.v1.until('to be settled', () => this.v1.isInRoom && this.v1.unsettled === 0);
    const stored = await readStoredRoom(world.databaseUrl, this.roomId);
    for (const peer of this.v2) {
      await peer.until(`for ${stored.head}`, () => peer.room.last >= stored.head);
      // It may have begun anew.
      await peer.loadAll();
    }
    return stored;
  }

  close(): void {
    for (const peer of [...this.v2, this.v1]) peer.end();
  }

  #peer(index: number): PeerV2 {
    const peer = this.v2[index];
    if (peer === undefined) throw new Error(`there is no client ${index}`);
    return peer;
  }

  #send({ by, what, n }: Step & { do: 'send' }): void {
    const peer = this.#peer(by);
    const replyTo = this.#pick(by, n);
    const ref = randomUUID();
    const outcome = peer.room.send({
      ref,
      ...(what === 'data' ? { data: { n } } : { content: `text ${n}` }),
      ...(what === 'reply' && replyTo !== undefined && { replyTo }),
      ...(n % 3 === 0 && { mentions: [this.v1.who.userUUID] }),
    });
    peer.do({ ref, type: 'message', target: undefined, isBare: what === 'data' }, outcome);
  }

  #read({ by, n }: Step & { do: 'read' }): void {
    const { room } = this.#peer(by);
    room.markRead(n % (room.last + 1)).catch(() => undefined);
  }

  #change(step: Change | Reaction): void {
    const target = this.#pick(step.by, step.n);
    if (target === undefined) return;
    const peer = this.#peer(step.by);
    const { room } = peer;
    const ref = randomUUID();
    const about = { ref, target, isBare: false };
    if (step.do === 'delete') {
      peer.do({ ...about, type: 'delete' }, room.delete(target, { ref }));
    } else if (step.do === 'react') {
      const outcome = room.react(target, EMOJIS[step.emoji] ?? '', step.on, { ref });
      peer.do({ ...about, type: 'reaction' }, outcome);
    } else {
      const data = step.n % 2 === 0 ? { data: { edited: step.n } } : {};
      const outcome = room.edit(target, { content: `edit ${step.n}`, ...data, ref });
      peer.do({ ...about, type: 'edit' }, outcome);
    }
  }

  /** One of the newest messages that a client has known, by whomever, and deleted ones as well. */
  #pick(by: number, n: number): number | undefined {
    const { room } = this.#peer(by);
    const known = this.#known[by] ?? new Set();
    this.#known[by] = known;
    for (const { seq } of room.messages) if (seq !== undefined) known.add(seq);
    const newest = [...known].toSorted((one, other) => one - other).slice(-6);
    return newest[n % newest.length];
  }

  /** Waits until the clients that are in the room have their answers. */
  async #settle(): Promise<void> {
    for (const peer of this.v2) {
      await peer.until('for answers', () => {
        const { phase, isLive } = peer.room;
        return phase === 'idle' || phase === 'closed' || (isLive && peer.unsettled === 0);
      });
    }
  }

  async #restart(): Promise<void> {
    await Promise.all(this.#requests);
    await nodes.pop()?.close();
    nodes.push(await world.start());
  }
}

it('clients of both versions end in the state of the database, whatever they do', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 80, size: 'max' }),
      async (steps) => {
        const story = await Story.begin();
        try {
          for (const one of steps) await story.take(one);
          const stored = await story.end();
          await judge(story, stored);
        } finally {
          story.close();
        }
      },
    ),
    { numRuns: RUNS, endOnFailure: true, interruptAfterTimeLimit: TIME_LIMIT_MS },
  );
});

async function judge({ roomId, v2, v1 }: Story, stored: StoredRoom): Promise<void> {
  for (const peer of v2) {
    const fresh = new PeerV2(peer.who, roomId, 0);
    await fresh.until('to catch up', () => fresh.room.isLive && fresh.room.last >= stored.head);
    await fresh.loadAll();
    const { messages } = stored.stateFor(peer.who.userUUID);
    for (const { misplaced, room } of [peer, fresh]) {
      expect(misplaced).toEqual([]);
      expect(messagesOf(room)).toEqual(messages);
    }
    const answer = await request(anyNode(0), 'GET', `/rooms/${roomId}`, { as: peer.who });
    expect(answer.content).toMatchObject({ read: fresh.room.readUpto });
    fresh.end();
    await judgeSettled(peer, roomId);
  }
  // A message that has data alone is not shown by version 1.
  const shown = stored.stateFor('').messages.filter(({ content }) => content !== '');
  expect(v1.misplaced).toEqual([]);
  // If it got a text by an edit, live sessions of version 1 do not see that either.
  const bare = new Set(v2.flatMap(({ settled }) => settled.flatMap(bareMessage)));
  const due = shown.filter(({ seq }) => !bare.has(seq));
  await v1.until('to catch up', () => due.every(({ seq }) => v1.messages.has(seq)));
  const fresh = new PeerV1(v1.who, 0, roomId);
  fresh.connect();
  await fresh.until('to catch up', () => fresh.messages.size >= shown.length);
  fresh.end();
  expect([...fresh.messages]).toEqual(shown.map(({ seq, content }) => [seq, content]));
}

/** The messages of a room, in a form that can be compared. */
function messagesOf({ messages }: Room): RoomState['messages'] {
  const shown = messages.map(({ seq = 0, emitter, content, data, replyTo, ...message }) => ({
    seq,
    emitter,
    content,
    data,
    replyTo,
    mentions: message.mentions.length === 0 ? undefined : message.mentions,
    reactions: message.reactions.map(({ emoji, count, mine }) => ({ emoji, count, isMine: mine })),
  }));
  return roomStateOf(shown, [], undefined).messages;
}

/** The number of a message that was sent with data alone. */
function bareMessage({ isBare, seq }: Settled): number[] {
  return isBare && seq !== undefined ? [seq] : [];
}

/** Each command with a number is the entry of that number, or changed nothing that the entry of that number had not. */
async function judgeSettled({ who, settled, sent }: PeerV2, roomId: number): Promise<void> {
  const rows = await query<{
    seq: string;
    kind: string;
    ref: string | null;
    emitter: string;
    target: string | null;
  }>(world.databaseUrl, 'SELECT seq, kind, ref, emitter, target FROM messages WHERE room_id = $1', [
    roomId,
  ]);
  const log = new Map(rows.map((row) => [Number(row.seq), row]));
  const own = new Map(
    rows.filter(({ emitter }) => emitter === who.userUUID).map((row) => [row.ref, row]),
  );
  for (const { ref, type, target, seq, reason } of settled) {
    const stored = own.get(ref);
    if (seq === undefined) {
      // The right may have ended between the first time and the second.
      const isSentOnce = sent.get(ref) === 1;
      expect(isSentOnce && stored, `${type}, ${reason}`).toBeFalsy();
    } else if (stored !== undefined) {
      expect(stored).toMatchObject({ seq: String(seq), kind: type });
    } else {
      expect(type).not.toBe('message');
      const entry = log.get(seq);
      // An erasure is of many messages.
      const about = entry?.kind === 'erase' ? target : Number(entry?.target ?? seq);
      expect([type, about]).toEqual([type, target]);
    }
  }
}

function anyNode(n: number): TestNode {
  const node = nodes[n % nodes.length];
  if (node === undefined) throw new Error('there are no nodes');
  return node;
}

function rename(node: TestNode, as: Person, roomId: number, name: string): Promise<Answer> {
  return request(node, 'PATCH', `/rooms/${roomId}`, { as, body: { name } });
}
