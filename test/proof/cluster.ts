import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startExitGuard } from '../harness/exit-guard.js';
import { SECRET, UNLIMITED } from '../harness/node.js';
import { ClusterNode } from './cluster-node.js';
import { readStoredRoom } from '../harness/room-state.js';
import { storedWords } from '../../src/store/message-words.js';
import { placeKey, textsIn, type Ledger, type Log, type LogRow, type Tables } from './ledger.js';
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

/** By room, the numbers of the last message, for version 1, and of the last entry, for version 2. */
export type LastNumbers = ReadonlyMap<number, { readonly 1: number; readonly 2: number }>;

/** As Postgres gives it: a bigint is a string. */
type StoredRow = Omit<LogRow, 'seq' | 'at' | 'target' | 'text_seq' | 'deleted_by'> & {
  seq: string;
  target: string | null;
  text_seq: string | null;
  deleted_by: string | null;
  createdAt: Date;
};

const WRONG_WORDS = `
  SELECT w.room_id, w.seq FROM message_words AS w LEFT JOIN messages AS m USING (room_id, seq)
  WHERE (m.kind = 'message' AND m.deleted_by IS NULL
    AND w.words = ${storedWords('w.room_id', 'm.content')}) IS NOT TRUE`;

const BREAK_TABLES = `
  CREATE TABLE kept_texts (content text);
  CREATE FUNCTION keep_text() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO kept_texts VALUES (old.content); RETURN new; END $$;
  CREATE TRIGGER keep_text BEFORE UPDATE OF content ON messages FOR EACH ROW EXECUTE FUNCTION keep_text();
  CREATE FUNCTION lose_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
  CREATE TRIGGER lose_row BEFORE INSERT ON reactions FOR EACH ROW WHEN (new.seq % 3 = 0)
    EXECUTE FUNCTION lose_row();`;

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

  /**
   * Starts everything, each node with `env`.
   * @param probe the flags of Node by which nodes are looked into; by default they are not
   */
  static async start(
    env: Readonly<Record<string, string>>,
    ledger: Ledger,
    probe?: readonly string[],
  ): Promise<Cluster> {
    const [postgres, redis] = await Promise.all([startPostgresService(), startRedisService()]);
    const cluster = new Cluster(postgres, redis, ledger);
    try {
      await cluster.#startNodes(env, probe);
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
    const before = await this.lastNumbers();
    const end = performance.now() + GROWS_WITHIN_MS;
    while (performance.now() < end) {
      await delay(GROWTH_INTERVAL_MS);
      const now = await this.lastNumbers();
      if ([...now].every(([roomId, last]) => last[1] > (before.get(roomId)?.[1] ?? 0))) return;
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

  /** The numbers up to which clients can have got. A deleted message is not shown to version 1 any more. */
  async lastNumbers(): Promise<LastNumbers> {
    const rows = await queryOnce<{ id: number; message: string; head: string }>(
      this.postgres.url,
      `SELECT id, head, coalesce((SELECT max(seq) FROM messages
         WHERE room_id = rooms.id AND kind = 'message' AND deleted_by IS NULL), 0) AS message
       FROM rooms`,
    );
    return new Map(
      rows.map(({ id, message, head }) => [id, { 1: Number(message), 2: Number(head) }]),
    );
  }

  /** The log of all rooms. */
  async readLog(url = this.postgres.url): Promise<Log> {
    const rows = await queryOnce<StoredRow>(
      url,
      `SELECT room_id, seq, kind, emitter, content, ref, target, text_seq, deleted_by, "createdAt"
       FROM messages ORDER BY room_id, seq`,
    );
    const heads = await queryOnce<{ id: number; head: string }>(url, 'SELECT id, head FROM rooms');
    return {
      rows: rows.map(({ createdAt, seq, target, text_seq, deleted_by, ...row }) => ({
        ...row,
        seq: Number(seq),
        target: target === null ? null : Number(target),
        text_seq: text_seq === null ? null : Number(text_seq),
        deleted_by: deleted_by === null ? null : Number(deleted_by),
        at: createdAt.getTime() - performance.timeOrigin,
      })),
      heads: new Map(heads.map(({ id, head }) => [id, Number(head)])),
    };
  }

  /** From now on the database keeps texts that are erased, and loses every third reaction. */
  async breakTables(): Promise<void> {
    await queryOnce(this.postgres.url, BREAK_TABLES);
  }

  /** What is left in the tables. */
  async readTables(roomIds: readonly number[]): Promise<Tables> {
    const { url } = this.postgres;
    const rooms = new Map<number, Awaited<ReturnType<typeof readStoredRoom>>>();
    for (const roomId of roomIds) rooms.set(roomId, await readStoredRoom(url, roomId));
    const markers = await queryOnce<{ room_id: number; user_uuid: string; upto: string }>(
      url,
      'SELECT room_id, user_uuid, upto FROM read_markers',
    );
    const tables = await queryOnce<{ name: string }>(
      url,
      `SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public'`,
    );
    const texts = new Set<string>();
    for (const { name } of tables) {
      const rows = await queryOnce<{ text: string }>(
        url,
        `SELECT row::text AS text FROM ${name} AS row`,
      );
      for (const row of rows) for (const text of textsIn(row.text)) texts.add(text);
    }
    const wrongWords = await queryOnce<{ room_id: number; seq: string }>(url, WRONG_WORDS);
    return {
      rooms,
      wrongWords: wrongWords.map(({ room_id, seq }) => ({ room_id, seq: Number(seq) })),
      markers: new Map(
        markers.map(({ room_id: roomId, user_uuid: userUUID, upto }) => [
          placeKey({ userUUID, roomId }),
          Number(upto),
        ]),
      ),
      texts,
    };
  }

  /** Ends all processes. */
  async end({ keepLogs = false } = {}): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.end()));
    this.#guard.disarm();
    await Promise.all([this.postgres.end(), this.#redis.end()]);
    if (!keepLogs) rmSync(this.folder, { recursive: true, force: true });
  }

  async #startNodes(
    env: Readonly<Record<string, string>>,
    probe: readonly string[] | undefined,
  ): Promise<void> {
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
          // Its clients send more than people do.
          ...UNLIMITED,
          ...env,
        },
        folder: this.folder,
        ledger: this.#ledger,
        probe: probe && { flags: probe, metricsPort: await findSteadyPort() },
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
