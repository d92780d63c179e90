import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { settledKib } from '../../bench/processes.mjs';
import { COEFFICIENTS } from '../../src/cli/coefficients.js';
import { loadConfig } from '../../src/config/load.js';
import { encodePeerMessage } from '../../src/feeds/peer-messages.js';
import { encodeFrame } from '../../src/feeds/ws-frame.js';
import { encodeEntry } from '../../src/protocol/v2/events.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import type { Entry } from '../../src/store/entry.js';
import { storeWords } from '../../src/store/message-words.js';
import { migrate } from '../../src/store/migrate.js';
import type { Store } from '../../src/store/store.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { NodeProcess } from '../harness/node-process.js';
import { QUIET, storeOver } from '../harness/store-hosts.js';
import { person } from '../harness/tokens.js';
import { newCaller, roomDraft, say, writerOver, type TestWriter } from '../harness/writers.js';
import { startPostgresService, type PostgresService } from '../proof/services.js';

const ROOT = new URL('../../', import.meta.url);

/** @param tolerance a share of the value in the table */
function expectNear(name: keyof typeof COEFFICIENTS, measured: number, tolerance: number): void {
  const { value } = COEFFICIENTS[name];
  const difference = Math.abs(measured - value) / value;
  expect(difference, `${name} is ${value} in the table, and ${measured}`).toBeLessThan(tolerance);
}

const WORDS = 12;
/** Words of five letters, the frequent ones first, as often as those of a language (Zipf). */
const VOCABULARY = Array.from({ length: 5_000 }, (_, n) => (n + 20_000_000).toString(36).slice(-5));
let seed = 1;

/** A message of twelve words, always the same ones. */
function nextText(): string {
  return Array.from({ length: WORDS }, () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return VOCABULARY[Math.floor(VOCABULARY.length ** (seed / 2_147_483_647)) - 1];
  }).join(' ');
}

