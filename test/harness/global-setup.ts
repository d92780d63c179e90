import type { TestProject } from 'vitest/node';
import { makeEmbeddedTemplates } from './data-dir.js';
import { createDatabase } from './database.js';
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
  }
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
    for (const project of projects) {
      project.provide('postgresUrl', postgres.url);
      project.provide('redisUrl', redis.url);
      project.provide('migratedDatabase', new URL(migrated.url).pathname.slice(1));
    }
    return async () => {
      try {
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
