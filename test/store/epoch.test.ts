import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import { openEpoch, replaceEpoch } from '../../src/store/epoch.js';
import { query } from '../harness/database.js';
import { deferred, type Deferred } from '../harness/deferred.js';
import { postgresUrl } from '../harness/services.js';
import { openPostgres, QUIET, storeHosts, type StoreHost } from '../harness/store-hosts.js';

const PATIENT = { patienceMs: 10_000, logger: QUIET };

describe.each(storeHosts)('the epoch of a log over %s', (_name, open) => {
  let host: StoreHost;

  beforeAll(async () => {
    host = await open();
  });
  afterAll(() => host.close());

  it('is the same for all nodes and at each start', async () => {
    const { uuid } = await openEpoch(host.database, QUIET);
    const other = await openEpoch(await host.another(), QUIET);
    expect(other.uuid).toBe(uuid);
  });

  it.each([
    { what: 'of another cluster', set: `system_identifier = '1'` },
    { what: 'of before a failover', set: 'timeline = timeline - 1' },
    { what: 'copied from another database', set: 'database_oid = database_oid - 1' },
  ])('is a new one if the log is $what', async ({ set }) => {
    const before = await openEpoch(host.database, QUIET);
    await host.database.sequelize.query(`UPDATE log_epoch SET ${set}`);
    const after = await openEpoch(host.database, QUIET);
    expect(after.uuid).not.toBe(before.uuid);
    expect((await openEpoch(host.database, QUIET)).uuid).toBe(after.uuid);
  });

  it('is renewed once, whichever nodes notice that the log went back', async () => {
    const nodes = await Promise.all(
      [host.database, await host.another()].map((database) => openEpoch(database, QUIET)),
    );
    const before = nodes[0]?.uuid;
    const told = nodes.map(() => 0);
    for (const [index, node] of nodes.entries()) {
      node.onChange(() => {
        told[index] = (told[index] ?? 0) + 1;
      });
    }
    await Promise.all(nodes.map((node) => node.renew()));
    await Promise.all(nodes.map((node) => node.confirm()));
    const [uuid, ...others] = new Set(nodes.map((node) => node.uuid));
    expect(others).toEqual([]);
    expect(uuid).not.toBe(before);
    expect(told).toEqual([1, 1]);
  });

  it('is ignored if it was read before the last change', async () => {
    const answer = deferred();
    let isHeld = false;
    const epoch = await openEpoch(
      holding(host.database, () => isHeld, answer),
      QUIET,
    );
    let told = 0;
    epoch.onChange(() => {
      told += 1;
    });
    isHeld = true;
    const early = epoch.confirm();
    isHeld = false;
    const asked = await replaceEpoch(await host.another(), PATIENT);
    await epoch.confirm();
    answer.resolve();
    await early;
    expect(epoch.uuid).toBe(asked);
    expect(told).toBe(1);
  });

  it('that an operator replaces is noticed by a running node', async () => {
    const node = await openEpoch(host.database, QUIET);
    const { uuid } = node;
    const asked = await replaceEpoch(await host.another(), PATIENT);
    expect(node.uuid).toBe(uuid);
    await node.confirm();
    expect(node.uuid).toBe(asked);
  });
});

describe('a database whose epoch', () => {
  let host: StoreHost;

  beforeEach(async () => {
    host = await openPostgres();
  });
  afterEach(() => host.close());

  it.each([
    ['has no table', 'DROP TABLE log_epoch', 'relation "log_epoch" does not exist'],
    [
      'has a trigger that refuses it',
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
       CREATE TRIGGER refuse BEFORE INSERT ON log_epoch EXECUTE FUNCTION refuse()`,
      'no',
    ],
  ])('%s is refused in a line', async (_, change, reason) => {
    await query(host.url, change);

    const asked = await Promise.allSettled([
      openEpoch(host.database, QUIET),
      replaceEpoch(host.database, PATIENT),
    ]);
    const refused = { name: 'StartError', message: `the database cannot be used: ${reason}` };
    expect(asked).toMatchObject(asked.map(() => ({ status: 'rejected', reason: refused })));
  });

  it('cannot be written to is waited for, and refused in a line', async () => {
    const name = new URL(host.url).pathname.slice(1);
    await query(host.url, `ALTER DATABASE ${name} SET default_transaction_read_only = on`);

    await expect(
      replaceEpoch(host.database, { patienceMs: 300, logger: QUIET }),
    ).rejects.toMatchObject({
      name: 'StartError',
      message:
        'the database could not be used for 0 s: cannot execute INSERT in a read-only transaction',
    });
  });
});

describe('a connection to a database whose log went back', () => {
  let host: StoreHost;
  let database: Database;

  beforeAll(async () => {
    host = await openPostgres();
    database = host.database;
  });
  afterAll(() => host.close());

  it('refuses the query that waits for it, and the next connection works', async () => {
    const epoch = await openEpoch(database, QUIET);
    let told = 0;
    epoch.onChange(() => {
      told += 1;
    });
    await replaceEpoch(await host.another(), PATIENT);
    // The open connections know nothing of it.
    await terminateBackends(host.url);
    const statement = { name: 'one', text: 'SELECT 1 AS one' };
    await expect(database.runAppend(statement, [])).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(told).toBe(1);
    await expect(database.runAppend(statement, [])).resolves.toEqual([{ one: 1 }]);
  });
});

describe('a copy of a database', () => {
  it('has an epoch of its own, also in the same cluster', async () => {
    const host = await openPostgres();
    const name = `test_${randomUUID().replaceAll('-', '')}`;
    const url = new URL(postgresUrl());
    try {
      const { uuid } = await openEpoch(host.database, QUIET);
      const original = host.database.address.database;
      await host.database.close();
      await query(url.href, `CREATE DATABASE ${name} TEMPLATE ${original}`);
      url.pathname = `/${name}`;
      const copy = await connectDatabase(loadConfig({ DATABASE_URL: url.href }), QUIET);
      expect((await openEpoch(copy, QUIET)).uuid).not.toBe(uuid);
      await copy.close();
    } finally {
      await query(postgresUrl(), `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      await host.close();
    }
  });
});

/** The database, with late answers to queries that begin while `isHeld`: the results are those of the begin. */
function holding(database: Database, isHeld: () => boolean, { promise }: Deferred): Database {
  const over = (pool: Database['sequelize']): Database['sequelize'] =>
    Object.create(pool, {
      query: {
        value: async (...args: Parameters<typeof pool.query>) => {
          const late = isHeld() ? promise : undefined;
          const rows = await pool.query(...args);
          await late;
          return rows;
        },
      },
    }) as Database['sequelize'];
  return { ...database, sequelize: over(database.sequelize), rooms: over(database.rooms) };
}

async function terminateBackends(url: string): Promise<void> {
  await query(
    url,
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  );
}