describe('what is stored has the size of the table:', () => {
  const ROOMS = 500;
  const EACH = 40;
  let postgres: PostgresService;
  let database: Database;
  let store: Store;
  let rooms: TestWriter[];
  const author = newCaller();

  beforeAll(async () => {
    // As in production, but that no checkpoint and no VACUUM falls into a measurement.
    postgres = await startPostgresService({
      full_page_writes: 'on',
      autovacuum: 'off',
      checkpoint_timeout: '1h',
      max_wal_size: '8GB',
    });
    database = await connectDatabase(loadConfig({ DATABASE_URL: postgres.url }), QUIET);
    await migrate(database, QUIET);
    store = storeOver(database);
  });
  afterAll(async () => {
    await store.log.close();
    await database.close();
    await postgres.end();
  });

  async function bytesOf(...tables: string[]): Promise<number> {
    const [row] = await query<{ bytes: string }>(
      postgres.url,
      'SELECT sum(pg_total_relation_size(to_regclass(name))) AS bytes FROM unnest($1::text[]) AS name',
      [tables],
    );
    return Number(row?.bytes);
  }

  async function walPosition(): Promise<number> {
    const [row] = await query<{ bytes: string }>(
      postgres.url,
      `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bytes`,
    );
    return Number(row?.bytes);
  }

  /** How much something grows while work is done, for each of `count`. */
  async function growth(
    measure: () => Promise<number>,
    count: number,
    work: () => Promise<unknown>,
  ): Promise<number> {
    const before = await measure();
    await work();
    return ((await measure()) - before) / count;
  }

  async function storeAllWords(): Promise<void> {
    while (await storeWords(database.sequelize));
  }

  async function createRooms(count: number, members: number): Promise<TestWriter[]> {
    const made: TestWriter[] = [];
    for (let n = 0; n < count; n += 1) {
      const callers = Array.from({ length: members }, () => newCaller());
      const rules = callers.map(({ userUUID }) => ({
        entityUUID: userUUID,
        level: 0,
        permissions: 'rw',
        accepted: true,
      }));
      const { id } = await store.rooms.create({ ...roomDraft() }, rules, randomUUID());
      await Promise.all(callers.map((caller) => store.readMarkers.move(caller, id, 1, false)));
      const writer = writerOver(store.log, id);
      await writer.refresh();
      made.push(writer);
    }
    return made;
  }

  it('a room and a member', async () => {
    const tables = ['rooms', 'room_permissions', 'messages', 'read_markers'];
    const few = await growth(
      () => bytesOf(...tables),
      ROOMS,
      () => createRooms(ROOMS, 1),
    );
    const many = await growth(
      () => bytesOf(...tables),
      ROOMS,
      async () => {
        rooms = await createRooms(ROOMS, 9);
      },
    );
    const member = (many - few) / 8;
    expectNear('memberBytes', member, 0.15);
    expectNear('roomBytes', few - member, 0.25);
  });

  it('a user', async () => {
    const users = 5_000;
    const told = Array.from({ length: users }, (_, n) => {
      const picture = `https://pictures.example/of/users/${randomUUID()}.jpg`;
      return [randomUUID(), { name: `A name of ${n}`, picture, signedAt: new Date() }] as const;
    });
    const bytes = await growth(
      () => bytesOf('user_profiles'),
      users,
      () => store.users.remember(new Map(told)),
    );
    expectNear('userBytes', bytes, 0.1);
  });

  it('a message and a word', async () => {
    const count = ROOMS * EACH;
    let textBytes = 0;
    await storeAllWords();
    const [messages, words] = [await bytesOf('messages'), await bytesOf('message_words')];
    for (let n = 0; n < EACH; n += 1) {
      await Promise.all(
        rooms.map((room) => {
          const text = nextText();
          textBytes += text.length;
          return say(store.log, room, text, { author, ref: randomUUID() });
        }),
      );
    }
    await storeAllWords();
    expectNear('messageBytes', ((await bytesOf('messages')) - messages - textBytes) / count, 0.1);
    expectNear('wordBytes', ((await bytesOf('message_words')) - words) / count / WORDS, 0.15);
  });

  it('the WAL of a message and of a word', async () => {
    const count = 1_000;
    let textBytes = 0;
    const ofMessage = await growth(walPosition, count, async () => {
      for (let n = 0; n < count; n += 1) {
        const room = rooms[n % ROOMS] as TestWriter;
        const text = nextText();
        textBytes += text.length;
        await say(store.log, room, text, { author, ref: randomUUID() });
      }
    });
    const ofWords = await growth(walPosition, count, storeAllWords);
    expectNear('walBytes', ofMessage - textBytes / count, 0.15);
    expectNear('wordWalBytes', ofWords / WORDS, 0.2);
  });

  it('the WAL of the first message of a room after a checkpoint', async () => {
    // Rooms whose rows are on pages of their own in each index.
    const apart = rooms.filter((_, n) => n % 25 === 0);
    await query(postgres.url, 'CHECKPOINT');
    const cold = await growth(walPosition, apart.length, async () => {
      for (const room of apart)
        await say(store.log, room, nextText(), { author, ref: randomUUID() });
    });
    expectNear('coldWalBytes', cold, 0.3);
  });

  it('a reaction', async () => {
    const { seq: target } = await say(store.log, rooms[0] as TestWriter, 'hi', { author });
    const callers = Array.from({ length: 1_000 }, () => newCaller());
    const roomId = rooms[0]?.roomId ?? 0;
    for (const { userUUID } of callers) {
      await store.rules.change(roomId, author, userUUID, () => ({
        entityUUID: userUUID,
        level: 0,
        permissions: 'rw',
        accepted: true,
      }));
    }
    const bytes = await growth(
      () => bytesOf('messages', 'reactions'),
      callers.length,
      () =>
        Promise.all(
          callers.map((caller) =>
            store.changes.react(caller, roomId, { target, emoji: '👍', on: true }),
          ),
        ),
    );
    expectNear('changeBytes', bytes, 0.15);
  });
});

