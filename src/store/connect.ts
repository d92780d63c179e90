import pg from 'pg';
import { Sequelize, type Options } from 'sequelize';
import type { Config, DatabaseAddress } from '../config.js';
import { startEmbeddedPostgres } from './embedded.js';
import { impatientClient } from './silence.js';
import { plain, PreparedStatements, type RunStatement } from './statement.js';

const INT8_OID = 20;
const CONNECT_TIMEOUT_MS = 5_000;
/** A reader may be slower than the statement that stores a batch. */
const SILENCE_FACTOR = 4;
const IDLE_IN_TRANSACTION_MS = 10_000;
/** For how long a message waits for a room whose lock is kept by somebody who hangs. `append_batch` has its own. */
const APPEND_LOCK_TIMEOUT_MS = 2_000;
/** How long a query may wait for a connection of the pool. */
const ACQUIRE_TIMEOUT_MS = 10_000;

export interface Database {
  readonly sequelize: Sequelize;
  /**
   * Runs what the log appends, LOG_FLIGHTS statements at a time at most: over a server, on as many connections of its
   * own, so that no flood of reading keeps a message from being stored.
   */
  readonly runAppend: RunStatement;
  readonly embedded: boolean;
  readonly address: DatabaseAddress;
  /** Has each connection that is opened from now on pass a check before it is used; one that fails it is closed. */
  onConnect(check: (client: pg.Client) => Promise<void>): void;
  /** Rejects where the database does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the database of the configuration: a Postgres server, or the embedded one where no address is
 * given. Nothing is queried yet.
 * @throws {DataDirInUseError}
 */
export async function connectDatabase(
  config: Pick<Config, 'database' | 'databasePoolSize' | 'dataDir' | 'limits'>,
): Promise<Database> {
  const embedded =
    config.database === undefined ? await startEmbeddedPostgres(config.dataDir) : null;
  const address = config.database ?? embedded?.address;
  if (address === undefined) throw new Error('no address of a database');
  const { storeTimeoutMs, logFlights } = config.limits;
  const open = (connections: number, silenceMs: number): Sequelize =>
    new Sequelize({
      ...sequelizeOptions(address, silenceMs),
      pool: { max: connections, acquire: ACQUIRE_TIMEOUT_MS },
    });
  // The embedded one has a single connection: transactions of two would mix.
  const sequelize = embedded
    ? new Sequelize({ ...sequelizeOptions(address), pool: { max: 1, min: 1 } })
    : open(config.databasePoolSize, SILENCE_FACTOR * storeTimeoutMs);
  const appends = embedded ? undefined : open(logFlights, storeTimeoutMs);
  appends?.addHook('afterConnect', (connection) => preparePlans(connection as pg.Client));
  const prepared = appends && new PreparedStatements(appends);
  return {
    sequelize,
    runAppend: prepared?.run ?? plain(sequelize),
    embedded: embedded !== null,
    address,
    onConnect(check) {
      for (const each of [sequelize, appends]) {
        each?.addHook('afterConnect', async (connection) => {
          const client = connection as pg.Client;
          try {
            await check(client);
          } catch (error) {
            client.end().catch(() => undefined);
            throw error;
          }
        });
      }
    },
    async ping() {
      await sequelize.query('SELECT 1');
    },
    async close() {
      prepared?.close();
      await Promise.all([sequelize.close(), appends?.close()]);
      await embedded?.close();
    },
  };
}

/**
 * Sequelize's options for an address, without a pool; sequelize-cli takes the same ones.
 * @param silenceMs after which a connection breaks that was asked and does not answer; none: never
 */
export function sequelizeOptions(address: DatabaseAddress, silenceMs?: number): Options {
  return {
    dialect: 'postgres',
    dialectModule: ourPg(silenceMs),
    host: address.host,
    port: address.port,
    database: address.database,
    username: address.username,
    ...(address.password !== undefined && { password: address.password }),
    dialectOptions: {
      application_name: 'nano-messaging',
      connectionTimeoutMillis: Math.min(CONNECT_TIMEOUT_MS, silenceMs ?? Infinity),
      keepAlive: true,
      ssl: address.ssl,
    },
    // By SET: poolers like PgBouncer refuse a connection that begins with parameters they don't know.
    hooks: { afterConnect: (connection) => limitIdleTransactions(connection as pg.Client) },
    logging: false,
  };
}

/** A node that stops within a transaction must not keep a room's lock for the others. */
async function limitIdleTransactions(connection: pg.Client): Promise<void> {
  await connection.query(`SET idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS}`);
}

/**
 * Of what is appended: planned once a connection, as planning takes as long as storing many messages. Such a plan is
 * made while the tables may still be empty, and must be right when they have grown.
 */
async function preparePlans(connection: pg.Client): Promise<void> {
  await connection.query(
    `SET lock_timeout = ${APPEND_LOCK_TIMEOUT_MS}; SET plan_cache_mode = force_generic_plan;
     SET enable_seqscan = off`,
  );
}

/**
 * `pg` gives int8 as a string, as it may exceed what a number holds; a room's numbers are below 2^53. Only
 * for our Sequelize, as its client is: `pg` itself belongs to the whole process.
 */
function ourPg(silenceMs: number | undefined): object {
  const types = {
    ...pg.types,
    getTypeParser: (oid: number, format?: 'text' | 'binary'): unknown =>
      oid === INT8_OID && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format),
  };
  return Object.create(pg, {
    types: { value: types },
    ...(silenceMs !== undefined && { Client: { value: impatientClient(silenceMs) } }),
  }) as object;
}
