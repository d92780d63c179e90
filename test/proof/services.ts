import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, type QueryResultRow } from 'pg';
import {
  findFolder,
  homebrewFolders,
  installDebianPackage,
  pathFolders,
  versionedFolders,
} from '../harness/programs.js';
import { createServerFolder } from '../harness/server-process.js';
import { findSteadyPort } from './ports.js';

type Folder = ReturnType<typeof createServerFolder>;
type ServerOptions = Parameters<Folder['start']>[0];

const ANSWER_TIMEOUT_MS = 2_000;
const DEBIAN = '/usr/lib/postgresql';

/** A server of the proof's own, that can be ended, paused, and started again where it was. */
export class Service {
  readonly url: string;
  readonly port: number;
  readonly #folder: Folder;
  readonly #options: ServerOptions;
  #running: Awaited<ReturnType<Folder['start']>> | undefined;
  #paused: readonly number[] = [];

  constructor(folder: Folder, url: string, options: ServerOptions) {
    this.url = url;
    this.port = Number(new URL(url).port);
    this.#folder = folder;
    this.#options = options;
  }

  /** Resolves when it answers; again after `stop`, on the same port and folder. */
  async start(): Promise<void> {
    this.#running = await this.#folder.start(this.#options);
  }

  /** Ends its main process, and resolves when that is gone. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const { pid } = this.#process();
    process.kill(pid, signal);
    while (isAlive(pid)) await delay(20);
  }

  /** Stops all its processes in their tracks; connections stay. */
  pause(): void {
    const { pid } = this.#process();
    // The first one first: it starts no others meanwhile.
    process.kill(pid, 'SIGSTOP');
    this.#paused = [pid, ...childrenOf(pid)];
    for (const paused of this.#paused) signal(paused, 'SIGSTOP');
  }

  resume(): void {
    for (const paused of this.#paused.toReversed()) signal(paused, 'SIGCONT');
    this.#paused = [];
  }

  /** Ends it and removes its folder. */
  async end(): Promise<void> {
    this.resume();
    await this.#running?.stop();
  }

  #process(): { pid: number } {
    if (this.#running === undefined) throw new Error(`${this.#options.file} was not started`);
    return this.#running;
  }
}

/** A Postgres whose data can be set back to what they were. */
export class PostgresService extends Service {
  readonly #folder: Folder;
  readonly #options: ServerOptions;
  readonly #dataDir: string;
  readonly #copyDir: string;

  constructor(folder: Folder, url: string, dataDir: string, options: ServerOptions) {
    super(folder, url, options);
    this.#folder = folder;
    this.#options = options;
    this.#dataDir = dataDir;
    this.#copyDir = `${dataDir}-copy`;
  }

  /** Restarts it, and copies its data meanwhile. */
  async keepCopy(): Promise<void> {
    await this.stop('SIGINT');
    await this.#folder.run('rm', ['-rf', this.#copyDir]);
    await this.#folder.run('cp', ['-a', this.#dataDir, this.#copyDir]);
    await this.start();
  }

  /**
   * Restarts it with the data as they were copied.
   * @param readLast asks for what is gone then, at a URL that nobody else has, while nobody writes any more
   */
  async setBack(readLast: (url: string) => Promise<void>): Promise<void> {
    await this.stop('SIGINT');
    const url = new URL(this.url);
    const socket = `host=${encodeURIComponent(this.#folder.path)}&port=${url.port}`;
    const privateUrl = `postgres://${url.username}:${url.password}@${url.pathname}?${socket}`;
    const alone = await this.#folder.start({
      ...this.#options,
      args: [...this.#options.args, '-c', 'listen_addresses='],
      ready: async () => {
        await queryOnce(privateUrl, 'SELECT 1');
      },
    });
    await readLast(privateUrl);
    process.kill(alone.pid, 'SIGINT');
    while (isAlive(alone.pid)) await delay(20);
    await this.#folder.run('rm', ['-rf', this.#dataDir]);
    await this.#folder.run('cp', ['-a', this.#copyDir, this.#dataDir]);
    await this.start();
  }
}

/** Prepares a Postgres that keeps what it says it keeps (fsync), and starts it. */
export async function startPostgresService(): Promise<PostgresService> {
  const programs = await find(
    () => [
      ...pathFolders(),
      ...versionedFolders(DEBIAN, /^\d+$/),
      ...homebrewFolders(/^postgresql(@\d+)?$/),
    ],
    ['initdb', 'postgres'],
    'postgresql',
  );
  const folder = createServerFolder('proof-postgres');
  const dataDir = join(folder.path, 'data');
  const password = randomBytes(24).toString('hex');
  const passwordFile = join(folder.path, 'password');
  writeFileSync(passwordFile, password);
  // For the server's account; no other can enter the folder.
  chmodSync(passwordFile, 0o644);
  await folder.run(join(programs, 'initdb'), [
    `--pgdata=${dataDir}`,
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
  ]);
  const port = await findSteadyPort();
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder.path,
    // The nodes' pools, and connections that their node gave up, and the server does not know of.
    max_connections: 500,
    fsync: 'on',
    synchronous_commit: 'on',
  };
  const service = new PostgresService(folder, url, dataDir, {
    file: join(programs, 'postgres'),
    args: [
      '-D',
      dataDir,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    ready: async () => {
      await queryOnce(url, 'SELECT 1');
    },
    stopSignal: 'SIGINT',
    orphanSignal: 'SIGQUIT',
  });
  await service.start();
  return service;
}

/** Starts a Redis that keeps nothing. */
export async function startRedisService(): Promise<Service> {
  const program = 'redis-server';
  const programs = await find(
    () => [...pathFolders(), ...homebrewFolders(/^redis$/)],
    [program],
    program,
  );
  const folder = createServerFolder('proof-redis');
  const port = await findSteadyPort();
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder.path,
    save: '',
    appendonly: 'no',
  };
  const service = new Service(folder, `redis://127.0.0.1:${port}`, {
    file: join(programs, program),
    args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    ready: async () => {
      await commandRedis(port, 'PING');
    },
    stopSignal: 'SIGTERM',
    orphanSignal: 'SIGTERM',
  });
  await service.start();
  return service;
}

