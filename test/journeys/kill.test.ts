import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { ChatClient, numberOf, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import { eventually } from '../harness/eventually.js';
import type { NodeProcess } from '../harness/node-process.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { person, type Person } from '../harness/tokens.js';

const CLIENTS = 4;
/** Messages that a client has in flight, so that some are in flight when the node dies. */
const WINDOW = 8;

let world: ChatWorld;

beforeAll(async () => {
  world = await createChatWorld();
});
afterAll(() => world.close());

/**
 * A client as docs/PROTOCOL.md recommends it: it reconnects with the number of its last message, and sends unanswered
 * messages again.
 */
class Survivor {
  readonly who: Person;
  /** Number and ref of each received message, in the order of arrival. */
  readonly seen: [seq: number, ref: unknown][] = [];
  /** By ref, the number in the answer. */
  readonly sent = new Map<string, number>();
  /** The close codes of its connections. */
  readonly closes: number[] = [];
  /** All other frames. */
  readonly surprises: ServerFrame[] = [];
  readonly #room: number;
  readonly #unanswered = new Set<string>();
  #client: ChatClient | undefined;
  #refs = 0;
  #isTalking = true;
  #last: number;

  constructor(who: Person, room: number, after: number) {
    this.who = who;
    this.#room = room;
    this.#last = after;
  }

  get last(): number {
    return this.#last;
  }

  /** Talks over the node until the connection ends. */
  async visit(node: Pick<NodeProcess, 'chatUrl'>): Promise<void> {
    const client = await ChatClient.enter(node, this.who);
    this.#client = client;
    client.send({ type: 'select_room', room_id: this.#room, after: this.#last });
    const gone = client.closed().then(({ code }) => {
      this.closes.push(code);
      return undefined;
    });
    for (;;) {
      const frame = await Promise.race([client.next(), gone]);
      if (frame === undefined) return;
      this.#take(frame);
    }
  }

  /** Sends nothing new. */
  hush(): void {
    this.#isTalking = false;
  }

  get isAnswered(): boolean {
    return this.#unanswered.size === 0;
  }

  leave(): void {
    this.#client?.socket.close();
  }

  #take(frame: ServerFrame): void {
    if (frame.type === 'message') {
      this.#last = numberOf(frame);
      this.seen.push([this.#last, (frame.data as { ref?: string }).ref]);
    } else if (frame.data === 'CONNECTED') {
      for (const ref of this.#unanswered) this.#send(ref);
      while (this.#unanswered.size < WINDOW) this.#say();
    } else if (frame.data === 'SENT') {
      this.#unanswered.delete(String(frame['ref']));
      this.sent.set(String(frame['ref']), Number(frame['seq']));
      if (this.#isTalking) this.#say();
    } else {
      this.surprises.push(frame);
    }
  }

  #say(): void {
    this.#refs += 1;
    const ref = `${this.who.userUUID.slice(0, 8)} ${this.#refs}`;
    this.#unanswered.add(ref);
    this.#send(ref);
  }

  #send(ref: string): void {
    this.#client?.say(`message ${ref}`, { ref });
  }
}

/** Number and ref of the messages in the log, in order. */
async function storedIn(room: number): Promise<[seq: number, ref: unknown][]> {
  const rows = await query<{ seq: string; ref: string | null }>(
    world.databaseUrl,
    `SELECT seq, ref FROM messages WHERE room_id = $1 AND kind = 'message' ORDER BY seq`,
    [room],
  );
  return rows.map(({ seq, ref }) => [Number(seq), ref]);
}

function until(isSo: () => boolean): Promise<void> {
  return eventually(() => {
    if (!isSo()) throw new Error('it does not come about');
  });
}

it.each([
  { signal: 'SIGKILL', exit: 'SIGKILL', code: 1006 },
  { signal: 'SIGTERM', exit: 0, code: 1012 },
] as const)(
  'a node ended by $signal loses no acknowledged message, and its clients resume on another node',
  async ({ signal, exit, code }) => {
    const [east, west] = await Promise.all([world.startProcess(), world.startProcess()]);
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(east, ana);
    // Of her entity: its rule admits them without an entry, so messages are the only entries.
    const crowd = Array.from(
      { length: 2 * CLIENTS },
      () => new Survivor(person({ entityUUID: ana.entityUUID, levelOnEntity: 100 }), room, 0),
    );
    const movers = crowd.slice(CLIENTS);
    const visits = crowd.map(async (one) => {
      if (movers.includes(one)) await one.visit(east);
      await one.visit(west);
    });
    const all = Promise.all(visits);
    await until(() => crowd.every(({ sent }) => sent.size >= 50));
    expect(await east.end(signal)).toBe(exit);
    const sentThere = movers.map(({ sent }) => sent.size);
    await until(() => movers.every(({ sent }, i) => sent.size >= (sentThere[i] ?? 0) + 50));

    for (const one of crowd) one.hush();
    await until(() => crowd.every(({ isAnswered }) => isAnswered));
    const log = await storedIn(room);
    await until(() => crowd.every(({ last }) => last === log.at(-1)?.[0]));
    for (const one of crowd) one.leave();
    await all;

    const numbers = new Map(log.map(([seq, ref]) => [ref, seq]));
    expect(numbers.size).toBe(log.length);
    expect(numbers).toEqual(new Map(crowd.flatMap(({ sent }) => [...sent])));
    for (const one of crowd) {
      expect(one.seen).toEqual(log);
      expect(one.surprises).toEqual([]);
      // 1005: they closed the socket themselves.
      expect(one.closes).toEqual(movers.includes(one) ? [code, 1005] : [1005]);
    }
  },
);

it('a log that a killed node was deleting is deleted to the end by the next node', async () => {
  const east = await world.startProcess();
  const ana = person({ levelOnEntity: 100 });
  const room = await createRoom(east, ana);
  const { last } = await fillRoom(world.databaseUrl, room, 200_000);
  const deletion = request(east, 'DELETE', `/rooms/${room}`, { as: ana }).catch(() => 'cut');
  await vi.waitFor(
    async () => {
      const [left] = await query(world.databaseUrl, 'SELECT FROM deleted_rooms WHERE head < $1', [
        last,
      ]);
      if (left === undefined) throw new Error('it has not begun');
    },
    { timeout: PATIENCE_MS, interval: 5 },
  );
  await east.end('SIGKILL');
  expect(await deletion).toBe('cut');

  await world.startProcess();
  await eventually(async () => {
    const [rest] = await query(
      world.databaseUrl,
      `SELECT (SELECT count(*)::int FROM messages WHERE room_id = $1) AS messages,
           (SELECT count(*)::int FROM deleted_rooms) AS rooms`,
      [room],
    );
    expect(rest).toEqual({ messages: 0, rooms: 0 });
  });
});
