import pg from 'pg';
import { ConnectionError, QueryTypes, type Options, type Sequelize } from 'sequelize';
import type { Config, DatabaseAddress, Limits } from '../config/load.js';
import type { Logger } from '../logger.js';
import { startEmbeddedPostgres } from './embedded.js';
import { tryToStore } from './append.js';
import { Outage } from './outage.js';
import { createPgClients, type PgClient, type PgClients } from './pg-client.js';
import { clientWithSettings } from './pooled-client.js';
import { createReplica, type Replica } from './replica.js';
import { StoreSequelize } from './sequelize.js';
import type { Settings } from './settings.js';
import { plain, PreparedStatements, type RunStatement } from './prepared.js';

/** The oid of `int8` in pg_type. */
const INT8_OID = 20;
/** The default of STORE_TIMEOUT_MS, for migrations and for an address without a timeout of its own. */
const CONNECT_TIMEOUT_MS = 5_000;
/**
 * Below the default of STORE_TIMEOUT_MS, so that a caller learns that the room is locked before the time of its command
 * is over. append_batch has the same.
 */
const LOCK_TIMEOUT_MS = 2_000;
/**
 * Waiting for a connection takes longer than opening one may, as a connection that can't be opened rejects all who wait
 * at that moment: with 1, they would reject by their own timeout first, without the reason.
 */
const ACQUIRE_FACTOR = 1.5;
/** For queries that still run when the database is closed, of milliseconds usually; then their connections are cut. */
const CLOSE_GRACE_MS = 1_000;
/** For opening rooms, comparing heads and probes: one query may hang, and the others go on. */
const ROOM_CONNECTIONS = 2;
/**
 * Pages of live rooms that are read at a time. A trade-off: each keeps its rows in memory until they are written to
 * sockets.
 */
const PAGE_CONNECTIONS = 4;
/** Searches that run at a time: each keeps a core of Postgres busy. */
const SEARCH_CONNECTIONS = 2;
/**
 * Pages of messages, and of rooms with their last messages, that are read at a time. With one of rooms, they leave a
 * connection of the default pool to others. A replica has as many connections.
 */
export const HISTORY_READERS = 3;
/** A history that a silent replica holds up is late by this time: a second is noticed, and rare. */
const REPLICA_TIMEOUT_MS = 1_000;
/** The default of DB_POOL_SIZE. With fewer for REST, a node also has fewer for pages and searches. */
const FULL_POOL_SIZE = 10;

/** The connections of a node to a Postgres server, at most, by their use. */
export interface Connections {
  readonly reading: number;
  readonly changes: number;
  readonly rooms: number;
  readonly pages: number;
  readonly searches: number;
  readonly appends: number;
}

/** Ten nodes with a pool of 2 and three batches in flight have 90 of the 100 connections of a Postgres. */
export function shareConnections(poolSize: number, logBatchesInFlight: number): Connections {
  const part = (most: number): number =>
    Math.min(most, Math.max(1, Math.floor((most * poolSize) / FULL_POOL_SIZE)));
  return {
    reading: Math.ceil(poolSize / 2),
    changes: Math.max(1, Math.floor(poolSize / 2)),
    rooms: ROOM_CONNECTIONS,
    pages: part(PAGE_CONNECTIONS),
    searches: part(SEARCH_CONNECTIONS),
    appends: logBatchesInFlight,
  };
}

/**
 * A statement of a search is cancelled after twenty times the 50 ms that a whole search may take: a prefix of one letter
 * beside a rare word may be that expensive. Compiling its plan, or sharing it among processes, would take longer than
 * running it.
 */
const SEARCH_SETTINGS: Settings = {
  statement_timeout: '1000',
  enable_seqscan: 'off',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
};

/**
 * Statements that append are planned once a connection, because planning takes as long as storing many messages. The
 * plan may be made while the tables are empty and must still be right once they have grown: hence by index only.
 */
const APPEND_SETTINGS: Settings = { plan_cache_mode: 'force_generic_plan', enable_seqscan: 'off' };

/**
 * The connections to a database. A server has several pools, so that one kind of query never waits for another. Queries
 * reject with UNAVAILABLE if the database does not answer: they wait STORE_TIMEOUT_MS at most for the next byte of an
 * answer, and half as long again for a connection.
 */