/** One query over a connection of its own: one that was kept might not outlive the last fault. */
export function queryOnce<Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  return withConnection(url, async (client) => (await client.query<Row>(sql)).rows);
}

/** Keeps the locks that a statement takes; less long where the server is broken meanwhile. */
export async function holdLocks(url: string, sql: string, ms: number): Promise<void> {
  const held = withConnection(url, async (client) => {
    await client.query(`BEGIN; ${sql}`);
    await delay(ms);
  });
  await held.catch(() => undefined);
}

async function withConnection<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
    query_timeout: 10 * ANSWER_TIMEOUT_MS,
  });
  // A server that is still starting may cut the connection.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** One command to a Redis; rejects where it does not answer. */
export async function commandRedis(port: number, command: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    await once(socket, 'connect', { signal });
    socket.write(`${command}\r\n`);
    const [answer] = (await once(socket, 'data', { signal })) as [Buffer];
    if (answer.toString().startsWith('-')) throw new Error(answer.toString().trim());
    return answer.toString();
  } finally {
    socket.destroy();
  }
}

async function find(
  folders: () => string[],
  programs: string[],
  debianPackage: string,
): Promise<string> {
  const found = findFolder(folders(), programs);
  if (found !== undefined) return found;
  await installDebianPackage(debianPackage);
  const installed = findFolder(folders(), programs);
  if (installed === undefined) {
    throw new Error(`the proof needs ${programs.join(' and ')} on this machine`);
  }
  return installed;
}

function childrenOf(pid: number): number[] {
  return execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child ?? 0);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
