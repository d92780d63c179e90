import { BaseError, Sequelize } from 'sequelize';
import { StartError } from '../errors.js';
import type { Logger } from '../logger.js';
import { lockKey } from './advisory-locks.js';
import { sequelizeOptions, type Database } from './connect.js';
import { isLockTimeout } from './pg-errors.js';
import { loadMigrations, type Migration } from './migrations.js';
import { reachDatabase, type ReachOptions } from './reach.js';
import { inspectSchema, type Schema } from './schema.js';

/** How long to wait for another process that migrates, and for each lock of a table: as long as for a database. */
const LOCK_TIMEOUT_MS = 60_000;
/**
 * How often Postgres checks that the client of a running statement still lives: a dead one frees its locks after this
 * time.
 */
const CHECK_INTERVAL_MS = 1_000;

interface MigrateOptions extends Omit<ReachOptions, 'logger'> {
  readonly lockTimeoutMs?: number;
}

/**
 * Runs the pending files of migrations/, all of them or none. One process at a time does so: a second one waits, and
 * finds nothing pending. They are recorded in the table of sequelize-cli.
 * @returns the names of the migrations that have run
 * @throws {StartError} if the database does not answer, has tables of another application, or can't be migrated
 */
export async function migrate(
  database: Pick<Database, 'directAddress'>,
  logger: Logger,
  { lockTimeoutMs = LOCK_TIMEOUT_MS, ...patience }: MigrateOptions = {},
): Promise<string[]> {
  const migrations = await loadMigrations();
  const schema = await inspect(database, migrations, { ...patience, logger });
  if (schema.pending.length === 0) return [];
  const sequelize = openOneConnection(database);
  try {
    await begin(sequelize, lockTimeoutMs);
    await lock(sequelize, database.directAddress.database, lockTimeoutMs, logger);
    const done = await run(sequelize, migrations, logger);
    await sequelize.query('COMMIT');
    return done;
  } catch (error) {
    throw toStartError(error);
  } finally {
    await sequelize.close();
  }
}

/**
 * Checks that all migrations have run, for operators who migrate by other means.
 * @throws {StartError} if some are pending, or the database does not answer
 */
export async function requireMigrated(
  database: Pick<Database, 'directAddress'>,
  logger: Logger,
  patience: Omit<ReachOptions, 'logger'> = {},
): Promise<void> {
  const migrations = await loadMigrations();
  const { pending } = await inspect(database, migrations, { ...patience, logger });
  if (pending.length === 0) return;
  const lacks =
    pending.length === migrations.length ? 'has no tables yet' : 'is of an older version';
  throw new StartError(
    `the database ${lacks}: run "npx nano-messaging migrate", or set MIGRATE_ON_START=true (pending: ${pending.join(', ')})`,
  );
}

async function inspect(
  { directAddress }: Pick<Database, 'directAddress'>,
  migrations: readonly Migration[],
  options: ReachOptions,
): Promise<Schema> {
  const schema = await reachDatabase(directAddress, options, (client) =>
    inspectSchema(client, migrations),
  );
  if (schema.unknown.length > 0) {
    options.logger.warn(
      { migrations: schema.unknown },
      'the database has migrations that this version does not know: a newer version has run on it, or another application',
    );
  }
  return schema;
}

/**
 * A Sequelize with one connection, so that all its queries are part of one transaction. The advisory lock belongs to
 * that transaction and ends with it, also behind a pooler that lends connections by the transaction.
 */
function openOneConnection({ directAddress }: Pick<Database, 'directAddress'>): Sequelize {
  return new Sequelize({ ...sequelizeOptions(directAddress), pool: { max: 1, min: 1 } });
}

/** Begins the transaction, independent of the defaults that a role or a database sets. */
async function begin(sequelize: Sequelize, lockTimeoutMs: number): Promise<void> {
  await sequelize.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
  // If the connection breaks, the rest must not run on a new one, outside of the transaction.
  sequelize.addHook('beforeConnect', () => {
    throw new StartError('the connection that migrates broke; nothing was changed');
  });
  await sequelize.query(
    `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = ${lockTimeoutMs};
     SET LOCAL idle_in_transaction_session_timeout = 0`,
  );
  // Postgres 14 and later has this setting. Without it, a statement of a killed process runs on and keeps the lock.
  await sequelize.query(
    `SELECT set_config(name, '${CHECK_INTERVAL_MS}', true) FROM pg_settings
     WHERE name = 'client_connection_check_interval'`,
  );
}

async function lock(
  sequelize: Sequelize,
  name: string,
  timeoutMs: number,
  logger: Logger,
): Promise<void> {
  const [[row]] = (await sequelize.query(
    `SELECT pg_try_advisory_xact_lock(${lockKey('migrate')}) AS is_ours`,
  )) as [{ is_ours: boolean }[], unknown];
  if (row?.is_ours === true) return;
  logger.warn(`waiting for the migration lock of ${name}`);
  try {
    await sequelize.query(`SELECT pg_advisory_xact_lock(${lockKey('migrate')})`);
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    throw new StartError(
      `the migration lock of ${name} was not free within ${timeoutMs / 1000} s: ` +
        `another process still migrates, or a connection that hangs keeps it (see pg_locks)`,
      { cause: error },
    );
  }
}

async function run(
  sequelize: Sequelize,
  migrations: readonly Migration[],
  logger: Logger,
): Promise<string[]> {
  // Imported here, as it takes a fifth of the time of a start, and most starts find nothing pending.
  const { MigrationError, SequelizeStorage, Umzug } = await import('umzug');
  const queryInterface = sequelize.getQueryInterface();
  const umzug = new Umzug({
    migrations: migrations.map(({ name, up }) => ({ name, up: () => up(queryInterface) })),
    storage: new SequelizeStorage({ sequelize }),
    logger: undefined,
  });
  umzug.on('migrating', ({ name }) => {
    logger.info({ migration: name }, 'migrating');
  });
  try {
    const done = await umzug.up();
    return done.map(({ name }) => name);
  } catch (error) {
    throw error instanceof MigrationError ? error.cause : error;
  }
}

/** Wraps an error of the database, whose message is for the operator; any other error is a bug, and stays as it is. */
function toStartError(error: unknown): unknown {
  if (!(error instanceof BaseError)) return error;
  return new StartError(`could not migrate, and nothing was changed: ${error.message}`, {
    cause: error,
  });
}