it('a node that is busy in every way has the connections of the table', async () => {
  const world = await createChatWorld();
  const database = await connectDatabase(loadConfig({ DATABASE_URL: world.databaseUrl }), QUIET);
  const { sequelize, rooms, pages, runAppend, runSearch, connections } = database;
  const text = 'SELECT pg_sleep(0.3)';
  const times = <T>(run: () => Promise<T>): Promise<T>[] => Array.from({ length: 30 }, run);
  await Promise.all([
    ...times(() => sequelize.query(text)),
    ...times(() => sequelize.transaction((transaction) => sequelize.query(text, { transaction }))),
    ...times(() => rooms.query(text)),
    ...times(() => pages.query(text)),
    // These have no more at a time than they have connections.
    ...Array.from({ length: connections.searches }, () => runSearch({ text }, [])),
    ...Array.from({ length: connections.appends }, () => runAppend({ text }, [])),
  ]);
  const [held] = await query<{ count: number }>(
    world.databaseUrl,
    `SELECT count(*)::int AS count FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  );
  await database.close();
  await world.close();
  expect(held?.count).toBe(COEFFICIENTS.connections.value);
});

it('frames and messages between nodes have the size of the table', () => {
  const content = nextText();
  const entry: Entry = {
    roomId: 123_456,
    seq: 123_456,
    kind: 'message',
    emitter: randomUUID(),
    content,
    ref: randomUUID(),
    createdAt: new Date(0).toISOString(),
  };
  const frame = encodeFrame(encodeEntry(entry)).length - content.length;
  const published = encodePeerMessage('aaaaaaaa.1', { entries: [entry] }).length - content.length;
  expectNear('frameBytes', frame, 0.02);
  expectNear('publishedBytes', published, 0.02);
});

describe.runIf(process.platform === 'linux')('the memory of a node is that of the table:', () => {
  const SOCKETS = 1_000;
  const ROOMS = 8;
  const OPEN = 1_024;
  const entityUUID = randomUUID();
  let world: ChatWorld;
  let node: NodeProcess;
  let database: Database;
  let shared: number[];
  let others: number[];
  const clients: ChatClient[] = [];

  beforeAll(async () => {
    world = await createChatWorld();
    database = await connectDatabase(loadConfig({ DATABASE_URL: world.databaseUrl }), QUIET);
    const { rooms } = storeOver(database);
    const rules = [entityUUID, ...Array.from({ length: 7 }, () => randomUUID())].map((uuid) => ({
      entityUUID: uuid,
      level: 0,
      permissions: 'rw',
      accepted: true,
    }));
    const ids: number[] = [];
    for (let n = 0; n < ROOMS + OPEN; n += 1) {
      ids.push((await rooms.create(roomDraft(), rules, randomUUID())).id);
    }
    shared = ids.slice(0, ROOMS);
    others = ids.slice(ROOMS);
    node = await world.startProcess({
      NODE_OPTIONS: `--import ${fileURLToPath(new URL('bench/gc.mjs', ROOT))}`,
      NODE_ENV: 'production',
    });
  });
  afterAll(async () => {
    for (const client of clients) client.socket.terminate();
    await database.close();
    await world.close();
  });

  async function open(count: number, rooms: readonly number[]): Promise<ChatClient[]> {
    const opened: ChatClient[] = [];
    while (opened.length < count) {
      const some = Array.from({ length: Math.min(50, count - opened.length) }, async () => {
        const client = await ChatClient.enterV2(node, person({ entityUUID }));
        await join(client, rooms);
        return client;
      });
      opened.push(...(await Promise.all(some)));
    }
    return opened;
  }

  async function join(client: ChatClient, rooms: readonly number[]): Promise<void> {
    client.send({ type: 'join', rooms: rooms.map((room_id) => ({ room_id })) });
    await client.expect(...rooms.map(() => 'CONNECTED'));
  }

  it('of a node, a socket, a joined room and an open room', async () => {
    const bytes = async (): Promise<number> => (await settledKib(node.pid)) * 1_024;
    const first = await open(100, shared);
    await Promise.all(first.map((client) => client.close()));
    const empty = await bytes();
    clients.push(...(await open(SOCKETS, shared.slice(0, 1))));
    const joined = await bytes();
    for (const client of clients) await join(client, shared.slice(1));
    const inAll = await bytes();
    for (let from = 0; from < OPEN; from += 128) {
      clients.push(...(await open(1, others.slice(from, from + 128))));
    }
    const withRooms = await bytes();

    // A process takes pages that were in use before, and keeps those that it has freed: the bounds are wide.
    expectNear('nodeBytes', empty, 0.5);
    expectNear('socketBytes', (joined - empty) / SOCKETS, 0.6);
    expectNear('joinedRoomBytes', (inAll - joined) / SOCKETS / (ROOMS - 1), 0.6);
    expectNear('openRoomBytes', (withRooms - inAll) / OPEN, 0.6);
  });
});

it('CPU, and the memory of a socket, are those of bench/results.json', () => {
  // Two runs of the bench differ, too.
  const tolerance = 0.25;
  const { results } = JSON.parse(readFileSync(new URL('bench/results.json', ROOT), 'utf8')) as {
    results: Record<string, { nano: Record<string, number> }>;
  };
  const of = (measure: string, key: string): number => results[measure]?.nano[key] ?? NaN;
  // A message to ten members costs `chat`, one to a thousand a thousand times `cost`.
  const [members, many] = [10, 1_000];
  const delivery = (many * of('cost', 'cpuMicros') - of('chat', 'cpuMicros')) / (many - members);
  expectNear('deliveryMicros', delivery, tolerance);
  expectNear('messageMicros', of('chat', 'cpuMicros') - members * delivery, tolerance);
  expectNear('connectMicros', of('connecting', 'cpuMicros'), tolerance);
  expectNear('joinMicros', (of('many-rooms', 'seconds') / (200 * 128)) * 1e6, tolerance);
  expectNear('socketBytes', of('connecting', 'kibEach') * 1_024, tolerance);
});
