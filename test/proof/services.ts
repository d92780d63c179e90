import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, type QueryResultRow } from 'pg';
import { createPostgres, findPostgres } from '../harness/postgres.js';
import { installDebianPackage } from '../harness/programs.js';
import { findRedis, redisOptions } from '../harness/redis.js';
import {
  createServerFolder,
  type ServerFolder,
  type ServerOptions,
} from '../harness/server-process.js';
import { findSteadyPort } from './ports.js';

const ANSWER_TIMEOUT_MS = 2_000;

/** A server that belongs to the proof. It can be ended, paused, and started again on the same port and folder. */
export class Service {
  readonly url: string;
  readonly port: number;
  readonly #folder: ServerFolder;
  readonly #options: ServerOptions;
  #running: Awaited<ReturnType<ServerFolder['start']>> | undefined;
  #paused: readonly number[] = [];

  constructor(folder: ServerFolder, url: string, options: ServerOptions) {
    this.url = url;
    this.port = Number(new URL(url).port);
    this.#folder = folder;
    this.#options = options;
  }

  /** Starts it, the first time or after `stop`; resolves when it answers. */
  async start(): Promise<void> {
    this.#running = await this.#folder.start(this.#options);
  }

  /** Ends its main process, and resolves when that has ended. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const { pid } = this.#process();
    process.kill(pid, signal);
    while (isAlive(pid)) await delay(20);
  }

  /** Suspends all its processes (SIGSTOP); connections stay open. */
  pause(): void {
    const { pid } = this.#process();
    // The main process first, so that it starts no others meanwhile.
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

/** A Postgres whose data can be set back to an earlier copy. */
export class PostgresService extends Service {
  readonly #folder: ServerFolder;
  readonly #options: ServerOptions;
  readonly #dataDir: string;
  readonly #copyDir: string;

  constructor(folder: ServerFolder, url: string, dataDir: string, options: ServerOptions) {
    super(folder, url, options);
    this.#folder = folder;
    this.#options = options;
    this.#dataDir = dataDir;
    this.#copyDir = `${dataDir}-copy`;
  }

  /** Stops it, copies its data, and starts it again. */
  async keepCopy(): Promise<void> {
    await this.stop('SIGINT');
    await this.#folder.run('rm', ['-rf', this.#copyDir]);
    await this.#folder.run('cp', ['-a', this.#dataDir, this.#copyDir]);
    await this.start();
  }

  /**
   * Restarts it with the copied data.
   * @param readLast reads the data that will be lost, at a URL that no node knows, when nothing is written any more
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

/**
 * Starts a Postgres that keeps each commit over the end of its processes.
 * @param settings by their names in postgresql.conf
 */
export async function startPostgresService(
  settings: Readonly<Record<string, string>> = {},
): Promise<PostgresService> {
  const programs = await find(findPostgres, 'postgresql');
  const folder = createServerFolder('proof-postgres');
  const { url, dataDir, options } = await createPostgres(folder, {
    programs,
    port: await findSteadyPort(),
    // For the nodes' pools, and for connections that a node has given up without the server's knowledge.
    maxConnections: 500,
    settings,
  });
  const service = new PostgresService(folder, url, dataDir, options);
  await service.start();
  return service;
}

/** Starts a Redis without persistence. */
export async function startRedisService(): Promise<Service> {
  const file = await find(findRedis, 'redis-server');
  const folder = createServerFolder('proof-redis');
  const port = await findSteadyPort();
  const options = redisOptions(folder, { file, port });
  const service = new Service(folder, `redis://127.0.0.1:${port}`, options);
  await service.start();
  return service;
}

/** One query over a connection of its own, since a kept one might be broken by the last fault. */
export function queryOnce<Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  return withConnection(url, async (client) => (await client.query<Row>(sql)).rows);
}

/** Keeps the locks of a statement for a time, or until the server breaks the connection. */
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
  // A starting server may cut the connection.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** One command to a Redis; rejects if it does not answer. */
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

/** The result of `look`, after an installation by apt-get if it finds nothing. */
async function find(look: () => string | undefined, debianPackage: string): Promise<string> {
  let found = look();
  if (found === undefined) {
    await installDebianPackage(debianPackage);
    found = look();
  }
  if (found === undefined) throw new Error(`the proof needs ${debianPackage} on this machine`);
  return found;
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
    // The process has ended meanwhile.
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
