import pg from 'pg';
import { ConnectionError, QueryTypes, type Options, type Sequelize } from 'sequelize';
import type { Config, DatabaseAddress } from '../config/load.js';
import type { Logger } from '../logger.js';
import { startEmbeddedPostgres } from './embedded.js';
import { tryToStore } from './append.js';
import { Outage } from './outage.js';
import { createPgClients, type PgClient, type PgClients } from './pg-client.js';
import { StoreSequelize } from './sequelize.js';
import { withSettings, type Settings } from './settings.js';
import { plain, PreparedStatements, type RunStatement } from './prepared.js';

const INT8_OID = 20;
const CONNECT_TIMEOUT_MS = 5_000;
/** For how long a lock is waited for that is kept by somebody who hangs, or by many. `append_batch` has its own. */
const LOCK_TIMEOUT_MS = 2_000;
/** More than 1: whoever waits for a connection outlives its opening, as its failure is told to whoever waits by then. */
const ACQUIRE_FACTOR = 1.5;
/** How long what still runs has to end when the database is closed. */
const CLOSE_GRACE_MS = 1_000;
/** Connections for opening rooms, comparing heads and probes. */
const ROOM_CONNECTIONS = 2;
/** Pages that are read at the same time; each holds its rows in memory until they are written. */
export const PAGE_CONNECTIONS = 4;

/**
 * What is appended is planned once a connection, as planning takes as long as storing many messages. Such a plan is
 * made while the tables may still be empty, and must be right when they have grown.
 */
const APPEND_SETTINGS: Settings = { plan_cache_mode: 'force_generic_plan', enable_seqscan: 'off' };

/**
 * The connections to a database: over a server, pools of their own for what must not wait for each other. Whatever is
 * asked of one of them rejects with UNAVAILABLE if the database does not answer: it waits for the next byte of an answer
 * for STORE_TIMEOUT_MS at most, and for a connection half as long again.
 */
export interface Database {
  /** What REST reads, and, on other connections, its transactions. */
  readonly sequelize: Sequelize;
  /** The state and the heads of live rooms: a few rows each. */
  readonly rooms: Sequelize;
  /** Stretches of the log of live rooms. */
  readonly pages: Sequelize;
  /** Runs what the log appends, LOG_BATCHES_IN_FLIGHT statements at a time at most. */
  readonly runAppend: RunStatement;
  readonly embedded: boolean;
  readonly address: DatabaseAddress;
  /** Resolves with the reason if the database is lost, and not only away: the embedded one, which broke. */
  readonly failed: Promise<Error>;
  /** Has each connection that is opened from now on pass a check before it is used; one that fails it is closed. */
  onConnect(check: (client: pg.Client) => Promise<void>): void;
  /** Rejects where the database does not answer, can't be written to, or still can't store what it could not. */
  ping(): Promise<void>;
  /** Resolves in little more than a second, whatever hangs. */
  close(): Promise<void>;
}

/**
 * Opens the database of the configuration: a Postgres server, or the embedded one where no address is
 * given. Nothing is queried yet.
 * @throws {DataDirInUseError}
 */
