import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Client } from 'pg';
import { Sequelize } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ChatError } from '../../src/errors.js';
import { HISTORY_READERS } from '../../src/store/connect.js';
import { createRoom, request } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import { deferred } from '../harness/deferred.js';
import { memoryOf } from '../harness/memory.js';
import { person, type Person } from '../harness/tokens.js';

/** Six bytes a character as JSON: one message has 48 KB, the room 14 MB. */
const CONTENT = '\u0001'.repeat(8_000);
const MESSAGES = 300;
/** 6 MB as JSON. */
const ROOMS = 20_000;
/** Memory that V8 may take before it collects garbage: each socket's buffers in the kernel were strings before. */
const GARBAGE_BYTES = 300 * 1024 * 1024;

const ana = person({ levelOnEntity: 100 });
/** A caller without a room, which is answered at once. */
const eve = person();
let world: ChatWorld;
let room: number;

beforeAll(async () => {
  world = await createChatWorld();
  const node = await world.start();
  room = await createRoom(node, ana);
  await fillRoom(world.databaseUrl, room, MESSAGES, CONTENT);
  await query(
    world.databaseUrl,
    `INSERT INTO rooms (uuid, name, type, level_admin, entity_owner, max_entity_rules, "createdAt", "updatedAt")
     SELECT gen_random_uuid(), 'a room', 'group', 999, $1, 10, now(), now() FROM generate_series(1, $2)`,
    [ana.entityUUID, ROOMS],
  );
});
afterAll(() => world.close());