export interface Database {
  /** For queries of REST, and, on other connections, its transactions. */
  readonly sequelize: Sequelize;
  /** For the state and the heads of live rooms: a few rows each. */
  readonly rooms: Sequelize;
  /** For pages of the logs of live rooms. */
  readonly pages: Sequelize;
  /** Runs statements of searches, `connections.searches` at a time at most; one is cancelled if it takes too long. */
  readonly runSearch: RunStatement;
  /** Runs what the log appends, LOG_BATCHES_IN_FLIGHT statements at a time at most. */
  readonly runAppend: RunStatement;
  /** The pools as they are now. */
  poolUses(): PoolUse[];
  /** For the history; undefined: there is none. */
  readonly replica: Replica | undefined;
  readonly connections: Connections;
  readonly embedded: boolean;
  readonly address: DatabaseAddress;
  /** For migrations: past the pooler, if the configuration has such an address. */
  readonly directAddress: DatabaseAddress;
  /** Resolves with the reason if the embedded database broke; a server may come back, so then it never resolves. */
  readonly failed: Promise<Error>;
  /** Runs `check` on each new connection before it is used; if it rejects, the connection is closed. */
  onConnect(check: (client: pg.Client) => Promise<void>): void;
  /** Rejects if the database does not answer, is read-only, or has a disk that is still full. */
  ping(): Promise<void>;
  /** Resolves in little more than CLOSE_GRACE_MS, even if queries hang. */
  close(): Promise<void>;
}

/** The connections of a pool. */
export interface PoolUse {
  readonly pool: string;
  /** Those that are open. */
  readonly open: number;
  /** Those of them that work. */
  readonly used: number;
  /** Queries that wait for a connection. */
  readonly waiting: number;
}

/** Sequelize's pool, which its types lack. */
interface SequelizePool {
  readonly size: number;
  readonly using: number;
  readonly waiting: number;
}

/**
 * Opens the database of the configuration: a Postgres server, or the embedded one if no address is given. Nothing is
 * queried yet.
 * @throws {DataDirInUseError}
 */
export async function connectDatabase(
  config: Pick<
    Config,
    'database' | 'directDatabase' | 'replicaDatabase' | 'databasePoolSize' | 'dataDir' | 'limits'
  >,
  logger: Logger,
): Promise<Database> {
  const embedded =
    config.database === undefined ? await startEmbeddedPostgres(config.dataDir) : null;
  const address = config.database ?? embedded?.address;
  if (address === undefined) throw new Error('no address of a database');
  const outage = new Outage(logger);
  const { limits, databasePoolSize } = config;
  const connections = shareConnections(databasePoolSize, limits.logBatchesInFlight);
  const pools = embedded
    ? openOne(address, outage)
    : openPools(address, outage, { connections, storeTimeoutMs: limits.storeTimeoutMs });
  const { sequelize, rooms, pages, runSearch, runAppend, clients } = pools;
  const standby = config.replicaDatabase && openReplica(config.replicaDatabase, logger, limits);
  return {
    sequelize,
    rooms,
    pages,
    runSearch,
    runAppend,
    poolUses: () => [
      ...pools.poolUses(),
      ...(standby === undefined ? [] : [useOf('replica', standby.sequelize)]),
    ],
    replica: standby && createReplica(standby.sequelize, logger),
    connections,
    embedded: embedded !== null,
    address,
    directAddress: config.directDatabase ?? address,
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
        standby?.clients.destroy();
      }, CLOSE_GRACE_MS);
      await Promise.all([pools.close(), standby?.sequelize.close()]);
      clearTimeout(patience);
      await embedded?.close();
    },
  };
}

type Pools = Pick<
  Database,
  'sequelize' | 'rooms' | 'pages' | 'runSearch' | 'runAppend' | 'poolUses' | 'close'
> & {
  readonly all: readonly Sequelize[];
  readonly clients: PgClients;
};

/** For the embedded database, which has one session: transactions of two connections would mix. */
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
    runSearch: plain(sequelize),
    runAppend: plain(sequelize),
    poolUses: () => [useOf('all', sequelize)],
    all: [sequelize],
    clients,
    close: () => sequelize.close(),
  };
}

