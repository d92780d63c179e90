import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { StartError } from '../../src/errors.js';
import { createLogger } from '../../src/logger.js';
import { migrate, requireMigrated } from '../../src/store/migrate.js';
import { loadMigrations, tablesOf } from '../../src/store/migrations.js';
import { createDatabase, query, type TestDatabase } from '../harness/database.js';
import { QUIET } from '../harness/store-hosts.js';

const WAIT_MS = 10_000;
const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url));

describe('a database', () => {
  let fresh: TestDatabase;

  beforeEach(async () => {
    fresh = await createDatabase(inject('postgresUrl'));
  });
  afterEach(() => fresh.drop());

  /** As the configuration has it; nothing is opened. */
  function at(url = fresh.url): Parameters<typeof migrate>[0] {
    const { database } = loadConfig({ DATABASE_URL: url });
    if (database === undefined) throw new Error('no address');
    return { address: database };
  }

  /** Tables of ours that it has. */
  async function tables(): Promise<string[]> {
    const rows = await query<{ name: string }>(
      fresh.url,
      `SELECT tablename AS name FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`,
    );
    return rows.map(({ name }) => name);
  }

  it('gets from the migrations just the tables that they are known to create', async () => {
    await migrate(at(), QUIET);

    const known = await tablesOf(await loadMigrations());
    expect(await tables()).toEqual(['SequelizeMeta', ...known.keys()].toSorted());
    for (const [table, columns] of known) {
      const rows = await query<{ name: string }>(
        fresh.url,
        `SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum`,
        [table],
      );
      expect(rows.map(({ name }) => name)).toEqual(columns);
    }
  });

  it.each(['LATIN1', 'SQL_ASCII', 'WIN1252', 'EUC_JP'])(
    'of the encoding %s is refused before anything is created, with what to do',
    async (encoding) => {
      const other = await createDatabase(
        inject('postgresUrl'),
        `ENCODING '${encoding}' LC_COLLATE 'C' LC_CTYPE 'C'`,
      );
      try {
        for (const start of [migrate, requireMigrated]) {
          await expect(start(at(other.url), QUIET)).rejects.toThrow(
            `the encoding of the database is ${encoding}, which lacks characters: use one of UTF8 `,
          );
        }
        expect(await query(other.url, `SELECT FROM pg_tables WHERE schemaname = 'public'`)).toEqual(
          [],
        );
      } finally {
        await other.drop();
      }
    },
  );

  it('without tables is refused if nobody migrates, with what to do', async () => {
    const started = requireMigrated(at(), QUIET);

    await expect(started).rejects.toBeInstanceOf(StartError);
    await expect(started).rejects.toThrow(
      'the database has no tables yet: run "npm run migrate", or set MIGRATE_ON_START=true',
    );
    expect(await tables()).toEqual([]);
  });

  it('of an older version is refused if nobody migrates, and migrated otherwise', async () => {
    await migrate(at(), QUIET);
    const names = (await readdir(MIGRATIONS)).toSorted();
    const last = names.at(-1);
    await query(fresh.url, 'DELETE FROM "SequelizeMeta" WHERE name = $1', [last]);

    await expect(requireMigrated(at(), QUIET)).rejects.toThrow(
      /is of an older version: run "npm run migrate".*pending: /,
    );
    expect(await migrate(at(), QUIET)).toEqual([last]);
    await requireMigrated(at(), QUIET);
  });

  it('that is read-only is waited for until it can be written to', async () => {
    await migrate(at(), QUIET);
    const name = new URL(fresh.url).pathname.slice(1);
    await query(fresh.url, `ALTER DATABASE ${name} SET default_transaction_read_only = on`);
    const logger = createLogger({ level: 'silent', production: true });
    const warn = vi.spyOn(logger, 'warn');
    const started = requireMigrated(at(), logger);
    await vi.waitFor(() => {
      expect(warn).toHaveBeenCalledOnce();
    }, WAIT_MS);
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ reason: expect.stringContaining('read-only') as string }),
      'waiting for the database',
    );

    await query(
      inject('postgresUrl'),
      `ALTER DATABASE ${name} RESET default_transaction_read_only`,
    );
    await started;
  });

  it('of a newer version is taken, with a warning: nodes of both may run', async () => {
    await migrate(at(), QUIET);
    await query(fresh.url, `INSERT INTO "SequelizeMeta" VALUES ('20990101000001-of-tomorrow.cjs')`);
    const logger = createLogger({ level: 'silent', production: true });
    const warn = vi.spyOn(logger, 'warn');

    expect(await migrate(at(), logger)).toEqual([]);
    await requireMigrated(at(), logger);

    expect(warn).toHaveBeenCalledTimes(2);
    expect(warn.mock.calls[0]).toEqual([
      { migrations: ['20990101000001-of-tomorrow.cjs'] },
      expect.stringContaining('that this version does not know'),
    ]);
  });

  it.each([
    ['messages', 'TABLE messages (id serial PRIMARY KEY, body text)'],
    ['rooms', 'TABLE rooms (id serial PRIMARY KEY, uuid uuid, name text, head bigint)'],
    ['room_permissions', 'TABLE room_permissions ()'],
    ['log_epoch', 'TABLE log_epoch (id integer, uuid uuid)'],
    ['messages', 'VIEW messages AS SELECT 1 AS id'],
    ['rooms', 'SEQUENCE rooms'],
  ])("with somebody else's %s is refused before anything is created (%s)", async (name, made) => {
    await query(fresh.url, `CREATE ${made}`);
    const before = await tables();

    for (const start of [migrate, requireMigrated]) {
      const started = start(at(), QUIET);
      await expect(started).rejects.toBeInstanceOf(StartError);
      await expect(started).rejects.toThrow(
        `the database already has a table ${name} that belongs to another application`,
      );
    }
    expect(await tables()).toEqual(before);
  });

  it('whose stranger uses sequelize-cli as well is refused, too', async () => {
    await query(
      fresh.url,
      `CREATE TABLE "SequelizeMeta" (name varchar(255) PRIMARY KEY);
       INSERT INTO "SequelizeMeta" VALUES ('20200101000000-create-messages.js');
       CREATE TABLE messages (id serial PRIMARY KEY, body text)`,
    );

    await expect(migrate(at(), QUIET)).rejects.toThrow('belongs to another application');
    expect(await tables()).toEqual(['SequelizeMeta', 'messages']);
  });

  it('that is shared with another application is taken if the names do not meet', async () => {
    await query(
      fresh.url,
      `CREATE TABLE users (id serial PRIMARY KEY);
       CREATE TABLE "SequelizeMeta" (name varchar(255) PRIMARY KEY);
       INSERT INTO "SequelizeMeta" VALUES ('20200101000000-create-users.js')`,
    );

    expect(await migrate(at(), QUIET)).not.toEqual([]);
    expect(await migrate(at(), QUIET)).toEqual([]);
    await requireMigrated(at(), QUIET);
  });

  it("with somebody else's tables in another schema of the search_path is taken", async () => {
    const name = new URL(fresh.url).pathname.slice(1);
    await query(
      fresh.url,
      `CREATE TABLE messages (body text); CREATE TABLE rooms (door text); CREATE SCHEMA chat;
       ALTER DATABASE ${name} SET search_path = chat, public`,
    );

    expect(await migrate(at(), QUIET)).not.toEqual([]);
    expect(await migrate(at(), QUIET)).toEqual([]);
    const [found] = await query(
      fresh.url,
      `SELECT 'rooms'::regclass = 'chat.rooms'::regclass AS ours`,
    );
    expect(found).toEqual({ ours: true });
  });

  it.each([
    ['DROP TABLE messages', 'the database has no table messages, though its migration has run'],
    ['ALTER TABLE rooms DROP COLUMN head CASCADE', 'the table rooms lacks the columns head'],
    ['ALTER TABLE rooms RENAME TO halls', 'the database has no table rooms'],
    ['DROP ROUTINE append_batch', "messages can't be appended: function append_batch("],
  ])('that lost something is refused: %s', async (damage, complaint) => {
    await migrate(at(), QUIET);
    await query(fresh.url, damage);

    await expect(migrate(at(), QUIET)).rejects.toThrow(complaint);
    await expect(requireMigrated(at(), QUIET)).rejects.toThrow(complaint);
  });

  describe('whose role', () => {
    const role = 'limited_role_of_the_schema_test';
    let admin: Client;
    let url: string;

    beforeEach(async () => {
      admin = new Client({ connectionString: fresh.url });
      await admin.connect();
      await admin.query(`DROP ROLE IF EXISTS ${role}; CREATE ROLE ${role} LOGIN PASSWORD 'pw'`);
      const own = new URL(fresh.url);
      own.username = role;
      own.password = 'pw';
      url = own.href;
    });
    afterEach(async () => {
      await admin.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
      await admin.end();
    });

    it('may not create tables cannot be migrated, and says so in a line', async () => {
      await admin.query('REVOKE CREATE ON SCHEMA public FROM PUBLIC');

      await expect(migrate(at(url), QUIET)).rejects.toThrow(
        'could not migrate, and nothing was changed: permission denied for schema public',
      );
    });

    it('may only use them is taken once another has migrated, and not before it has the rights', async () => {
      await migrate(at(), QUIET);
      await admin.query(`GRANT SELECT ON "SequelizeMeta" TO ${role}`);
      await expect(requireMigrated(at(url), QUIET)).rejects.toThrow(
        'the role may not read and write the table rooms',
      );
      await admin.query(
        `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`,
      );
      await expect(requireMigrated(at(url), QUIET)).rejects.toThrow(
        'the role may not use the sequences of the table rooms',
      );
      await admin.query(
        `GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ${role};
         REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC`,
      );
      await expect(requireMigrated(at(url), QUIET)).rejects.toThrow(
        "messages can't be appended: permission denied for function append_batch",
      );
      await admin.query(`GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO ${role}`);

      await requireMigrated(at(url), QUIET);
      expect(await migrate(at(url), QUIET)).toEqual([]);
    });
  });
});
