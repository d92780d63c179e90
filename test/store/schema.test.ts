import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { StartError } from '../../src/errors.js';
import { createLogger } from '../../src/logger.js';
import { connectDatabase } from '../../src/store/connect.js';
import { migrate, requireMigrated } from '../../src/store/migrate.js';
import { loadMigrations, tablesOf, type Migration } from '../../src/store/migrations.js';
import { inspectSchema } from '../../src/store/schema.js';
import { createDatabase, query, type TestDatabase } from '../harness/database.js';
import { eventually } from '../harness/eventually.js';
import { postgresUrl } from '../harness/services.js';
import { QUIET, storeOver } from '../harness/store-hosts.js';
import { addRule, emptyRoom, newCaller, readAll, say, TestWriter } from '../harness/writers.js';

const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url));

describe('a database', () => {
  let fresh: TestDatabase;

  beforeEach(async () => {
    fresh = await createDatabase(postgresUrl());
  });
  afterEach(() => fresh.drop());

  function at(url = fresh.url): Parameters<typeof migrate>[0] {
    return addressOf(url);
  }

  /** The tables of the database. */
  async function tables(): Promise<string[]> {
    const rows = await query<{ name: string }>(
      fresh.url,
      `SELECT tablename AS name FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`,
    );
    return rows.map(({ name }) => name);
  }

  it('has after migrating exactly the tables, columns and keys that `tablesOf` finds', async () => {
    await migrate(at(), QUIET);

    const known = await tablesOf(await loadMigrations());
    expect(await tables()).toEqual(['SequelizeMeta', ...known.keys()].toSorted());
    for (const [table, { columns, keys, parents }] of known) {
      const made = await query(
        fresh.url,
        `SELECT attname AS name, format_type(atttypid, atttypmod) AS type,
           NOT attnotnull AS "isNullable", atthasdef AS "hasDefault"
         FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum`,
        [table],
      );
      expect(made).toEqual(columns);
      const [count] = await query(
        fresh.url,
        `SELECT (SELECT count(*)::int FROM pg_index WHERE indrelid = $1::regclass AND indisunique) AS keys,
           (SELECT count(*)::int FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'f') AS parents`,
        [table],
      );
      expect(count).toEqual({ keys: keys.length, parents: parents.length });
    }
  });

  it.each(['LATIN1', 'SQL_ASCII', 'WIN1252', 'EUC_JP'])(
    'of the encoding %s is refused before anything is created, with what to do',
    async (encoding) => {
      const other = await createDatabase(
        postgresUrl(),
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
      'the database has no tables yet: run "npx nano-messaging migrate", or set MIGRATE_ON_START=true',
    );
    expect(await tables()).toEqual([]);
  });

  it('of an older version is refused if nobody migrates, and migrated otherwise', async () => {
    await migrate(at(), QUIET);
    const names = (await readdir(MIGRATIONS)).toSorted();
    const last = names.at(-1);
    await query(fresh.url, 'DELETE FROM "SequelizeMeta" WHERE name = $1', [last]);

    await expect(requireMigrated(at(), QUIET)).rejects.toThrow(
      /is of an older version: run "npx nano-messaging migrate".*pending: /,
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
    await eventually(() => {
      expect(warn).toHaveBeenCalledOnce();
    });
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ reason: expect.stringContaining('read-only') as string }),
      'waiting for the database',
    );

    await query(postgresUrl(), `ALTER DATABASE ${name} RESET default_transaction_read_only`);
    await started;
  });

  it('of a newer version is accepted, with a warning: nodes of both may run', async () => {
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
  ])(
    "with another application's %s is refused before anything is created (%s)",
    async (name, made) => {
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
    },
  );

  it('of another application that uses sequelize-cli as well is refused, too', async () => {
    await query(
      fresh.url,
      `CREATE TABLE "SequelizeMeta" (name varchar(255) PRIMARY KEY);
       INSERT INTO "SequelizeMeta" VALUES ('20200101000000-create-messages.js');
       CREATE TABLE messages (id serial PRIMARY KEY, body text)`,
    );

    await expect(migrate(at(), QUIET)).rejects.toThrow('belongs to another application');
    expect(await tables()).toEqual(['SequelizeMeta', 'messages']);
  });

  it('that is shared with another application is accepted if no names collide', async () => {
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

  it("with another application's tables in another schema of the search_path is accepted", async () => {
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
    ['ALTER TABLE rooms DROP COLUMN head CASCADE', 'the columns of the table rooms are not as'],
    ['ALTER TABLE rooms RENAME TO halls', 'the database has no table rooms'],
    ['DROP ROUTINE append_batch', "messages can't be appended: function append_batch("],
    ['DROP ROUTINE search_fold', "messages can't be searched: function search_fold("],
    ['DROP ROUTINE search_estimate', "messages can't be searched: function search_estimate("],
    ['DROP INDEX messages_ref', 'the table messages lacks its unique key (room_id, emitter, ref)'],
    ['ALTER TABLE messages ALTER seq TYPE integer', 'seq is integer, not bigint'],
  ])('with a missing or changed part is refused: %s', async (damage, complaint) => {
    await migrate(at(), QUIET);
    await query(fresh.url, damage);

    await expect(migrate(at(), QUIET)).rejects.toThrow(complaint);
    await expect(requireMigrated(at(), QUIET)).rejects.toThrow(complaint);
  });

  it('whose columns are wider is accepted, and works', async () => {
    await migrate(at(), QUIET);
    await query(
      fresh.url,
      `ALTER TABLE rooms ALTER id TYPE bigint, ALTER name TYPE varchar(200), ALTER level_admin TYPE bigint;
       ALTER TABLE room_permissions ALTER room_id TYPE bigint, ALTER level TYPE bigint,
         ALTER permissions TYPE varchar;
       ALTER TABLE messages ALTER room_id TYPE bigint, ALTER kind TYPE text, ALTER ref TYPE text,
         ALTER "createdAt" TYPE timestamptz`,
    );

    await requireMigrated(at(), QUIET);
    expect(await migrate(at(), QUIET)).toEqual([]);

    const database = await connectDatabase(loadConfig({ DATABASE_URL: fresh.url }), QUIET);
    const store = storeOver(database);
    const room = await emptyRoom(store);
    const { rule } = await addRule(store, room);
    const writer = new TestWriter(room, { rulesHead: 1 });
    const author = newCaller();
    const said = await Promise.all(
      ['a', 'b', 'a'].map((ref) => say(store.log, writer, ref, { author, ref })),
    );
    expect(said.map(({ seq }) => seq)).toEqual([2, 3, 2]);
    expect(await readAll(store.log, room)).toMatchObject([
      { roomId: room, seq: 1, kind: 'member' },
      { roomId: room, seq: 2, kind: 'message', content: 'a' },
      { roomId: room, seq: 3, kind: 'message', content: 'b' },
    ]);
    expect((await store.log.state(room))?.access.rules.get(rule.entityUUID)?.level).toBe(0);
    await database.close();
  });

  it('whose table of ours lost the record of its migration, and was changed, is refused', async () => {
    await migrate(at(), QUIET);
    await query(
      fresh.url,
      'DELETE FROM "SequelizeMeta"; ALTER TABLE messages ALTER seq TYPE integer',
    );

    await expect(migrate(at(), QUIET)).rejects.toThrow('seq is integer, not bigint');
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

    it('may not create tables cannot be migrated, and the reason is one line', async () => {
      await admin.query('REVOKE CREATE ON SCHEMA public FROM PUBLIC');

      await expect(migrate(at(url), QUIET)).rejects.toThrow(
        'could not migrate, and nothing was changed: permission denied for schema public',
      );
    });

    it('may only use tables is accepted once another role has migrated and granted the rights', async () => {
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

describe('a table that the migrations have made', () => {
  let fresh: TestDatabase;
  let client: Client;
  let migrations: Migration[];

  beforeAll(async () => {
    fresh = await createDatabase(postgresUrl());
    migrations = await loadMigrations();
    await migrate(addressOf(fresh.url), QUIET);
    client = new Client({ connectionString: fresh.url });
    await client.connect();
  });
  afterAll(async () => {
    await client.end();
    await fresh.drop();
  });
  beforeEach(() => client.query('BEGIN'));
  afterEach(() => client.query('ROLLBACK'));

  it.each([
    ['ALTER TABLE messages DROP CONSTRAINT messages_pkey', 'its unique key ("room_id", "seq")'],
    [
      `DROP INDEX messages_ref;
       CREATE UNIQUE INDEX messages_ref ON messages (room_id, emitter, ref) WHERE ref > 'a'`,
      'its unique key (room_id, emitter, ref)',
    ],
    [
      'DROP INDEX messages_ref; CREATE INDEX messages_ref ON messages (room_id, emitter, ref)',
      'its unique key (room_id, emitter, ref)',
    ],
    [
      'ALTER TABLE room_permissions DROP CONSTRAINT room_permissions_pkey',
      'the table room_permissions lacks its unique key ("room_id", "entity_UUID")',
    ],
    ['ALTER TABLE rooms DROP CONSTRAINT rooms_pkey CASCADE', 'lacks its unique key ("id")'],
    ['ALTER TABLE rooms DROP CONSTRAINT rooms_uuid_key', 'lacks its unique key ("uuid")'],
    ['ALTER TABLE log_epoch DROP CONSTRAINT log_epoch_pkey', 'lacks its unique key ("id")'],
    ['ALTER TABLE deleted_rooms DROP CONSTRAINT deleted_rooms_pkey', 'its unique key ("room_id")'],
    [
      'ALTER TABLE room_permissions DROP CONSTRAINT room_permissions_room_id_fkey',
      'the table room_permissions lacks its foreign key to rooms',
    ],
    ['ALTER TABLE messages ALTER content DROP NOT NULL', 'content allows NULL'],
    ['ALTER TABLE messages ALTER ref SET NOT NULL', 'ref is NOT NULL'],
    ['ALTER TABLE rooms ALTER head DROP DEFAULT', 'head has no default'],
    ['ALTER TABLE rooms ALTER id DROP DEFAULT', 'id has no default'],
    ['ALTER TABLE messages ADD tenant text NOT NULL', 'tenant, which is not one of theirs, is NOT'],
    ['ALTER TABLE messages ALTER seq TYPE numeric', 'seq is numeric, not bigint'],
    ['ALTER TABLE messages ALTER emitter TYPE text', 'emitter is text, not uuid'],
    ['ALTER TABLE messages ALTER content TYPE varchar(100)', 'content is character varying(100)'],
    ['ALTER TABLE messages ALTER ref TYPE char(64)', 'ref is character(64), not character varying'],
    ['ALTER TABLE rooms ALTER name TYPE varchar(50)', 'name is character varying(50), not'],
    ['ALTER TABLE rooms ALTER name TYPE bytea USING name::bytea', 'name is bytea, not'],
    ['ALTER TABLE messages ALTER "createdAt" TYPE timestamp', 'createdAt is timestamp without'],
    [
      'ALTER TABLE messages ALTER "createdAt" TYPE timestamptz(0)',
      'createdAt is timestamp(0) with',
    ],
    [
      `ALTER TABLE room_permissions ALTER accepted DROP DEFAULT,
         ALTER accepted TYPE integer USING accepted::integer, ALTER accepted SET DEFAULT 0`,
      'accepted is integer, not boolean',
    ],
  ])('is refused after %s', async (change, complaint) => {
    await client.query(change);

    const inspected = inspectSchema(client, migrations);

    await expect(inspected).rejects.toBeInstanceOf(StartError);
    await expect(inspected).rejects.toThrow(complaint);
  });

  it.each([
    [
      'other columns',
      `ALTER TABLE rooms ADD note text, ADD tenant text NOT NULL DEFAULT '',
         ADD mark bigint GENERATED ALWAYS AS IDENTITY;
       ALTER TABLE messages
         ADD words tsvector GENERATED ALWAYS AS (to_tsvector('simple', content)) STORED`,
    ],
    [
      'other indexes of its keys',
      `ALTER TABLE messages DROP CONSTRAINT messages_pkey;
       CREATE UNIQUE INDEX ON messages (seq, room_id) INCLUDE (emitter);
       DROP INDEX messages_ref;
       CREATE UNIQUE INDEX ON messages (room_id, ref, emitter)`,
    ],
    ['a domain', 'CREATE DOMAIN person AS uuid; ALTER TABLE messages ALTER emitter TYPE person'],
    [
      'partitions by room',
      `ALTER TABLE messages RENAME TO one;
       CREATE TABLE messages (LIKE one INCLUDING DEFAULTS) PARTITION BY HASH (room_id);
       CREATE TABLE messages_0 PARTITION OF messages FOR VALUES WITH (MODULUS 1, REMAINDER 0);
       ALTER TABLE messages ADD PRIMARY KEY (room_id, seq);
       CREATE UNIQUE INDEX ON messages (room_id, emitter, ref) WHERE ref IS NOT NULL;
       DROP TABLE one`,
    ],
    [
      'numbers that the database alone gives',
      `ALTER TABLE rooms ALTER id DROP DEFAULT;
       ALTER TABLE rooms ALTER id ADD GENERATED ALWAYS AS IDENTITY`,
    ],
  ])('is accepted with %s', async (_, change) => {
    await client.query(change);

    expect(await inspectSchema(client, migrations)).toEqual({ pending: [], unknown: [] });
  });
});

/** The address of a database, as in a configuration. */
function addressOf(url: string): Parameters<typeof migrate>[0] {
  const { database } = loadConfig({ DATABASE_URL: url });
  if (database === undefined) throw new Error('no address');
  return { directAddress: database };
}
