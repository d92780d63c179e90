import { inject } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { createLogger } from '../../src/logger.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import type { Erasures } from '../../src/store/erasures.js';
import type { Revocations } from '../../src/store/revocations.js';
import { createStore, type Store } from '../../src/store/store.js';
import { createMigratedDataDir } from './data-dir.js';
import { createMigratedDatabase } from './services.js';

export const QUIET = createLogger({ level: 'silent', production: true });
export const LIMITS = loadConfig({}).limits;

/** Nobody's tokens are revoked. */
export const NO_REVOCATIONS: Revocations = {
  covers: () => false,
  revoke: () => Promise.reject(new Error('nothing is revoked here')),
  take: () => undefined,
  refresh: () => Promise.resolve(),
  onRevoked: () => undefined,
};

/** Nothing is erased. */
export const NO_ERASURES: Pick<Erasures, 'erase' | 'find'> = {
  erase: () => Promise.reject(new Error('nothing is erased here')),
  find: () => Promise.resolve(undefined),
};

/** A migrated database that a contract test of the store runs over. */
export interface StoreHost {
  readonly database: Database;
  /** The URL of the database; the embedded one cannot be reached by it. */
  readonly url: string;
  /** The same database for a second node: through its own pool, unless the database is embedded. */
  another(): Promise<Database>;
  /** Closes all open pools, and removes the database. */
  close(): Promise<void>;
}

/**
 * For `describe.each`: the name of each database that the store supports, and a function that opens one. The embedded one
 * is not partitioned.
 */
export const storeHosts: readonly (readonly [name: string, open: () => Promise<StoreHost>])[] = [
  ['Postgres', openPostgres] as const,
  ['the embedded PGlite', openEmbedded] as const,
].slice(0, inject('isPartitioned') === true ? 1 : undefined);

export async function openPostgres(): Promise<StoreHost> {
  const fresh = await createMigratedDatabase();
  const config = loadConfig({ DATABASE_URL: fresh.url, DB_POOL_SIZE: '8' });
  const opened: Database[] = [];
  async function open(): Promise<Database> {
    const database = await connectDatabase(config, QUIET);
    opened.push(database);
    return database;
  }
  const database = await open();
  return {
    database,
    url: fresh.url,
    another: open,
    async close() {
      await Promise.all(opened.map((database) => database.close()));
      await fresh.drop();
    },
  };
}

export async function openEmbedded(): Promise<StoreHost> {
  const folder = await createMigratedDataDir();
  // A busy machine may give its thread no turn for the five seconds that a statement has by default.
  const config = loadConfig({ DATA_DIR: folder.path, STORE_TIMEOUT_MS: '30000' });
  const database = await connectDatabase(config, QUIET);
  return {
    database,
    url: 'postgres://nowhere.invalid',
    // One process owns the folder, by one connection: its nodes differ only in their logs.
    another: () => Promise.resolve(database),
    async close() {
      await database.close();
      await folder.remove();
    },
  };
}

export function storeOver(database: Database, limits: Partial<typeof LIMITS> = {}): Store {
  return createStore({ database, limits: { ...LIMITS, ...limits }, logger: QUIET });
}