/** Sends a request over a socket of its own, and reads nothing. */
async function ask(node: { readonly url: string }, as: Person, path: string): Promise<Socket> {
  const { hostname: host, port } = new URL(node.url);
  const socket = connect({ host, port: Number(port) });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.pause();
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${as.token}\r\n\r\n`);
  return socket;
}

describe('a client that requests a long answer', () => {
  it.each([
    ['a page of long messages', 60, () => `/rooms/${room}/messages?limit=1000`],
    ['a day of long messages', 60, () => `/rooms/${room}/messages`],
    ['thousands of rooms', 10, () => '/rooms/all'],
  ])('and reads nothing costs a few hundred kilobytes: %s', async (_, count, path) => {
    const node = await world.startProcess();
    await request(node, 'GET', '/rooms', { as: eve });
    const before = memoryOf(node.pid);
    const stuck = await Promise.all(Array.from({ length: count }, () => ask(node, ana, path())));

    for (let [at, last] = ['', 'none']; at !== last;) {
      last = at;
      for (let i = 0; i < 20; i += 1) await request(node, 'GET', '/rooms', { as: eve });
      at = await lastReading();
    }

    expect(memoryOf(node.pid).now - before.now).toBeLessThan(count * 600_000 + GARBAGE_BYTES);
    // A client that continues to read gets the whole answer.
    const [first, ...others] = stuck;
    const whole = await bodyOf(first);
    expect(whole.content).toHaveLength(path() === '/rooms/all' ? ROOMS + 1 : MESSAGES);
    for (const socket of others) socket.destroy();
    expect(await node.end('SIGTERM')).toBe(0);
  });

  it('and hangs up stops the reading, and delays nobody', async () => {
    // The queries that are held up do not end before they are to.
    const node = await world.start({ STORE_TIMEOUT_MS: '60000' });
    const ben = person({ entityUUID: ana.entityUUID, levelOnEntity: 100 });
    const asked = vi.spyOn(Sequelize.prototype, 'query');
    const queriesOf = (table: string): number =>
      asked.mock.calls.filter(([sql]) => typeof sql === 'string' && sql.includes(`FROM ${table}`))
        .length;
    const holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE');
    const gone = await Promise.all(
      Array.from({ length: 40 }, () => ask(node, ana, `/rooms/${room}/messages`)),
    );
    while (queriesOf('messages') < HISTORY_READERS) await request(node, 'GET', '/healthz');

    const aborted = vi.spyOn(AbortController.prototype, 'abort');
    const hungUp = (): number =>
      aborted.mock.calls.filter(([reason]) => reason instanceof ChatError).length;
    for (const socket of gone) socket.destroy();
    while (hungUp() < gone.length) await request(node, 'GET', '/healthz');
    aborted.mockRestore();
    const answer = request(node, 'GET', `/rooms/${room}/messages?limit=1`, { as: ben });
    await request(node, 'GET', '/healthz');
    await holder.query('ROLLBACK');

    expect((await answer).content).toMatchObject([{ content: CONTENT }]);
    // The queries that were running, and this one.
    expect(queriesOf('messages')).toBe(HISTORY_READERS + 1);
    asked.mockRestore();
    await holder.end();
  });
});

describe('a client that requests the messages of a user', () => {
  it('and hangs up stops the reading', async () => {
    const node = await world.start();
    const server = person({}, { server: true });
    const [nobody, other] = [person(), person()];
    const pathOf = ({ userUUID }: Person): string => `/users/${userUUID}/messages`;
    // Some more parts of the log than one query passes.
    await query(
      world.databaseUrl,
      `WITH filled AS (UPDATE rooms SET head = head + 45000 WHERE id = $1 RETURNING head)
       INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT $1, head - 45000 + place, 'reaction', gen_random_uuid(), '', now(), now()
       FROM filled, generate_series(1, 45000) AS place`,
      [room],
    );
    const [begun, held] = [deferred(), deferred()];
    const run = Reflect.get(Sequelize.prototype, 'query') as (...given: unknown[]) => unknown;
    const readFor = { [nobody.userUUID]: 0, [other.userUUID]: 0 };
    const asked = vi.spyOn(Sequelize.prototype, 'query').mockImplementation(async function (
      this: Sequelize,
      ...given: unknown[]
    ) {
      const { bind = [] } = (given[1] ?? {}) as { bind?: unknown[] };
      const user = String(bind[2]);
      if (user in readFor) readFor[user] = (readFor[user] ?? 0) + 1;
      if (user === nobody.userUUID && readFor[user] === 2) {
        begun.resolve();
        await held.promise;
      }
      return Reflect.apply(run, this, given) as never;
    });
    const aborted = vi.spyOn(AbortController.prototype, 'abort');
    const leaving = await ask(node, server, pathOf(nobody));
    await begun.promise;
    leaving.destroy();
    while (!aborted.mock.calls.some(([reason]) => reason instanceof ChatError)) {
      await request(node, 'GET', '/healthz');
    }
    held.resolve();

    expect((await request(node, 'GET', pathOf(other), { as: server })).content).toEqual([]);
    expect(readFor).toEqual({ [nobody.userUUID]: 2, [other.userUUID]: 5 });
    aborted.mockRestore();
    asked.mockRestore();
  });
});

/** When a long message was last read, by the clock of Postgres. */
async function lastReading(): Promise<string> {
  const [row] = await query<{ at: string | null }>(
    world.databaseUrl,
    `SELECT max(query_start)::text AS at FROM pg_stat_activity
     WHERE datname = current_database() AND query ~ 'FROM messages|AS candidate' AND pid <> pg_backend_pid()`,
  );
  return row?.at ?? '';
}

/** The bytes of a socket to the end of its JSON, chunked or not. */
async function bodyOf(socket: Socket | undefined): Promise<{ content: unknown[] }> {
  if (socket === undefined) throw new Error('no socket');
  let bytes = Buffer.alloc(0);
  const parts: Buffer[] = [];
  socket.on('data', (data: Buffer) => parts.push(data));
  socket.resume();
  for (;;) {
    await once(socket, 'data');
    if (!parts.at(-1)?.toString('latin1').endsWith('0\r\n\r\n')) continue;
    bytes = Buffer.concat(parts);
    break;
  }
  const body: Buffer[] = [];
  for (let at = bytes.indexOf('\r\n\r\n') + 4; ;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    const length = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (length === 0) break;
    body.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
  }
  return JSON.parse(Buffer.concat(body).toString()) as { content: unknown[] };
}
