import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { SUBPROTOCOL_V2 } from '../../src/protocol/versions.js';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import {
  ModelClient,
  type Outcome,
  type Page,
  type StoredCommand,
} from '../harness/model-client.js';
import type { TestNode } from '../harness/node.js';
import { readStoredRoom, type MemberState, type StoredRoom } from '../harness/room-state.js';
import { person, type Person } from '../harness/tokens.js';

/** Each takes a second on a busy machine. */
const RUNS = 20;
/** There are fewer runs if these take longer. */
const TIME_LIMIT_MS = 20_000;
const PATIENCE_MS = 20_000;
const RECONNECT_MS = 20;

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

/** A socket that is opened again, on the other node, until it is ended. */
abstract class Peer {
  readonly who: Person;
  #socket: WebSocket | undefined;
  #node: number;
  #ended = false;
  #waiting: (() => void)[] = [];

  constructor(who: Person, node: number) {
    this.who = who;
    this.#node = node;
  }

  protected abstract readonly subprotocols: readonly string[];
  protected abstract received(frame: Frame): void;
  protected abstract disconnected(): void;

  connect(): void {
    this.#node = (this.#node + 1) % nodes.length;
    const socket = new WebSocket(nodes[this.#node]?.chatUrl ?? '', [...this.subprotocols]);
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      this.received(JSON.parse(data.toString()) as Frame);
      this.look();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.disconnected();
      if (!this.#ended)
        setTimeout(() => {
          if (!this.#ended) this.connect();
        }, RECONNECT_MS);
    });
  }

  send(command: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }

  /** Breaks the connection. */
  cut(): void {
    this.#socket?.terminate();
  }

  end(): void {
    this.#ended = true;
    this.cut();
  }

  /** Resolves once it is so, which is looked at behind each frame. */
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

interface Settled {
  readonly ref: string;
  readonly command: StoredCommand;
  readonly outcome: Outcome;
}

/** A client of version 2 in one room. */
class PeerV2 extends Peer {
  readonly client: ModelClient;
  /** The commands with an outcome. */
  readonly settled: Settled[] = [];
  /** By ref, how often a command was sent. */
  readonly sent = new Map<string, number>();
  /** Entries that were not next behind CONNECTED or the entry before. */
  readonly misplaced: string[] = [];
  protected readonly subprotocols = [SUBPROTOCOL_V2];
  #place = 0;

  /** @param max how many entries are replayed to it at most; all of them by default */
  constructor(who: Person, node: number, max?: number) {
    super(who, node);
    this.client = new ModelClient({
      userUUID: who.userUUID,
      token: () => who.token,
      send: (command) => {
        const { ref = '' } = command as { ref?: string };
        this.sent.set(ref, (this.sent.get(ref) ?? 0) + 1);
        this.send(command);
      },
      settled: (ref, command, outcome) => {
        this.settled.push({ ref, command, outcome });
      },
      // It joins again by a step, or in the end.
      lost: () => undefined,
      ...(max !== undefined && { pages: { max, load: (roomId) => this.#load(roomId, node) } }),
    });
  }

  async #load(roomId: number, node: number): Promise<Page> {
    const page = await loadPage(anyNode(node), this.who, roomId);
    // Once the page is taken.
    setImmediate(() => {
      this.look();
    });
    return page;
  }

  protected received(frame: Frame): void {
    const { seq } = frame.data as { seq?: number };
    if (frame.data === 'CONNECTED') {
      this.#place = frame.from ?? 0;
    } else if (seq !== undefined) {
      if (seq !== this.#place + 1) this.misplaced.push(`${seq} behind ${this.#place}`);
      this.#place = seq;
    }
    this.client.received(frame);
  }

  protected disconnected(): void {
    this.client.disconnected();
  }
}

/** A client of version 1 in one room, which comes back behind its last message. */
class PeerV1 extends Peer {
  /** By number, as they came. */
  readonly messages = new Map<number, string>();
  /** Messages that came behind a later one. */
  readonly misplaced: string[] = [];
  isInRoom = false;
  protected readonly subprotocols = [];
  readonly #roomId: number;
  readonly #unsent = new Map<string, string>();
  #last = 0;

  constructor(who: Person, node: number, roomId: number) {
    super(who, node);
    this.#roomId = roomId;
  }

  get unsettled(): number {
    return this.#unsent.size;
  }

  say(content: string): void {
    const ref = randomUUID();
    this.#unsent.set(ref, content);
    if (this.isInRoom) this.send({ type: 'message', content, ref });
  }

  select(): void {
    this.send({ type: 'select_room', room_id: this.#roomId, after: this.#last });
  }

  protected received(frame: Frame & { readonly ref?: string; readonly reason?: string }): void {
    const { type, data: word, ref } = frame;
    if (type === 'message') {
      const { seq, content } = word as { seq: number; content: string };
      if (seq <= this.#last) this.misplaced.push(`${seq} behind ${this.#last}`);
      this.#last = seq;
      this.messages.set(seq, content);
    } else if (word === 'READY') {
      this.select();
    } else if (word === 'START?') {
      this.send({ type: 'token', content: this.who.token });
    } else if (word === 'CONNECTED') {
      this.isInRoom = true;
      for (const [unsent, content] of this.#unsent) {
        this.send({ type: 'message', content, ref: unsent });
      }
    } else if (ref === undefined) {
      this.isInRoom = false;
    } else if (word !== 'UNAVAILABLE') {
      this.#unsent.delete(ref);
    }
  }

  protected disconnected(): void {
    this.isInRoom = false;
  }
}

/** A room with its four users, of whom the first one is its admin. */
class Story {
  readonly roomId: number;
  readonly v2: readonly PeerV2[];
  readonly v1: PeerV1;
  readonly #admin: Person;
  readonly #requests: Promise<Answer>[] = [];

  private constructor(roomId: number, users: readonly [Person, Person, Person, Person]) {
    const [ana, ben, cleo, dan] = users;
    this.roomId = roomId;
    this.#admin = ana;
    this.v2 = [
      new PeerV2(ana, 0),
      new PeerV2(ben, 1),
      // Often far behind.
      new PeerV2(cleo, 2, 3),
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
    for (const peer of story.v2) {
      peer.connect();
      peer.client.join(roomId);
    }
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
    } else if (step.do === 'cut') this.#peer(step.by).cut();
    else if (step.do === 'leave') this.#peer(step.by).client.leave(roomId);
    else if (step.do === 'join') this.#peer(step.by).client.join(roomId);
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
    for (const { client } of this.v2) client.join(this.roomId);
    if (!this.v1.isInRoom) this.v1.select();
    for (const peer of this.v2) {
      await peer.until('to be settled', () => peer.client.isWhole && peer.client.unsettled === 0);
    }
    await this.v1.until('to be settled', () => this.v1.isInRoom && this.v1.unsettled === 0);
    const stored = await readStoredRoom(world.databaseUrl, this.roomId);
    for (const peer of this.v2) {
      await peer.until(
        `for ${stored.head}`,
        () => peer.client.room(this.roomId).last >= stored.head,
      );
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
    const { client } = this.#peer(by);
    const target = this.#pick(by, n);
    client.do({
      type: 'message',
      room_id: this.roomId,
      ...(what === 'data' ? { data: { n } } : { content: `text ${n}` }),
      ...(what === 'reply' && target !== undefined && { reply_to: target }),
      ...(n % 3 === 0 && { mentions: [this.v1.who.userUUID] }),
    });
  }

  #read({ by, n }: Step & { do: 'read' }): void {
    const { client } = this.#peer(by);
    client.read(this.roomId, n % (client.room(this.roomId).last + 1));
  }

  #change(step: Change | Reaction): void {
    const target = this.#pick(step.by, step.n);
    if (target === undefined) return;
    const about = { room_id: this.roomId, target };
    const { client } = this.#peer(step.by);
    if (step.do === 'delete') client.do({ type: 'delete', ...about });
    else if (step.do === 'react') {
      client.do({ type: 'reaction', ...about, emoji: EMOJIS[step.emoji] ?? '', on: step.on });
    } else {
      const data = step.n % 2 === 0 ? { data: { edited: step.n } } : {};
      client.do({ type: 'edit', ...about, content: `edit ${step.n}`, ...data });
    }
  }

  /** One of the newest messages that a client knows, by whomever, and deleted ones as well. */
  #pick(by: number, n: number): number | undefined {
    const known = [...this.#peer(by).client.room(this.roomId).messages.keys()].slice(-6);
    return known[n % known.length];
  }

  /** Waits until the clients that are in the room have their answers. */
  async #settle(): Promise<void> {
    for (const peer of this.v2) {
      const room = peer.client.room(this.roomId);
      if (!room.isWanted) continue;
      await peer.until(
        'for answers',
        () => !room.isWanted || (room.isJoined && peer.client.unsettled === 0),
      );
    }
  }

  async #restart(): Promise<void> {
    await Promise.all(this.#requests);
    await nodes.pop()?.close();
    nodes.push(await world.start());
  }
}

it(
  'clients of both versions end in the state of the database, whatever they do',
  async () => {
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
  },
  2 * TIME_LIMIT_MS + PATIENCE_MS,
);

async function judge({ roomId, v2, v1 }: Story, stored: StoredRoom): Promise<void> {
  for (const peer of v2) {
    // One that takes every entry, and one that begins with a page.
    const fresh = [new PeerV2(peer.who, 0), new PeerV2(peer.who, 1, 1)];
    for (const one of fresh) {
      one.connect();
      one.client.join(roomId);
      await one.until(
        'to catch up',
        () => one.client.isWhole && one.client.room(roomId).last >= stored.head,
      );
      one.end();
    }
    for (const { misplaced, client } of [peer, ...fresh]) {
      expect(misplaced).toEqual([]);
      expect(client.room(roomId).state).toEqual(stored.stateFor(peer.who.userUUID));
    }
    const answer = await request(anyNode(0), 'GET', `/rooms/${roomId}`, { as: peer.who });
    for (const { client } of fresh) {
      const { marker: read, unread } = client.room(roomId);
      expect(answer.content).toMatchObject({ read, unread });
    }
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

/** The number of a message that was sent with data alone. */
function bareMessage({ command, outcome }: Settled): number[] {
  const isBare = command.type === 'message' && command['content'] === undefined;
  return isBare && 'seq' in outcome ? [outcome.seq] : [];
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
  for (const { ref, command, outcome } of settled) {
    const stored = own.get(ref);
    if ('reason' in outcome) {
      // The right may have ended between the first time and the second.
      const isSentOnce = sent.get(ref) === 1;
      expect(isSentOnce && stored, `${command.type}, ${outcome.reason}`).toBeFalsy();
    } else if (stored !== undefined) {
      expect(stored).toMatchObject({ seq: String(outcome.seq), kind: command.type });
    } else {
      expect(command.type).not.toBe('message');
      const target = Number(command['target']);
      expect([target, Number(log.get(outcome.seq)?.target ?? outcome.seq)]).toEqual([
        target,
        target,
      ]);
    }
  }
}

function anyNode(n: number): TestNode {
  const node = nodes[n % nodes.length];
  if (node === undefined) throw new Error('there are no nodes');
  return node;
}

/** A room as a client loads it that does not know all entries; rejects unless all of it is answered. */
async function loadPage(node: TestNode, as: Person, roomId: number): Promise<Page> {
  const path = `/rooms/${roomId}`;
  const messages = await request(node, 'GET', `${path}/messages?limit=1000`, { as });
  const members = await request(node, 'GET', `${path}/members?limit=1000`, { as });
  const room = await request(node, 'GET', path, { as });
  const { head, epoch } = messages.meta as unknown as Pick<Page, 'head' | 'epoch'>;
  for (const { status } of [messages, members, room]) if (status !== 200) throw new Error();
  return {
    head,
    epoch,
    messages: messages.content as Page['messages'],
    members: (members.content as (MemberState & { entity_UUID: string })[]).map(
      ({ entity_UUID: uuid, permissions, level, accepted }) => ({
        uuid,
        permissions,
        level,
        accepted,
      }),
    ),
    settings: settingsOf(room),
  };
}

function settingsOf({ content }: Answer): Page['settings'] {
  const { name, data } = content as Page['settings'];
  return { name, data };
}

function rename(node: TestNode, as: Person, roomId: number, name: string): Promise<Answer> {
  return request(node, 'PATCH', `/rooms/${roomId}`, { as, body: { name } });
}
