import type { TestProject } from 'vitest/node';
import { makeEmbeddedTemplates } from './data-dir.js';
import { loadConfig } from '../../src/config/load.js';
import { partitionMessages } from '../../src/store/partition.js';
import { copyDatabase, createDatabase, type TestDatabase } from './database.js';
import { migrateFresh } from './migrate-fresh.js';
import { startPostgres } from './postgres.js';
import { startRedis } from './redis.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Undefined in the project `unit`. */
    postgresUrl: string | undefined;
    redisUrl: string | undefined;
    /** Name of the database of which `createMigratedDatabase` makes copies. */
    migratedDatabase: string | undefined;
    /** Whether the log of that database is partitioned: in the project `partitioned`. */
    isPartitioned: boolean | undefined;
  }
}

/** Few, so that rooms share them, and more than one. */
const PARTITIONS = 4;

function nameOf({ url }: TestDatabase): string {
  return new URL(url).pathname.slice(1);
}

async function partition(url: string): Promise<void> {
  const { database } = loadConfig({ DATABASE_URL: url });
  if (database !== undefined) await partitionMessages(database, PARTITIONS);
}

/**
 * Starts Postgres and Redis once for the whole test run: all projects that need them share them.
 *
 * @returns ends them
 */
export default async function setup({
  vitest,
}: TestProject): Promise<(() => Promise<void>) | void> {
  const projects = vitest.projects.filter(({ config }) => config.globalSetup.length > 0);
  if (projects.some((one) => one.getProvidedContext().postgresUrl !== undefined)) return;
  // One after the other: both may have to be installed, and apt-get runs only once at a time.
  const postgres = await startPostgres();
  try {
    const redis = await startRedis();
    await makeEmbeddedTemplates();
    const migrated = await createDatabase(postgres.url);
    await migrateFresh({ DATABASE_URL: migrated.url });
    const partitioned = await copyDatabase(postgres.url, nameOf(migrated));
    await partition(partitioned.url);
    for (const project of projects) {
      const isPartitioned = project.name === 'partitioned';
      project.provide('isPartitioned', isPartitioned);
      project.provide('postgresUrl', postgres.url);
      project.provide('redisUrl', redis.url);
      project.provide('migratedDatabase', nameOf(isPartitioned ? partitioned : migrated));
    }
    return async () => {
      try {
        await partitioned.drop();
        await migrated.drop();
      } finally {
        await redis.stop();
        await postgres.stop();
      }
    };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}
