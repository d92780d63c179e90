import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import type { Store } from '../../src/store/store.js';
import { query } from '../harness/database.js';
import { deferred } from '../harness/deferred.js';
import { openPostgres, QUIET, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, readAll, say, TestWriter } from '../harness/writers.js';

const STORE_TIMEOUT_MS = 2_000;
/** More changes than connections. */
const CHANGES = 20;

describe('while all changes hang', () => {
  let host: StoreHost;
  let database: Database;
  let store: Store;

  beforeAll(async () => {
    host = await openPostgres();
    database = await connectDatabase(
      loadConfig({ DATABASE_URL: host.url, STORE_TIMEOUT_MS: `${STORE_TIMEOUT_MS}` }),
      QUIET,
    );
    store = storeOver(database);
  });
  afterAll(async () => {
    await database.close();
    await host.close();
  });

  it('rooms, messages, history and probes go on, and further changes fail in time', async () => {
    const room = await emptyRoom(store);
    const { sequelize } = database;
    const end = deferred();
    const changes = Array.from({ length: CHANGES }, () => sequelize.transaction(() => end.promise));
    // Changes without a connection are refused in time.
    await expect(Promise.any(changes.map((change) => rejection(change)))).resolves.toMatchObject({
      code: 'UNAVAILABLE',
    });

    expect(await say(store.log, new TestWriter(room), 'a message')).toMatchObject({ seq: 1 });
    expect(await store.log.state(room)).toMatchObject({ head: 1 });
    expect(await store.log.heads([room])).toEqual(new Map([[room, 1]]));
    expect(await readAll(store.log, room)).toHaveLength(1);
    expect(
      (await store.history.page(room, { upTo: 1, limit: 10 }, newCaller())).messages,
    ).toHaveLength(1);
    expect((await store.rooms.visibleTo(newCaller()).next()).value).toEqual([]);
    await database.ping();

    end.resolve();
    const outcomes = await Promise.allSettled(changes);
    expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true);
  });
});

it('ten nodes with a DB_POOL_SIZE of 2 and 3 LOG_BATCHES_IN_FLIGHT have 90 connections, however busy they are', async () => {
  const host = await openPostgres();
  const database = await connectDatabase(
    loadConfig({ DATABASE_URL: host.url, DB_POOL_SIZE: '2', LOG_BATCHES_IN_FLIGHT: '3' }),
    QUIET,
  );
  const { sequelize, rooms, pages, runAppend, runSearch, connections } = database;
  const text = 'SELECT pg_sleep(0.2)';
  await Promise.all([
    ...Array.from({ length: 5 }, () => sequelize.query(text)),
    ...Array.from({ length: 5 }, () =>
      sequelize.transaction((transaction) => sequelize.query(text, { transaction })),
    ),
    ...Array.from({ length: 5 }, () => rooms.query(text)),
    ...Array.from({ length: 5 }, () => pages.query(text)),
    ...Array.from({ length: connections.searches }, () => runSearch({ text }, [])),
    ...Array.from({ length: connections.appends }, () => runAppend({ text }, [])),
  ]);

  // Those that were used are kept for a while.
  const [held] = await query<{ count: number }>(
    host.url,
    `SELECT count(*)::int AS count FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  );
  expect(held?.count).toBe(9);
  await database.close();
  await host.close();
});

/** The error of a promise that must reject. */
async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('it was not rejected');
    },
    (error: unknown) => error,
  );
}
