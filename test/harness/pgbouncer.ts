import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { findFolder, installDebianPackage, pathFolders } from './programs.js';
import { createServerFolder, findFreePort } from './server-process.js';

/** A PgBouncer that lends the connections of one database by the transaction. */
export interface PgBouncer {
  readonly url: string;
  stop(): Promise<void>;
}

const DEBIAN_FOLDER = '/usr/sbin';

/**
 * Starts a PgBouncer in front of the server of `url`, from local programs (the first on the PATH) or apt-get.
 * @param poolSize the connections to a database that it lends
 */
export async function startPgBouncer(url: string, poolSize = 20): Promise<PgBouncer> {
  if (find() === undefined) await installDebianPackage('pgbouncer');
  const programs = find();
  if (programs === undefined) {
    throw new Error('No PgBouncer for the tests: install it (apt-get install pgbouncer).');
  }
  const { hostname, port, username, password } = new URL(url);
  const folder = createServerFolder('pgbouncer');
  const ownPort = await findFreePort();
  const settings = join(folder.path, 'pgbouncer.ini');
  writeFileSync(
    settings,
    `[databases]
* = host=${hostname} port=${port || 5432} user=${username} password=${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${ownPort}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${poolSize}
`,
  );
  const ownUrl = new URL(url);
  ownUrl.host = `127.0.0.1:${ownPort}`;
  const server = await folder.start({
    file: join(programs, 'pgbouncer'),
    args: [settings],
    ready: () => connect(ownUrl.href),
    stopSignal: 'SIGINT',
    orphanSignal: 'SIGTERM',
  });
  return { url: ownUrl.href, stop: () => server.stop() };
}

function find(): string | undefined {
  return findFolder([...pathFolders(), DEBIAN_FOLDER], ['pgbouncer']);
}

async function connect(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
  } finally {
    await client.end();
  }
}
