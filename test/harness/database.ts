import { randomUUID } from 'node:crypto';
import { Client } from 'pg';

/** A database of one test. */
export interface TestDatabase {
  url: string;
  /** Removes the database, and ends the connections that are still open to it. */
  drop(): Promise<void>;
}

/** Creates an empty database with a random name on the server of `adminUrl`. */
export async function createDatabase(adminUrl: string): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  // Nobody can be connected to template0, which would make the copying fail.
  await execute(adminUrl, `CREATE DATABASE ${name} TEMPLATE template0`);
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    drop: () => execute(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

async function execute(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  try {
    await client.connect();
    await client.query(statement);
  } finally {
    await client.end();
  }
}
