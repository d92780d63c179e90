import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startExitGuard } from '../harness/exit-guard.js';
import { SECRET } from '../harness/node.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { findFreePort } from '../harness/server-process.js';
import { queryOnce, startPostgresService, startRedisService, type Service } from './services.js';
import type { LogRow } from './verdict.js';

const PROGRAM = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const READY_TIMEOUT_MS = 30_000;
const NODES = 3;

/** A node of the build, on a port that stays its own when it is started again. */
export class ClusterNode {
  /** `http://127.0.0.1:port`, for REST. */
  readonly url: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #folder: string;
  readonly #logFile: string;
  /** Told whenever the process is another one. */
  readonly #onProcess: () => void;
  #outlet: Outlet | undefined;
  #child: ChildProcess | undefined;

  constructor(options: {
    port: number;
    env: Readonly<Record<string, string>>;
    folder: string;
    onProcess: () => void;
  }) {
    this.url = `http://127.0.0.1:${options.port}`;
    this.#env = { ...options.env, PORT: String(options.port) };
    this.#folder = options.folder;
    this.#logFile = join(options.folder, `node-${options.port}.log`);
    this.#onProcess = options.onProcess;
  }

  /** `ws://127.0.0.1:port/chat`, by way of an outlet that cuts both ends. */
  get chatUrl(): string {
    return `${this.outlet.url.replace('http', 'ws').replace(/\/$/, '')}/chat`;
  }

  get outlet(): Outlet {
    if (this.#outlet === undefined) throw new Error('the node was not started');
    return this.#outlet;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when it is ready; a port that somebody has at the moment is tried again. */
  async start(): Promise<void> {
    this.#outlet ??= await openOutlet(this.url);
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (Date.now() < deadline) {
      if (this.#child === undefined) this.#spawn();
      const isReady = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(1_000) })
        .then((response) => response.ok)
        .catch(() => false);
      if (isReady) return;
      await delay(50);
    }
    throw new Error(`a node was not ready in time; its log is ${this.#logFile}`);
  }

  /** Sends it a signal that ends it, and resolves when it has ended. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  async end(): Promise<void> {
    await this.stop('SIGKILL');
    await this.#outlet?.close();
  }

  #spawn(): void {
    const log = openSync(this.#logFile, 'a');
    const child = spawn(process.execPath, [PROGRAM], {
      // Where there is no .env.
      cwd: this.#folder,
      env: { PATH: process.env['PATH'], ...this.#env },
      stdio: ['ignore', log, log],
      // Ctrl-C in a terminal is for the proof, which ends them.
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    child.once('exit', () => {
      this.#child = undefined;
      this.#onProcess();
    });
    this.#onProcess();
  }
}

/** A Postgres, a Redis and the nodes over them, all of them the proof's own. */
export class Cluster {
  readonly postgres: Service;
  readonly redis: Service;
  readonly nodes: readonly ClusterNode[];
  /** Where the nodes' logs are. */
  readonly folder: string;
  readonly #guard = startExitGuard();

  private constructor(
    postgres: Service,
    redis: Service,
    ports: readonly number[],
    env: Readonly<Record<string, string>>,
  ) {
    this.postgres = postgres;
    this.redis = redis;
    this.folder = mkdtempSync(join(tmpdir(), 'nano-messaging-proof-'));
    this.nodes = ports.map(
      (port) =>
        new ClusterNode({
          port,
          env: {
            NODE_ENV: 'production',
            HOST: '127.0.0.1',
            LOG_LEVEL: 'warn',
            JWT_MASTER_SECRET: SECRET,
            DATABASE_URL: postgres.url,
            REDIS_URL: redis.url,
            ...env,
          },
          folder: this.folder,
          onProcess: () => {
            this.#guardNodes();
          },
        }),
    );
  }

  /** Starts everything; `env` goes to each node. */
  static async start(env: Readonly<Record<string, string>>): Promise<Cluster> {
    const [postgres, redis] = await Promise.all([startPostgresService(), startRedisService()]);
    const ports: number[] = [];
    while (ports.length < NODES) ports.push(await findFreePort());
    const cluster = new Cluster(postgres, redis, ports, env);
    try {
      await Promise.all(cluster.nodes.map((node) => node.start()));
    } catch (error) {
      await cluster.end({ keepLogs: true });
      throw error;
    }
    return cluster;
  }

  /** Number of the last message of each room that has one. */
  async lastMessages(): Promise<Map<number, number>> {
    const rows = await queryOnce<{ room_id: number; last: string }>(
      this.postgres.url,
      `SELECT room_id, max(seq) AS last FROM messages WHERE kind = 'message' GROUP BY room_id`,
    );
    return new Map(rows.map(({ room_id, last }) => [room_id, Number(last)]));
  }

  /** The whole log, and the heads of all rooms. */
  async readLog(): Promise<{ log: LogRow[]; heads: Map<number, number> }> {
    const rows = await queryOnce<Omit<LogRow, 'seq'> & { seq: string }>(
      this.postgres.url,
      'SELECT room_id, seq, kind, emitter, content, ref FROM messages ORDER BY room_id, seq',
    );
    const heads = await queryOnce<{ id: number; head: string }>(
      this.postgres.url,
      'SELECT id, head FROM rooms',
    );
    return {
      log: rows.map((row) => ({ ...row, seq: Number(row.seq) })),
      heads: new Map(heads.map(({ id, head }) => [id, Number(head)])),
    };
  }

  /** Ends all processes. */
  async end({ keepLogs = false } = {}): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.end()));
    this.#guard.disarm();
    await Promise.all([this.postgres.end(), this.redis.end()]);
    if (!keepLogs) rmSync(this.folder, { recursive: true, force: true });
  }

  /** Were the proof itself killed, its nodes would run on. */
  #guardNodes(): void {
    const pids = this.nodes.flatMap((node) => node.pid ?? []);
    this.#guard.arm(pids.length === 0 ? ':' : `kill -s KILL ${pids.join(' ')}`);
  }
}
