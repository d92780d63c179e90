import { inject } from 'vitest';
import { copyDatabase, type TestDatabase } from './database.js';

/** The Postgres of the test run, as a user who may create databases. */
export function postgresUrl(): string {
  return provided('postgresUrl');
}

/** The Redis of the test run. */
export function redisUrl(): string {
  return provided('redisUrl');
}

/** Creates a database of that Postgres as the migrations leave it: they take as long as many a test. */
export function createMigratedDatabase(): Promise<TestDatabase> {
  return copyDatabase(postgresUrl(), provided('migratedDatabase'));
}

function provided(name: 'postgresUrl' | 'redisUrl' | 'migratedDatabase'): string {
  const value = inject(name);
  if (value === undefined) {
    throw new Error(`no ${name}: a test that needs services is none of UNIT in vitest.config.ts`);
  }
  return value;
}
