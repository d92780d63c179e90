import pg from 'pg';
import { Sequelize, type Options } from 'sequelize';
import type { Config, DatabaseAddress } from '../config.js';
import { startEmbeddedPostgres } from './embedded.js';

const INT8_OID = 20;
const CONNECT_TIMEOUT_MS = 5_000;
/** How long a query may wait for a connection of the pool. */
const ACQUIRE_TIMEOUT_MS = 10_000;

export interface Database {
  readonly sequelize: Sequelize;
  /**
   * Where the log appends: over a server, connections of its own, so that no flood of reading keeps a message
   * from being stored.
   */
  readonly appends: Sequelize;
  readonly embedded: boolean;
  readonly address: DatabaseAddress;
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
  const open = (connections: number): Sequelize =>
    new Sequelize({
      ...sequelizeOptions(address),
      // The embedded one has a single connection: transactions of two would mix.
      pool: { max: embedded ? 1 : connections, min: embedded ? 1 : 0, acquire: ACQUIRE_TIMEOUT_MS },
    });
  const sequelize = open(config.databasePoolSize);
  const appends = embedded ? sequelize : open(config.limits.logLanes);
  return {
    sequelize,
    appends,
    embedded: embedded !== null,
    address,
    async ping() {
      await sequelize.query('SELECT 1');
    },
    async close() {
      await Promise.all([...new Set([sequelize, appends])].map((pool) => pool.close()));
      await embedded?.close();
    },
  };
}

/** Sequelize's options for an address, without a pool; sequelize-cli takes the same ones. */
export function sequelizeOptions(address: DatabaseAddress): Options {
  return {
    dialect: 'postgres',
    dialectModule: pgWithNumbers(),
    host: address.host,
    port: address.port,
    database: address.database,
    username: address.username,
    ...(address.password !== undefined && { password: address.password }),
    dialectOptions: {
      application_name: 'nano-messaging',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      ssl: address.ssl,
    },
    logging: false,
  };
}

/**
 * `pg` gives int8 as a string, as it may exceed what a number holds; a room's numbers are below 2^53. Only
 * for our Sequelize: `pg.types` itself belongs to the whole process.
 */
function pgWithNumbers(): object {
  const types = {
    ...pg.types,
    getTypeParser: (oid: number, format?: 'text' | 'binary'): unknown =>
      oid === INT8_OID && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format),
  };
  return Object.create(pg, { types: { value: types } }) as object;
}
