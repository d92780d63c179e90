import { randomUUID } from 'node:crypto';
import { Client, type QueryResultRow } from 'pg';

/** A database of one test. */
export interface TestDatabase {
  url: string;
  /** Removes the database, and ends the connections that are still open to it. */
  drop(): Promise<void>;
}

/**
 * Creates an empty database with a random name on the server of `adminUrl`.
 * @param options further ones of CREATE DATABASE
 */
export function createDatabase(adminUrl: string, options = ''): Promise<TestDatabase> {
  // Unlike template1, template0 accepts no connections.
  return copyDatabase(adminUrl, 'template0', options);
}

/** Copies a database of the server of `adminUrl`. A connection to `template` makes it fail. */
export async function copyDatabase(
  adminUrl: string,
  template: string,
  options = '',
): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await query(adminUrl, `CREATE DATABASE ${name} TEMPLATE ${template} ${options}`);
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    async drop() {
      await query(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

/** Runs one statement over a connection of its own. */
export async function query<Row extends QueryResultRow>(
  url: string,
  statement: string,
  values?: readonly unknown[],
): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  // Some tests end all connections of the server.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Row>(statement, values && [...values])).rows;
  } finally {
    await client.end();
  }
}
