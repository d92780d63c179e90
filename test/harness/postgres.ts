import { randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { startContainer } from './container.js';
import { findFolder, homebrewFolders, pathFolders, versionedFolders } from './programs.js';
import {
  createServerFolder,
  findFreePort,
  type ServerFolder,
  type ServerOptions,
} from './server-process.js';
import { startService } from './service-source.js';

/** A Postgres server for the tests. */
export interface Postgres {
  /** Connects as a user who may create databases. */
  url: string;
  /** Ends the server, unless it was given by TEST_DATABASE_URL. */
  stop(): Promise<void>;
  pid?: number;
  dataDir?: string;
}

const MAX_CONNECTIONS = 300;

/** Starts Postgres: that of TEST_DATABASE_URL, else from local programs, apt-get or Docker. */
export function startPostgres(): Promise<Postgres> {
  return startService<Postgres>({
    givenUrl: process.env['TEST_DATABASE_URL'],
    find: () => findPostgres(),
    debianPackage: 'postgresql',
    startLocal,
    startContainer: startPostgresContainer,
    missing:
      'No Postgres for the tests: set TEST_DATABASE_URL, install the Postgres server ' +
      '(apt-get install postgresql, brew install postgresql), or start Docker.',
  });
}

/** The folder of the programs, and of `more` of them; undefined if they are not on this machine. */
export function findPostgres(...more: readonly string[]): string | undefined {
  const debian = versionedFolders('/usr/lib/postgresql', /^\d+$/);
  const folders = [...pathFolders(), ...debian, ...homebrewFolders(/^postgresql(@\d+)?$/)];
  return findFolder(folders, ['initdb', 'postgres', ...more]);
}

async function startLocal(programs: string): Promise<Postgres> {
  const folder = createServerFolder('postgres');
  const port = await findFreePort();
  const made = await createPostgres(folder, { programs, port, maxConnections: MAX_CONNECTIONS });
  const server = await folder.start(made.options);
  return { url: made.url, dataDir: made.dataDir, ...server };
}

/** Makes a database cluster in the folder of a server; `options` start it. */
export async function createPostgres(
  folder: ServerFolder,
  {
    programs,
    port,
    maxConnections,
    settings: others = {},
  }: {
    programs: string;
    port: number;
    maxConnections: number;
    /** By their names in postgresql.conf. */
    settings?: Readonly<Record<string, string>>;
  },
): Promise<{ url: string; dataDir: string; options: ServerOptions }> {
  const dataDir = join(folder.path, 'data');
  // A superuser may run programs, so other users of the machine must not become one.
  const password = randomBytes(24).toString('hex');
  const passwordFile = join(folder.path, 'password');
  writeFileSync(passwordFile, password);
  chmodSync(passwordFile, 0o644); // For the server's account; no other can enter the folder.
  await folder.run(join(programs, 'initdb'), [
    `--pgdata=${dataDir}`,
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--no-sync',
    ...localeOptions(process.platform),
  ]);
  const url = urlOf(password, port);
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder.path,
    max_connections: maxConnections,
    // Tests kill processes, and what these have written the system keeps; none pulls the plug of the machine.
    fsync: 'off',
    full_page_writes: 'off',
    synchronous_commit: 'on',
    ...others,
  };
  const options: ServerOptions = {
    file: join(programs, 'postgres'),
    args: [
      '-D',
      dataDir,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    ready: () => connect(url),
    stopSignal: 'SIGINT',
    orphanSignal: 'SIGQUIT',
  };
  return { url, dataDir, options };
}

async function startPostgresContainer(): Promise<Postgres> {
  const password = randomBytes(24).toString('hex');
  const container = await startContainer({
    port: 5432,
    environment: {
      POSTGRES_PASSWORD: password,
      POSTGRES_INITDB_ARGS: localeOptions('linux').join(' '),
    },
    image: ['postgres:17', '-c', `max_connections=${MAX_CONNECTIONS}`],
    ready: (hostPort) => connect(urlOf(password, hostPort)),
  });
  return { url: urlOf(password, container.port), stop: () => container.stop() };
}

function urlOf(password: string, port: number): string {
  return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
}

/** Sorts by bytes and knows Unicode letters, in any locale of the machine. */
function localeOptions(platform: NodeJS.Platform): string[] {
  const letters = platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8';
  return ['--encoding=UTF8', '--locale=C', `--lc-ctype=${letters}`];
}

async function connect(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined); // A server that is still starting may cut the connection.
  try {
    await client.connect();
  } finally {
    await client.end();
  }
}
