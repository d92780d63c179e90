import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { QueryTypes } from 'sequelize';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import { migrate } from '../../src/store/migrate.js';
import { createDataDir } from '../harness/data-dir.js';
import { createDatabase, type TestDatabase } from '../harness/database.js';
import { runProgram } from '../harness/process.js';
import { postgresUrl } from '../harness/services.js';
import { QUIET, storeOver } from '../harness/store-hosts.js';
import { emptyRoom, say, TestWriter } from '../harness/writers.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLI = 'src/cli/main.js';
const SEQUELIZE_CLI = `${ROOT}/node_modules/.bin/sequelize`;

/** A new database, and the environment of a node on it. */
interface Fresh {
  readonly env: Record<string, string>;
  drop(): Promise<void>;
}

const fresh: readonly (readonly [name: string, make: () => Promise<Fresh>])[] = [
  [
    'Postgres',
    async () => {
      const made = await createDatabase(postgresUrl());
      return { env: { DATABASE_URL: made.url }, drop: () => made.drop() };
    },
  ],
  [
    'the embedded PGlite',
    async () => {
      const made = await createDataDir();
      // sequelize-cli leaves the socket's folder behind.
      const env = { DATABASE_URL: '', DB_HOST: '', DATA_DIR: made.path, TMPDIR: made.path };
      return { env, drop: () => made.remove() };
    },
  ],
];

describe.each(fresh)('migrations of %s', (_, makeFresh) => {
  let names: string[];
  let database: Fresh;

  beforeEach(async () => {
    names = (await readdir(`${ROOT}/migrations`)).toSorted();
    database = await makeFresh();
  });
  afterEach(() => database.drop());

  it('run once: the second time there is nothing to do', async () => {
    await open(async (database) => {
      expect(await migrate(database, QUIET)).toEqual(names);
      expect(await migrate(database, QUIET)).toEqual([]);
      expect(await recorded(database)).toEqual(names);
    });
  });

  it('can run again if their record is lost, and keep stored messages', async () => {
    await open(async (database) => {
      await migrate(database, QUIET);
      const store = storeOver(database);
      const writer = new TestWriter(await emptyRoom(store));
      await say(store.log, writer, 'hi');

      for (const name of names) {
        await database.sequelize.query('DELETE FROM "SequelizeMeta" WHERE name = $1', {
          bind: [name],
        });
        expect(await migrate(database, QUIET)).toEqual([name]);
      }
      await database.sequelize.query('DELETE FROM "SequelizeMeta"');
      expect(await migrate(database, QUIET)).toEqual(names);

      expect(await say(store.log, writer, 'hi again')).toEqual({ seq: 2, known: false });
    });
  });

  it('run by sequelize-cli leave nothing to do, and can be undone by it', async () => {
    await sequelizeCli('db:migrate', database.env);
    await open(async (database) => {
      expect(await migrate(database, QUIET)).toEqual([]);
      expect(await recorded(database)).toEqual(names);
    });

    await sequelizeCli('db:migrate:undo:all', database.env);
    await open(async (database) => {
      expect(await recorded(database)).toEqual([]);
      expect(await tablesAndFunctions(database)).toEqual(['SequelizeMeta']);
      expect(await migrate(database, QUIET)).toEqual(names);
      await say(
        storeOver(database).log,
        new TestWriter(await emptyRoom(storeOver(database))),
        'hi',
      );
    });
  });

  it('run by the command migrate are listed on its stdout', async () => {
    const env = { ...database.env, LOG_LEVEL: 'error' };
    const script = runProgram(CLI, { args: ['migrate'], env });

    expect(await script.exited()).toBe(0);
    expect(script.stdout()).toBe(`migrated: ${names.join(', ')}\n`);
    await open(async (database) => {
      expect(await migrate(database, QUIET)).toEqual([]);
      expect(await recorded(database)).toEqual(names);
    });
  });

  async function open(use: (database: Database) => Promise<unknown>): Promise<void> {
    const opened = await connectDatabase(loadConfig(database.env), QUIET);
    try {
      await use(opened);
    } finally {
      await opened.close();
    }
  }
});

describe('several migrations of one fresh Postgres at once', () => {
  let database: TestDatabase;

  beforeEach(async () => {
    database = await createDatabase(postgresUrl());
  });
  afterEach(() => database.drop());

  it('share the work by connection: each migration runs once', async () => {
    const config = loadConfig({ DATABASE_URL: database.url });
    const both = await Promise.all([
      connectDatabase(config, QUIET),
      connectDatabase(config, QUIET),
    ]);

    const done = await Promise.all(both.map((database) => migrate(database, QUIET)));
    const records = await Promise.all(both.map(recorded));
    await Promise.all(both.map((database) => database.close()));

    expect(done.filter((names) => names.length === 0)).toHaveLength(1);
    expect(records).toEqual([done.flat(), done.flat()]);
  });

  it('leave sequelize-cli nothing to do', async () => {
    const env = { DATABASE_URL: database.url };
    const opened = await connectDatabase(loadConfig(env), QUIET);
    await migrate(opened, QUIET);
    await opened.close();

    const { stdout } = await sequelizeCli('db:migrate', env);

    expect(stdout).toContain('No migrations were executed');
  });

  it('exit with 0 as processes: one runs all, the other waits and finds nothing', async () => {
    const env = { DATABASE_URL: database.url, LOG_LEVEL: 'error' };
    const programs = [1, 2].map(() => runProgram(CLI, { args: ['migrate'], env }));

    const codes = await Promise.all(programs.map((program) => program.exited()));

    expect(codes).toEqual([0, 0]);
    expect(programs.map((program) => program.stdout()).toSorted()).toEqual([
      expect.stringMatching(/^migrated: (\S+\.cjs(, |\n)){4,}$/),
      'up to date\n',
    ]);
  });
});

describe('the command migrate', () => {
  it('exits with 1 if no database answers, with the reason and without the password', async () => {
    const password = randomUUID();
    const url = `postgres://nobody:${password}@127.0.0.1:1/nothing`;

    const program = runProgram(CLI, { args: ['migrate'], env: { DATABASE_URL: url } });

    expect(await program.exited()).toBe(1);
    expect(program.stderr()).toContain('ECONNREFUSED');
    expect(program.stderr() + program.stdout()).not.toContain(password);
  });
});

function sequelizeCli(command: string, env: Record<string, string>): Promise<{ stdout: string }> {
  return promisify(execFile)(SEQUELIZE_CLI, [command], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], NODE_ENV: 'development', ...env },
  });
}

async function recorded({ sequelize }: Database): Promise<string[]> {
  const rows = await sequelize.query<{ name: string }>(
    'SELECT name FROM "SequelizeMeta" ORDER BY name',
    { type: QueryTypes.SELECT },
  );
  return rows.map(({ name }) => name);
}

async function tablesAndFunctions({ sequelize }: Database): Promise<string[]> {
  const rows = await sequelize.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'
     UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace`,
    { type: QueryTypes.SELECT },
  );
  return rows.map(({ name }) => name);
}
