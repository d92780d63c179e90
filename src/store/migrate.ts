import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { Sequelize, type QueryInterface } from 'sequelize';
import { SequelizeStorage, Umzug } from 'umzug';
import type { Logger } from '../logger.js';
import { sequelizeOptions, type Database } from './connect.js';

/** Any number, the same in every process: `pg_advisory_lock` takes a bigint. */
const LOCK_KEY = 7_777_001;

const CONNECT_TIMEOUT_MS = 10_000;

interface Migration {
  up(queryInterface: QueryInterface, library: typeof Sequelize): Promise<void>;
  down(queryInterface: QueryInterface, library: typeof Sequelize): Promise<void>;
}

/** From dist/src/store as from src/store: the folder beside package.json. */
async function migrationsFolder(): Promise<string> {
  for (const up of ['../../migrations', '../../../migrations']) {
    const folder = fileURLToPath(new URL(up, import.meta.url));
    const files = await readdir(folder).catch(() => []);
    if (files.some((name) => name.endsWith('.cjs'))) return folder;
  }
  throw new Error('the folder migrations/ is missing beside package.json');
}

/**
 * Runs what is pending of migrations/, one process at a time: who comes second waits at the advisory
 * lock, and finds nothing to do. The table of what has run is that of sequelize-cli.
 * @returns the names of the migrations that were run
 */
export async function migrate(database: Database, logger: Logger): Promise<string[]> {
  // Of its own, too: a migration may take long, and the server's connections are impatient.
  const sequelize = new Sequelize({
    ...sequelizeOptions(database.address),
    pool: { max: 1 },
  });
  const umzug = createUmzug(sequelize, await migrationsFolder(), logger);
  // On a connection of its own: the lock is the session's, and ends with it, also with a process that dies.
  const client = new pg.Client({
    host: database.address.host,
    port: database.address.port,
    database: database.address.database,
    user: database.address.username,
    password: database.address.password,
    ssl: database.address.ssl,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  // A connection that breaks while migrations run on others: the queries on it reject, and that is enough.
  client.on('error', (error) => {
    logger.warn({ err: error }, 'the connection that holds the migration lock broke');
  });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [LOCK_KEY]);
    const done = await umzug.up();
    return done.map((migration) => migration.name);
  } finally {
    await client.end();
    await sequelize.close();
  }
}

function createUmzug(sequelize: Sequelize, folder: string, logger: Logger): Umzug {
  const require = createRequire(import.meta.url);
  const context = sequelize.getQueryInterface();
  const umzug = new Umzug({
    migrations: {
      glob: join(folder, '*.cjs'),
      resolve: ({ name, path }) => {
        if (path === undefined) throw new Error(`the migration ${name} has no file`);
        const migration = require(path) as Migration;
        return {
          name,
          up: () => migration.up(context, Sequelize),
          down: () => migration.down(context, Sequelize),
        };
      },
    },
    storage: new SequelizeStorage({ sequelize }),
    logger: undefined,
  });
  umzug.on('migrated', ({ name }) => {
    logger.info({ migration: name }, 'migrated');
  });
  return umzug;
}
