import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { QueryTypes } from 'sequelize';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import { migrate } from '../../src/store/migrate.js';
import { createDatabase, type TestDatabase } from '../harness/database.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { postgresUrl } from '../harness/services.js';
import { QUIET, storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { openTlsFront, type TlsFront } from '../harness/tls-front.js';
import { emptyRoom, say, TestWriter } from '../harness/writers.js';

const INT8_OID = 20;
const SILENCE_MS = 1_000;
/** Of the URL, in seconds: longer than any other limit. */
const CONNECT_TIMEOUT_S = 60;
const BEFORE_THAT_MS = 30_000;

describe.each(storeHosts)('a connection to %s', (name, openHost) => {
  let host: StoreHost;

  beforeAll(async () => {
    host = await openHost();
  });
  afterAll(() => host.close());

  it('tells whether the database is embedded, and whether it answers', async () => {
    expect(host.database.embedded).toBe(name !== 'Postgres');
    await expect(host.database.ping()).resolves.toBeUndefined();
  });

  it('rejects pings while the disk is full, and its test leaves no rows', async () => {
    const { sequelize } = host.database;
    const raise = (code: string): string =>
      `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '${code}'; END $$`;
    await sequelize.query(raise('53100'));
    await sequelize.query(
      'CREATE TRIGGER refuse AFTER INSERT ON messages EXECUTE FUNCTION refuse()',
    );
    await expect(host.database.ping()).resolves.toBeUndefined();
    const store = storeOver(host.database);
    const { log } = store;
    await expect(say(log, new TestWriter(await emptyRoom(store)), 'hi')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });

    for (let n = 0; n < 2; n += 1) {
      await expect(host.database.ping()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    }

    // A check of an operator's own, which is not about the disk.
    await sequelize.query(raise('23514'));
    await expect(host.database.ping()).resolves.toBeUndefined();
    await sequelize.query('DROP TRIGGER refuse ON messages');
    expect(await sequelize.query('SELECT FROM messages', { type: QueryTypes.SELECT })).toEqual([]);
    await log.close();
  });

  it('reads int8 as a number, and leaves pg unchanged for the rest of the process', async () => {
    const [row] = await host.database.sequelize.query<{ large: unknown; text: unknown }>(
      `SELECT 9007199254740991::int8 AS large, '7'::text AS text`,
      { type: QueryTypes.SELECT },
    );

    expect(row).toEqual({ large: Number.MAX_SAFE_INTEGER, text: '7' });
    expect(pg.types.getTypeParser(INT8_OID)('7')).toBe('7');
  });

  it('keeps concurrent transactions apart', async () => {
    const { sequelize } = host.database;
    await sequelize.query('CREATE TABLE counters (id int, value int)');

    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, (_, n) =>
        sequelize.transaction(async (transaction) => {
          const options = { bind: [n], transaction };
          await sequelize.query('INSERT INTO counters VALUES ($1, 0)', options);
          await sequelize.query('UPDATE counters SET value = value + 1 WHERE id = $1', options);
          if (n % 3 === 0) throw new Error('rolled back');
        }),
      ),
    );

    const rows = await sequelize.query('SELECT id, value FROM counters ORDER BY id', {
      type: QueryTypes.SELECT,
    });
    expect(rows).toEqual([1, 2, 4, 5, 7, 8, 10, 11].map((id) => ({ id, value: 1 })));
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(4);
  });
});

describe('a connection to a missing Postgres', () => {
  it('rejects a ping, and is closed all the same', async () => {
    const database = await connectDatabase(
      loadConfig({ DATABASE_URL: 'postgres://ana:hush@127.0.0.1:1/chat' }),
      QUIET,
    );

    await expect(database.ping()).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      cause: { message: expect.stringContaining('ECONNREFUSED') as unknown },
    });
    await expect(database.close()).resolves.toBeUndefined();
  });
});

