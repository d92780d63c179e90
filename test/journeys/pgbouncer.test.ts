import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase } from '../../src/store/connect.js';
import { exportRoom } from '../../src/store/room-export.js';
import { migrate } from '../../src/store/migrate.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createDatabase, query, type TestDatabase } from '../harness/database.js';
import { startNode, type TestNode } from '../harness/node.js';
import { OLD_TABLES } from '../harness/old-tables.js';
import { startPgBouncer, type PgBouncer } from '../harness/pgbouncer.js';
import { runProgram } from '../harness/process.js';
import { postgresUrl, redisUrl } from '../harness/services.js';
import { QUIET } from '../harness/store-hosts.js';
import { person } from '../harness/tokens.js';

/** Fewer than two nodes have, so that they share each. */
const POOL_SIZE = 4;
const ROOMS = 6;
const MESSAGES_OF_EACH = 60;

/** Each transaction begins with its own; the others PgBouncer keeps for each client, and sets on what it lends. */
const NOT_LEFT = [
  'transaction_read_only',
  'application_name',
  'client_encoding',
  'DateStyle',
  'TimeZone',
  'standard_conforming_strings',
];

/** Any PgBouncer: `PATH=<folder of another one>:$PATH npx vitest run test/journeys/pgbouncer.test.ts` runs it with that. */
describe('two nodes behind PgBouncer in transaction mode', () => {
  let database: TestDatabase;
  let pooler: PgBouncer;
  const nodes: TestNode[] = [];
  const ana = person({ levelOnEntity: 999 });
  const ben = person();

  function start(): Promise<TestNode> {
    return startNode({
      DATABASE_URL: pooler.url,
      DATABASE_POOLED: 'true',
      REDIS_URL: redisUrl(),
      REDIS_PREFIX: new URL(database.url).pathname.slice(1),
    });
  }

  beforeAll(async () => {
    database = await createDatabase(postgresUrl());
    // Defaults that would break the server if it did not set its own.
    const name = new URL(database.url).pathname.slice(1);
    for (const [setting, value] of [
      ['DateStyle', "'German'"],
      ['TimeZone', "'America/Havana'"],
      ['array_nulls', 'off'],
      ['statement_timeout', "'5s'"],
    ]) {
      await query(database.url, `ALTER DATABASE ${name} SET ${setting} = ${value}`);
    }
    pooler = await startPgBouncer(database.url, POOL_SIZE);
    // The second one finds the lock of the first one's migrations free.
    nodes.push(await start());
    nodes.push(await start());
  });
  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    await pooler.stop();
    await database.drop();
  });

  it('deliver and store 720 of 720 messages, and leave no setting, statement or lock behind', async () => {
    const [east, west] = nodes as [TestNode, TestNode];
    const told = await Promise.all(
      Array.from({ length: ROOMS }, async () => {
        const room = await createRoom(east, ana);
        await putRule(west, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
        const clients = [
          await ChatClient.enter(east, ana, room),
          await ChatClient.enter(west, ben, room),
        ];
        for (let n = 0; n < MESSAGES_OF_EACH; n += 1) {
          for (const client of clients) client.say(`hello ${n}`);
        }
        const seen = await Promise.all(clients.map((client) => client.take(2 * MESSAGES_OF_EACH)));
        await Promise.all(clients.map((client) => client.close()));
        return seen;
      }),
    );

    for (const [here, there] of told) expect(there).toEqual(here);
    const [stored] = await query<{ count: number }>(
      database.url,
      `SELECT count(*)::int AS count FROM messages WHERE kind = 'message'`,
    );
    expect(stored?.count).toBe(2 * ROOMS * MESSAGES_OF_EACH);
    expect(await leftBehind()).toEqual([]);
  });

  it('export, search and delete as without it', async () => {
    const [east, west] = nodes as [TestNode, TestNode];
    const room = await createRoom(east, ana);
    const client = await ChatClient.enter(west, ana, room);
    client.say('peregrine');
    await client.take(1);
    await client.close();

    const found = await request(west, 'GET', '/messages?q=peregrine', { as: ana });
    expect(JSON.stringify(found.content)).toContain('peregrine');
    const opened = await connectDatabase(
      loadConfig({ DATABASE_URL: pooler.url, DATABASE_POOLED: 'true' }),
      QUIET,
    );
    const exported = await exportRoom(opened.sequelize, room, (given) =>
      Promise.resolve(given?.room.id),
    );
    expect(exported).toBe(room);
    await opened.close();
    expect((await request(east, 'DELETE', `/rooms/${room}`, { as: ana })).status).toBe(200);
    expect(await leftBehind()).toEqual([]);
  });

  it('go on after the connections of the pooler were ended', async () => {
    const [east] = nodes as [TestNode];
    const room = await createRoom(east, ana);
    await query(
      database.url,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    );

    const statuses: number[] = [];
    while (statuses.at(-1) !== 200) {
      const answer = await request(east, 'GET', `/rooms/${room}`, { as: ana });
      statuses.push(answer.status);
    }
    expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([]);
  });

  it('refuse a database whose transactions are isolated otherwise, and say so', async () => {
    const fresh = await createDatabase(postgresUrl());
    const name = new URL(fresh.url).pathname.slice(1);
    await query(
      fresh.url,
      `ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`,
    );

    const started = startNode({ DATABASE_URL: pooled(fresh.url), DATABASE_POOLED: 'true' });
    await expect(started).rejects.toThrow(
      'the default_transaction_isolation of the role and of the database must be read committed',
    );
    await fresh.drop();
  });

  it('migrate by DATABASE_DIRECT_URL, past the pooler', async () => {
    const fresh = await createDatabase(postgresUrl());
    const nowhere = new URL(fresh.url);
    nowhere.port = '1';
    const opened = await connectDatabase(
      loadConfig({
        DATABASE_URL: nowhere.href,
        DATABASE_POOLED: 'true',
        DATABASE_DIRECT_URL: fresh.url,
      }),
      QUIET,
    );

    expect(await migrate(opened, QUIET)).not.toEqual([]);
    expect(await migrate(opened, QUIET)).toEqual([]);
    await opened.close();
    await fresh.drop();
  });

  it.each([
    [
      'through the pooler',
      (fresh: string) => ({ DATABASE_URL: pooled(fresh), DATABASE_POOLED: 'true' }),
      { code: 1, said: 'set DATABASE_DIRECT_URL' },
    ],
    [
      'past it, by DATABASE_DIRECT_URL,',
      (fresh: string) => ({
        DATABASE_URL: pooled(fresh),
        DATABASE_POOLED: 'true',
        DATABASE_DIRECT_URL: fresh,
      }),
      { code: 0, said: 'partitioned: ' },
    ],
  ])(
    'run every command of the command line %s as without it, but for what has to be alone',
    async (_, environment, { code, said }) => {
      const fresh = await createDatabase(postgresUrl());
      await query(fresh.url, OLD_TABLES);
      await query(
        fresh.url,
        `INSERT INTO "Rooms" (name, level_admin, "createdAt", "updatedAt") VALUES ('full', 1, now(), now()), ('empty', 1, now(), now())`,
      );
      await query(
        fresh.url,
        `INSERT INTO "Messages" (room_id, content, "createdAt", "updatedAt") VALUES (1, 'hi', now(), now())`,
      );
      const env = environment(fresh.url);
      async function run(args: string[], input?: string): Promise<string> {
        const program = runProgram('src/cli/main.js', {
          args,
          env,
          ...(input !== undefined && { stdin: 'pipe' }),
        });
        program.child.stdin?.end(input);
        const code = await program.exited();
        expect({ args, code, stderr: program.stderr() }).toMatchObject({ args, code: 0 });
        return program.stdout();
      }

      expect(await run(['migrate'])).toMatch(/^migrated: /);
      expect(await run(['carry-over'])).toBe('carried over: 2 rooms, 1 messages\n');
      const room = await run(['export', '1']);
      expect(room).toContain('"hi"');
      await run(['import', '2'], room);
      expect(await run(['export', '2'])).toContain('"hi"');
      expect(await run(['new-epoch'])).toMatch(/^epoch: /);
      const partition = runProgram('src/cli/main.js', {
        args: ['partition', '--partitions', '2'],
        env,
      });
      expect([await partition.exited(), partition.stdout() + partition.stderr()]).toEqual([
        code,
        expect.stringContaining(said),
      ]);
      expect(await run(['export', '2'])).toContain('"hi"');
      await fresh.drop();
    },
  );

  /** The database of a URL, through the pooler. */
  function pooled(url: string): string {
    const through = new URL(pooler.url);
    through.pathname = new URL(url).pathname;
    return through.href;
  }

  /** What the connections of the pooler have beyond those of a new session, as its next clients would see it. */
  async function leftBehind(): Promise<string[]> {
    const clients = Array.from(
      { length: POOL_SIZE },
      () => new Client({ connectionString: pooler.url }),
    );
    // A transaction each, all at a time, so that each has another connection; those of the nodes wait meanwhile.
    const found = await Promise.all(
      clients.map(async (client) => {
        await client.connect();
        await client.query('BEGIN');
        const { rows } = await client.query<{ name: string }>(
          `SELECT name || ' = ' || setting AS name FROM pg_settings
           WHERE source = 'session' AND name <> ALL ($1)
           UNION ALL SELECT 'statement ' || name FROM pg_prepared_statements
           UNION ALL SELECT 'lock ' || objid FROM pg_locks
             WHERE locktype = 'advisory' AND pid = pg_backend_pid()`,
          [NOT_LEFT],
        );
        return rows.map(({ name }) => name);
      }),
    );
    await Promise.all(clients.map((client) => client.query('COMMIT')));
    await Promise.all(clients.map((client) => client.end()));
    return found.flat();
  }
});
