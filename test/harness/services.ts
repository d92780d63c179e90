import { inject } from 'vitest';

/** The Postgres of the test run, as a user who may create databases. */
export function postgresUrl(): string {
  return provided('postgresUrl');
}

/** The Redis of the test run. */
export function redisUrl(): string {
  return provided('redisUrl');
}

function provided(name: 'postgresUrl' | 'redisUrl'): string {
  const url = inject(name);
  if (url === undefined) {
    throw new Error(`no ${name}: a test that needs services is none of UNIT in vitest.config.ts`);
  }
  return url;
}