function openPools(
  address: DatabaseAddress,
  outage: Outage,
  { connections, storeTimeoutMs }: { connections: Connections; storeTimeoutMs: number },
): Pools {
  const clients = createPgClients(storeTimeoutMs);
  const settings = { lock_timeout: `${LOCK_TIMEOUT_MS}` };
  const poolOf = (max: number, more?: Settings): Options => ({
    ...optionsOf(address, clients, { ...settings, ...more }, storeTimeoutMs),
    ...ASK_NOTHING,
    pool: { max, acquire: ACQUIRE_FACTOR * storeTimeoutMs, validate: isUsable },
  });
  const changes = new StoreSequelize(poolOf(connections.changes), outage);
  const sequelize = new StoreSequelize(poolOf(connections.reading), outage, changes);
  const rooms = new StoreSequelize(poolOf(connections.rooms), outage);
  const pages = new StoreSequelize(poolOf(connections.pages), outage);
  const searches = new StoreSequelize(poolOf(connections.searches, SEARCH_SETTINGS), outage);
  const appends = new StoreSequelize(poolOf(connections.appends, APPEND_SETTINGS), outage);
  const preparedAppends = new PreparedStatements(appends, outage);
  const preparedSearches = new PreparedStatements(searches, outage);
  const all = [sequelize, changes, rooms, pages, searches, appends];
  return {
    sequelize,
    rooms,
    pages,
    runSearch: preparedSearches.run,
    runAppend: preparedAppends.run,
    poolUses: () => [
      useOf('rest', sequelize),
      useOf('changes', changes),
      useOf('rooms', rooms),
      useOf('pages', pages),
      useOf('searches', searches, preparedSearches),
      useOf('appends', appends, preparedAppends),
    ],
    all,
    clients,
    async close() {
      preparedAppends.close();
      preparedSearches.close();
      await Promise.all(all.map((pool) => pool.close()));
    },
  };
}

/** The pool of a replica, which is given up soon if it is silent: the database itself can answer. */
function openReplica(
  address: DatabaseAddress,
  logger: Logger,
  { storeTimeoutMs }: Limits,
): { readonly sequelize: Sequelize; readonly clients: PgClients } {
  const timeoutMs = Math.min(storeTimeoutMs, REPLICA_TIMEOUT_MS);
  const clients = createPgClients(timeoutMs);
  const options: Options = {
    ...optionsOf(address, clients, { lock_timeout: `${timeoutMs}` }, timeoutMs),
    ...ASK_NOTHING,
    pool: { max: HISTORY_READERS, acquire: ACQUIRE_FACTOR * timeoutMs, validate: isUsable },
  };
  return { sequelize: new StoreSequelize(options, new Outage(logger, 'replica')), clients };
}

function useOf(
  pool: string,
  { connectionManager }: Sequelize,
  prepared?: PreparedStatements,
): PoolUse {
  const { pool: of } = connectionManager as unknown as { readonly pool: SequelizePool };
  return {
    pool,
    open: of.size,
    used: of.using - (prepared?.idleCount ?? 0),
    waiting: of.waiting,
  };
}

/** Sequelize's options for an address, without a pool, for migrations and sequelize-cli. */
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
    // Without it, Sequelize sends a statement of its own on each connection. Its types lack this option.
    ...({ keepDefaultTimezone: true } as Options),
    dialect: 'postgres',
    dialectModule: ourPg(clients, address, settings),
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
 * Sequelize opens a connection to ask for the version, and queries the names of all types, unless it is told a version
 * as old as this one. Its types lack this option.
 */
const ASK_NOTHING = { databaseVersion: '8.0.0' } as Options;

function isUsable(connection: unknown): boolean {
  return (connection as PgClient).isUsable;
}

/**
 * `pg` with our client, and with int8 as a number instead of a string: seqs stay below 2^53. A copy for our Sequelize
 * alone, as `pg` belongs to the whole process.
 */
function ourPg({ Client }: PgClients, address: DatabaseAddress, settings?: Settings): object {
  const types = {
    ...pg.types,
    getTypeParser: (oid: number, format?: 'text' | 'binary'): unknown =>
      oid === INT8_OID && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format),
  };
  return Object.create(pg, {
    types: { value: types },
    Client: { value: clientWithSettings(Client, address, settings) },
  }) as object;
}
