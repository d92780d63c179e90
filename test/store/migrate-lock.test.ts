import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { StartError } from '../../src/errors.js';
import { createLogger, type Logger } from '../../src/logger.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import { migrate } from '../../src/store/migrate.js';
import { createDatabase, query, type TestDatabase } from '../harness/database.js';
import { eventually } from '../harness/eventually.js';
import { startPgBouncer, type PgBouncer } from '../harness/pgbouncer.js';
import { postgresUrl } from '../harness/services.js';
import { QUIET } from '../harness/store-hosts.js';

const LOCK = 'pg_advisory_xact_lock(7777001)';

describe('the lock of the migrations', () => {
  let fresh: TestDatabase;
  let name: string;
  /** Another process that migrates. */
  let holder: Client;
  const opened: Database[] = [];

  beforeEach(async () => {
    fresh = await createDatabase(postgresUrl());
    name = new URL(fresh.url).pathname.slice(1);
    holder = new Client({ connectionString: fresh.url });
    await holder.connect();
  });
  afterEach(async () => {
    await holder.end();
    await Promise.all(opened.splice(0).map((database) => database.close()));
    await fresh.drop();
  });

  async function open(url = fresh.url): Promise<Database> {
    const database = await connectDatabase(loadConfig({ DATABASE_URL: url }), QUIET);
    opened.push(database);
    return database;
  }

  it('is waited for, with a log line, until its holder is done', async () => {
    await holder.query('BEGIN');
    await holder.query(`SELECT ${LOCK}`);
    const { logger, warned } = listen();
    const migrated = migrate(await open(), logger);
    await warned;

    expect(await tables()).toEqual([]);
    await holder.query('COMMIT');
    expect(await migrated).not.toEqual([]);
    expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
      `waiting for the migration lock of ${name}`,
    );
  });

  it('is waited for until a timeout, and then nothing is created', async () => {
    await holder.query('BEGIN');
    await holder.query(`SELECT ${LOCK}`);

    const migrated = migrate(await open(), QUIET, { lockTimeoutMs: 300 });

    await expect(migrated).rejects.toBeInstanceOf(StartError);
    await expect(migrated).rejects.toThrow(
      `the migration lock of ${name} was not free within 0.3 s`,
    );
    expect(await tables()).toEqual([]);
    expect(await locks()).toBe(1);
  });

  it('is not taken if there is nothing to do', async () => {
    await migrate(await open(), QUIET);
    await holder.query('BEGIN');
    await holder.query(`SELECT ${LOCK}`);

    expect(await migrate(await open(), QUIET)).toEqual([]);
  });

  it('is released by a migration that fails, and everything that it created is undone', async () => {
    // A type with the name of a table, at which CREATE TABLE fails.
    await query(fresh.url, 'CREATE TYPE log_epoch AS ENUM ()');

    await expect(migrate(await open(), QUIET)).rejects.toThrow(
      /could not migrate, and nothing was changed: .*log_epoch/,
    );
    expect(await tables()).toEqual([]);
    expect(await locks()).toBe(0);
  });

  it('is released if its process dies while a statement of it waits', async () => {
    // CREATE TABLE rooms has to wait whether this one is committed.
    await holder.query('BEGIN');
    await holder.query('CREATE TABLE rooms (id integer)');
    const database = await open();
    const migrated = migrate(database, QUIET).catch((error: unknown) => error);
    const waiting = await eventually(async () => {
      const [row] = await query<{ pid: number }>(
        fresh.url,
        `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      if (row === undefined) throw new Error('nobody waits');
      return row.pid;
    });
    expect(await locks()).toBe(1);

    await query(fresh.url, 'SELECT pg_terminate_backend($1)', [waiting]);
    expect(await migrated).toBeInstanceOf(StartError);
    await eventually(async () => {
      expect(await locks()).toBe(0);
    });
    await holder.query('ROLLBACK');
    expect(await migrate(database, QUIET)).not.toEqual([]);
  });

  it.each([
    ['default_transaction_isolation', "'serializable'"],
    ['default_transaction_read_only', 'on'],
    ['idle_in_transaction_session_timeout', '1'],
    ['lock_timeout', '1'],
    ['statement_timeout', '50'],
    ['client_min_messages', 'error'],
  ])('is waited for whatever the database sets as its %s', async (setting, value) => {
    await query(fresh.url, `ALTER DATABASE ${name} SET ${setting} = ${value}`);
    await holder.query('BEGIN');
    await holder.query(`SELECT ${LOCK}`);
    const { logger, warned } = listen();
    const migrated = [migrate(await open(), logger), migrate(await open(), logger)];
    await warned;
    // Longer than the limits above.
    await query(fresh.url, 'SET statement_timeout = 0; SELECT pg_sleep(0.2)');
    await holder.query('COMMIT');

    const done = await Promise.all(migrated);
    expect(done.filter((names) => names.length === 0)).toHaveLength(1);
  });

  describe('behind PgBouncer in transaction mode', () => {
    let pooler: PgBouncer;

    beforeEach(async () => {
      pooler = await startPgBouncer(fresh.url);
    });
    afterEach(() => pooler.stop());

    it('does not stay on the pooled connection', async () => {
      const [one, two] = await Promise.all([
        migrate(await open(pooler.url), QUIET),
        migrate(await open(pooler.url), QUIET),
      ]);

      expect([one, two].filter((names) => names.length === 0)).toHaveLength(1);
      expect(await locks()).toBe(0);
      // As after an update of the server.
      await query(fresh.url, 'DELETE FROM "SequelizeMeta"');
      expect(await migrate(await open(pooler.url), QUIET)).toHaveLength(one.length + two.length);
      expect(await locks()).toBe(0);
    });
  });

  /** The number of held advisory locks. */
  async function locks(): Promise<number> {
    const [row] = await query<{ count: number }>(
      fresh.url,
      `SELECT count(*)::int AS count FROM pg_locks
       WHERE locktype = 'advisory' AND granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    );
    return row?.count ?? -1;
  }

  async function tables(): Promise<string[]> {
    const rows = await query<{ name: string }>(
      fresh.url,
      `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
    );
    return rows.map(({ name }) => name);
  }
});

/** A logger whose first warning resolves a promise. */
function listen(): { logger: Logger; warned: Promise<void> } {
  const logger = createLogger({ level: 'silent', production: true });
  const warned = new Promise<void>((resolve) => {
    vi.spyOn(logger, 'warn').mockImplementation(() => {
      resolve();
    });
  });
  return { logger, warned };
}