export async function connectDatabase(
  config: Pick<Config, 'database' | 'databasePoolSize' | 'dataDir' | 'limits'>,
  logger: Logger,
): Promise<Database> {
  const embedded =
    config.database === undefined ? await startEmbeddedPostgres(config.dataDir) : null;
  const address = config.database ?? embedded?.address;
  if (address === undefined) throw new Error('no address of a database');
  const outage = new Outage(logger);
  const pools = embedded ? openOne(address, outage) : openPools(address, outage, config);
  const { sequelize, rooms, pages, runAppend, clients } = pools;
  return {
    sequelize,
    rooms,
    pages,
    runAppend,
    embedded: embedded !== null,
    address,
    failed: embedded?.failed ?? new Promise(() => undefined),
    onConnect(check) {
      for (const pool of pools.all) {
        pool.addHook('afterConnect', async (connection) => {
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
      const [row] = await rooms.query<{ read_only: string }>(
        `SELECT current_setting('transaction_read_only') AS read_only`,
        { type: QueryTypes.SELECT },
      );
      if (row?.read_only === 'on') {
        clients.foundReadOnly();
        throw outage.failed(new ConnectionError(new Error('the database is read-only')));
      }
      if (!outage.mayLackDisk) return;
      await tryToStore(rooms);
      outage.hasDisk();
    },
    async close() {
      const patience = setTimeout(() => {
        clients.destroy();
      }, CLOSE_GRACE_MS);
      await pools.close();
      clearTimeout(patience);
      await embedded?.close();
    },
  };
}

type Pools = Pick<Database, 'sequelize' | 'rooms' | 'pages' | 'runAppend' | 'close'> & {
  readonly all: readonly Sequelize[];
  readonly clients: PgClients;
};

/** Over the embedded database, which has a single connection: transactions of two would mix. */
function openOne(address: DatabaseAddress, outage: Outage): Pools {
  const clients = createPgClients();
  const options = {
    ...optionsOf(address, clients),
    ...ASK_NOTHING,
    pool: { max: 1, min: 1, validate: isUsable },
  };
  const sequelize = new StoreSequelize(options, outage);
  return {
    sequelize,
    rooms: sequelize,
    pages: sequelize,
    runAppend: plain(sequelize),
    all: [sequelize],
    clients,
    close: () => sequelize.close(),
  };
}

function openPools(
  address: DatabaseAddress,
  outage: Outage,
  { databasePoolSize, limits }: Pick<Config, 'databasePoolSize' | 'limits'>,
): Pools {
  const { storeTimeoutMs, logBatchesInFlight } = limits;
  const clients = createPgClients(storeTimeoutMs);
  const settings = { lock_timeout: `${LOCK_TIMEOUT_MS}` };
  const poolOf = (max: number, more?: Settings): Options => ({
    ...optionsOf(address, clients, { ...settings, ...more }, storeTimeoutMs),
    ...ASK_NOTHING,
    pool: { max, acquire: ACQUIRE_FACTOR * storeTimeoutMs, validate: isUsable },
  });
  const half = databasePoolSize / 2;
  const changes = new StoreSequelize(poolOf(Math.max(1, Math.floor(half))), outage);
  const sequelize = new StoreSequelize(poolOf(Math.ceil(half)), outage, changes);
  const rooms = new StoreSequelize(poolOf(ROOM_CONNECTIONS), outage);
  const pages = new StoreSequelize(poolOf(PAGE_CONNECTIONS), outage);
  const appends = new StoreSequelize(poolOf(logBatchesInFlight, APPEND_SETTINGS), outage);
  const prepared = new PreparedStatements(appends, outage);
  const all = [sequelize, changes, rooms, pages, appends];
  return {
    sequelize,
    rooms,
    pages,
    runAppend: prepared.run,
    all,
    clients,
    async close() {
      prepared.close();
      await Promise.all(all.map((pool) => pool.close()));
    },
  };
}

/** Sequelize's options for an address, without a pool, as migrations and sequelize-cli take them. */
export function sequelizeOptions(address: DatabaseAddress): Options {
  return optionsOf(address, createPgClients());
}

function optionsOf(
  address: DatabaseAddress,
  clients: PgClients,
  settings?: Settings,
  connectTimeoutMs = CONNECT_TIMEOUT_MS,
): Options {
  return {
    // Else Sequelize would send a statement of its own on each connection. Its types do not know this option.
    ...({ keepDefaultTimezone: true } as Options),
    dialect: 'postgres',
    dialectModule: ourPg(clients, settings),
    host: address.host,
    port: address.port,
    database: address.database,
    username: address.username,
    ...(address.password !== undefined && { password: address.password }),
    dialectOptions: {
      application_name: address.applicationName ?? 'nano-messaging',
      connectionTimeoutMillis: Math.min(
        address.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
        connectTimeoutMs,
      ),
      keepAlive: true,
      ssl: address.ssl,
      clientMinMessages: 'ignore',
      ...(address.options !== undefined && { options: address.options }),
    },
    logging: false,
  };
}

/**
 * Else Sequelize would open a connection to ask for the version, and ask another one for the names of all types: it has
 * no need to of a version as old as this one. Its types do not know this option.
 */
const ASK_NOTHING = { databaseVersion: '8.0.0' } as Options;

function isUsable(connection: unknown): boolean {
  return (connection as PgClient).isUsable;
}

/**
 * `pg` gives int8 as a string, as it may exceed what a number holds; a room's numbers are below 2^53. Only
 * for our Sequelize, as its client is: `pg` itself belongs to the whole process.
 */
function ourPg({ Client }: PgClients, settings?: Settings): object {
  const types = {
    ...pg.types,
    getTypeParser: (oid: number, format?: 'text' | 'binary'): unknown =>
      oid === INT8_OID && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format),
  };
  return Object.create(pg, {
    types: { value: types },
    Client: { value: withSettings(Client, settings) },
  }) as object;
}
