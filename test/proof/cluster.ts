import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startExitGuard } from '../harness/exit-guard.js';
import { SECRET } from '../harness/node.js';
import { ClusterNode } from './cluster-node.js';
import type { Ledger, Log, LogRow } from './ledger.js';
import { findSteadyPort } from './ports.js';
import {
  queryOnce,
  startPostgresService,
  startRedisService,
  type PostgresService,
  type Service,
} from './services.js';

const NODES = 3;
const GROWS_WITHIN_MS = 15_000;
const GROWTH_INTERVAL_MS = 200;

/** A Postgres, a Redis and the nodes over them, all of which belong to the proof. */
export class Cluster {
  readonly postgres: PostgresService;
  /** The folder of the nodes' logs. */
  readonly folder = mkdtempSync(join(tmpdir(), 'nano-messaging-proof-'));
  readonly #guard = startExitGuard();
  readonly #ledger: Ledger;
  #redis: Service;
  #nodes: readonly ClusterNode[] = [];

  private constructor(postgres: PostgresService, redis: Service, ledger: Ledger) {
    this.postgres = postgres;
    this.#ledger = ledger;
    this.#redis = redis;
  }

  /** Starts everything, each node with `env`. */
  static async start(env: Readonly<Record<string, string>>, ledger: Ledger): Promise<Cluster> {
    const [postgres, redis] = await Promise.all([startPostgresService(), startRedisService()]);
    const cluster = new Cluster(postgres, redis, ledger);
    try {
      await cluster.#startNodes(env);
    } catch (error) {
      await cluster.end({ keepLogs: true });
      throw error;
    }
    return cluster;
  }

  get nodes(): readonly ClusterNode[] {
    return this.#nodes;
  }

  get redis(): Service {
    return this.#redis;
  }

  /** Resolves when each room has got a new message since the call, or after 15 seconds. */
  async logGrows(): Promise<void> {
    const before = await this.lastMessages();
    const end = performance.now() + GROWS_WITHIN_MS;
    while (performance.now() < end) {
      await delay(GROWTH_INTERVAL_MS);
      const now = await this.lastMessages();
      if ([...now].every(([roomId, last]) => last > (before.get(roomId) ?? 0))) return;
    }
  }

  /** Sets Postgres back to its copy. */
  async setLogBack(): Promise<void> {
    await this.postgres.setBack(async (url) => {
      this.#ledger.logsBefore.push(await this.readLog(url));
    });
  }

  /** Starts another Redis, and connects new links to it. The old one is returned, and still runs. */
  async replaceRedis(): Promise<Service> {
    const before = this.#redis;
    this.#redis = await startRedisService();
    for (const { redisLinks } of this.#nodes) redisLinks.leadTo(this.#redis.url);
    return before;
  }

  /** Terminates the backends of the connections from these ports; does nothing while Postgres is down. */
  async terminateBackends(ports: readonly number[]): Promise<void> {
    if (ports.length === 0) return;
    await queryOnce(
      this.postgres.url,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port IN (${ports.join(', ')})`,
    ).catch(() => undefined);
  }

  /** By room, the number of the last message, if there is one. */
  async lastMessages(): Promise<Map<number, number>> {
    const rows = await queryOnce<{ room_id: number; last: string }>(
      this.postgres.url,
      `SELECT room_id, max(seq) AS last FROM messages WHERE kind = 'message' GROUP BY room_id`,
    );
    return new Map(rows.map(({ room_id, last }) => [room_id, Number(last)]));
  }

  /** The log of all rooms. */
  async readLog(url = this.postgres.url): Promise<Log> {
    const rows = await queryOnce<Omit<LogRow, 'seq' | 'at'> & { seq: string; createdAt: Date }>(
      url,
      'SELECT room_id, seq, kind, emitter, content, ref, "createdAt" FROM messages ORDER BY room_id, seq',
    );
    const heads = await queryOnce<{ id: number; head: string }>(url, 'SELECT id, head FROM rooms');
    return {
      rows: rows.map(({ createdAt, seq, ...row }) => ({
        ...row,
        seq: Number(seq),
        at: createdAt.getTime() - performance.timeOrigin,
      })),
      heads: new Map(heads.map(({ id, head }) => [id, Number(head)])),
    };
  }

  /** Ends all processes. */
  async end({ keepLogs = false } = {}): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.end()));
    this.#guard.disarm();
    await Promise.all([this.postgres.end(), this.#redis.end()]);
    if (!keepLogs) rmSync(this.folder, { recursive: true, force: true });
  }

  async #startNodes(env: Readonly<Record<string, string>>): Promise<void> {
    const nodes: ClusterNode[] = [];
    while (nodes.length < NODES) {
      const node = await ClusterNode.create({
        name: `node ${nodes.length + 1}`,
        port: await findSteadyPort(),
        databaseUrl: this.postgres.url,
        redisUrl: this.#redis.url,
        env: {
          NODE_ENV: 'production',
          HOST: '127.0.0.1',
          LOG_LEVEL: 'warn',
          JWT_MASTER_SECRET: SECRET,
          ...env,
        },
        folder: this.folder,
        ledger: this.#ledger,
        onProcess: () => {
          this.#guardNodes();
        },
      });
      nodes.push(node);
      this.#nodes = nodes;
    }
    await Promise.all(nodes.map((node) => node.start()));
  }

  /** Ends the nodes if the proof itself is killed. */
  #guardNodes(): void {
    const pids = this.#nodes.flatMap((node) => node.pid ?? []);
    this.#guard.arm(pids.length === 0 ? ':' : `kill -s KILL ${pids.join(' ')}`);
  }
}