describe.each(['plain', 'TLS'])('a %s connection whose Postgres hangs', (kind) => {
  let testDatabase: TestDatabase;
  let outlet: Outlet;
  let front: TlsFront | undefined;
  let database: Database;

  beforeEach(async () => {
    testDatabase = await createDatabase(postgresUrl());
    outlet = await openOutlet(testDatabase.url);
    front = kind === 'TLS' ? await openTlsFront(outlet.url) : undefined;
    const url = new URL(front?.url ?? outlet.url);
    url.searchParams.set('connect_timeout', String(CONNECT_TIMEOUT_S));
    database = await connectDatabase(
      loadConfig({
        DATABASE_URL: url.href,
        STORE_TIMEOUT_MS: `${SILENCE_MS}`,
        DB_POOL_SIZE: '2',
      }),
      QUIET,
    );
  });
  afterEach(async () => {
    await database.close();
    await front?.close();
    await outlet.close();
    await testDatabase.drop();
  });

  it('breaks after the limit of silence, in each pool, and a new one works', async () => {
    await Promise.all([append(), database.ping()]);
    outlet.stall();

    const outcomes = await Promise.allSettled([append(), database.ping()]);

    const reason = {
      code: 'UNAVAILABLE',
      cause: { message: `the database has been silent for ${SILENCE_MS} ms` },
    };
    expect(outcomes).toMatchObject([{ reason }, { reason }]);
    outlet.resume();
    await expect(append()).resolves.toHaveLength(1);
    await expect(database.ping()).resolves.toBeUndefined();
  });

  it('breaks as well if it was idle for longer before', async () => {
    await Promise.all([append(), database.ping()]);
    await delay(2 * SILENCE_MS);
    outlet.stall();

    const outcomes = await Promise.allSettled([append(), database.ping()]);

    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    outlet.resume();
    await expect(append()).resolves.toHaveLength(1);
  });

  it('breaks in the middle of an answer too', async () => {
    // Opens a connection.
    await database.ping();
    const reading = database.sequelize.query(
      `SELECT repeat('x', 1000) FROM generate_series(1, 300000)`,
    );
    // 300 MB take longer.
    const stalling = delay(50).then(() => outlet.stall());

    await expect(reading).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await stalling;
    outlet.resume();
  });

  it(
    'is given up in time while it connects',
    async () => {
      outlet.stall();

      await expect(append()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
      outlet.resume();
      await expect(append()).resolves.toHaveLength(1);
    },
    BEFORE_THAT_MS,
  );

  it('is closed in time though Postgres does not close its side', async () => {
    await Promise.all([append(), database.ping()]);
    outlet.stall();

    await expect(database.close()).resolves.toBeUndefined();
  });

  it('is kept if a query starts at the very moment of the timeout', async () => {
    await append();
    const [before] = await append();
    // Set after the connection's timer and for the same time, this timer follows it in Node's list.
    const asked = await new Promise<readonly object[]>((resolve, reject) => {
      setTimeout(() => {
        append().then(resolve, reject);
      }, SILENCE_MS);
    });

    expect(asked).toEqual([before]);
  });

  it('is kept while it is idle', async () => {
    const [before] = await append();
    await delay(3 * SILENCE_MS);

    await expect(append()).resolves.toEqual([before]);
  });

  /** The pid of the backend that answers. */
  function append(): Promise<readonly object[]> {
    return database.runAppend({ name: 'which', text: 'SELECT pg_backend_pid() AS pid' }, []);
  }
});

describe('a connection whose answer came while this process was held up', () => {
  it('is kept', async () => {
    // Without an outlet in this process, which would be held up itself.
    const testDatabase = await createDatabase(postgresUrl());
    const database = await connectDatabase(
      loadConfig({ DATABASE_URL: testDatabase.url, STORE_TIMEOUT_MS: `${SILENCE_MS}` }),
      QUIET,
    );
    const slow = { name: 'slow', text: 'SELECT pg_sleep(0.1)' };
    await database.runAppend(slow, []);
    const answer = database.runAppend(slow, []);
    // The query has been sent then, and the timers of the loop come before its reads.
    await delay(20);
    await new Promise(setImmediate);
    const until = performance.now() + 2 * SILENCE_MS;
    while (performance.now() < until);

    await expect(answer).resolves.toHaveLength(1);
    await database.close();
    await testDatabase.drop();
  });
});

describe('the options of a URL', () => {
  let fresh: TestDatabase;

  beforeEach(async () => {
    fresh = await createDatabase(postgresUrl());
  });
  afterEach(() => fresh.drop());

  it('hold on every connection: migrations, reading and appending keep to a search_path', async () => {
    const url = `${fresh.url}?options=-c%20search_path%3Dchat&application_name=one&connect_timeout=4`;
    const admin = new pg.Client(fresh.url);
    await admin.connect();
    await admin.query('CREATE SCHEMA chat');
    const database = await connectDatabase(loadConfig({ DATABASE_URL: url }), QUIET);

    try {
      await migrate(database, QUIET);
      const store = storeOver(database);
      const room = await emptyRoom(store);
      await say(store.log, new TestWriter(room), 'stored');

      const { rows } = await admin.query<{ schema: string; names: string[] }>(
        `SELECT schemaname AS schema, array_agg(tablename::text ORDER BY tablename) AS names
         FROM pg_tables WHERE schemaname IN ('chat', 'public') GROUP BY schemaname`,
      );
      expect(rows).toHaveLength(1);
      expect(rows[0]).toMatchObject({ schema: 'chat' });
      expect(rows[0]?.names).toEqual(
        expect.arrayContaining(['SequelizeMeta', 'messages', 'room_permissions', 'rooms']),
      );
      const said = await admin.query('SELECT content FROM chat.messages WHERE kind = $1', [
        'message',
      ]);
      expect(said.rows).toEqual([{ content: 'stored' }]);
      const names = await admin.query(
        `SELECT DISTINCT application_name FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      );
      expect(names.rows).toEqual([{ application_name: 'one' }]);
    } finally {
      await database.close();
      await admin.end();
    }
  });
});
