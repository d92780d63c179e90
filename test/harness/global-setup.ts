import type { TestProject } from 'vitest/node';
import { startPostgres, startRedis } from './services.js';

declare module 'vitest' {
  export interface ProvidedContext {
    postgresUrl: string;
    redisUrl: string;
  }
}

/** Starts Postgres and Redis for the whole test run; returns what ends them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // One after the other: both may have to be installed, and apt-get runs only once at a time.
  const postgres = await startPostgres();
  try {
    const redis = await startRedis();
    project.provide('postgresUrl', postgres.url);
    project.provide('redisUrl', redis.url);
    return async () => {
      await redis.stop();
      await postgres.stop();
    };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}
