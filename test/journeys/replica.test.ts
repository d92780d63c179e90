import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { createLogger } from '../../src/logger.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import type { HistoryPage } from '../../src/store/history.js';
import type { Store } from '../../src/store/store.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { createDatabase, query } from '../harness/database.js';
import { eventually } from '../harness/eventually.js';
import { migrateFresh } from '../harness/migrate-fresh.js';
import { startNode, type TestNode } from '../harness/node.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { startReplicatedPostgres, type ReplicatedPostgres } from '../harness/replica.js';
import { storeOver } from '../harness/store-hosts.js';
import { person } from '../harness/tokens.js';

/** Messages that an erasure takes two transactions for. */
const MORE_THAN_A_CHUNK = 1_200;
const ana = person({ levelOnEntity: 999 });
const ben = person();

describe('with a replica, a history', () => {
  let postgres: ReplicatedPostgres;
  let outlet: Outlet;
  let url: string;
  let replicaUrl: string;
  let node: TestNode;
  let room: number;
  /** Another node on the same databases: its queries are counted, and its log is kept. */
  let database: Database;
  let store: Store;
  const logged: string[] = [];

  beforeAll(async () => {
    postgres = await startReplicatedPostgres();
    ({ url } = await createDatabase(postgres.url));
    await migrateFresh({ DATABASE_URL: url });
    outlet = await openOutlet(postgres.replicaUrl);
    const { pathname } = new URL(url);
    replicaUrl = Object.assign(new URL(postgres.replicaUrl), { pathname }).href;
    const env = {
      DATABASE_URL: url,
      DATABASE_REPLICA_URL: Object.assign(new URL(outlet.url), { pathname }).href,
    };
    node = await startNode(env);
    const logger = createLogger({ level: 'silent', production: true });
    for (const level of ['info', 'warn', 'error'] as const) {
      logger[level] = (_: unknown, text?: string) => logged.push(`${level}: ${text}`);
    }
    database = await connectDatabase(loadConfig(env), logger);
    store = storeOver(database);
    room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
  });
  afterAll(async () => {
    await database.close();
    await node.close();
    await outlet.close();
    await postgres.stop();
  });

  async function post(content: string): Promise<number> {
    const body = { content };
    const answer = await request(node, 'POST', `/rooms/${room}/messages`, { as: ana, body });
    return (answer.content as { seq: number }).seq;
  }

  /** The texts that the routes of the history have, of a page and of today; they must be the same. */
  async function texts(as = ben): Promise<readonly string[]> {
    const day = new Date().toISOString().slice(0, 10);
    const [page, today] = await Promise.all(
      ['limit=1000', `date=${day}`].map(async (asked) => {
        const answer = await request(node, 'GET', `/rooms/${room}/messages?${asked}`, { as });
        return (answer.content as { content: string }[]).map(({ content }) => content);
      }),
    );
    expect(today).toEqual(page);
    return page ?? [];
  }

  /** A page for a reader who has seen the room's end on the primary, and where it was read. */
  async function readPage(): Promise<{ page: HistoryPage; from: 'primary' | 'replica' }> {
    const [seen] = await query<{ head: string; epoch: string }>(
      url,
      'SELECT head, log_epoch.uuid AS epoch FROM rooms, log_epoch WHERE rooms.id = $1',
      [room],
    );
    const head = Number(seen?.head);
    const asked = vi.spyOn(database.sequelize, 'query');
    const page = await store.history.page(
      room,
      { upTo: head, limit: 1_000 },
      { userUUID: ben.userUUID, seen: { head, epoch: seen?.epoch ?? '' } },
    );
    const from = asked.mock.calls.length === 0 ? 'replica' : 'primary';
    asked.mockRestore();
    return { page, from };
  }

  async function untilReplicaIsRead(): Promise<void> {
    await eventually(async () => {
      expect((await readPage()).from).toBe('replica');
    });
  }

  /** Has the replica stay as it is. */
  async function pauseReplica(): Promise<void> {
    await query(replicaUrl, 'SELECT pg_wal_replay_pause()');
    await eventually(async () => {
      const [state] = await query(replicaUrl, 'SELECT pg_get_wal_replay_pause_state() AS of');
      expect(state).toEqual({ of: 'paused' });
    });
  }

  it('is read there as it is on the primary', async () => {
    for (let n = 0; n < 20; n += 1) await post(`message ${n}`);
    await untilReplicaIsRead();

    const { page } = await readPage();
    expect(page.messages.map(({ content }) => content)).toEqual(await texts());
    expect(page.messages).toHaveLength(20);
    expect(page.messages[0]).not.toHaveProperty('isRow');
  });

  it('has what was sent, and no text that was deleted, while the replica is behind', async () => {
    const secret = await post('a secret');
    await untilReplicaIsRead();
    await pauseReplica();
    expect(await texts()).toContain('a secret');

    const path = `/rooms/${room}/messages/${secret}`;
    expect((await request(node, 'DELETE', path, { as: ana })).status).toBe(200);
    expect(await texts()).not.toContain('a secret');
    await post('the latest');
    expect((await texts()).at(-1)).toBe('the latest');
    expect((await readPage()).from).toBe('primary');
    const [stale] = await query(replicaUrl, 'SELECT content FROM messages WHERE seq = $1', [
      secret,
    ]);
    expect(stale).toEqual({ content: 'a secret' });
  });

  it('is refused to who was removed, while the replica is behind', async () => {
    expect((await request(node, 'GET', `/rooms/${room}/messages`, { as: ben })).status).toBe(200);
    const path = `/rooms/${room}/members/${ben.userUUID}`;
    expect((await request(node, 'DELETE', path, { as: ana })).status).toBe(200);

    expect((await request(node, 'GET', `/rooms/${room}/messages`, { as: ben })).status).toBe(403);

    await query(replicaUrl, 'SELECT pg_wal_replay_resume()');
    await untilReplicaIsRead();
  });

  it('comes from the primary while the replica is of another log', async () => {
    await pauseReplica();
    expect((await readPage()).from).toBe('replica');
    await query(url, 'UPDATE log_epoch SET uuid = gen_random_uuid()');

    expect((await readPage()).from).toBe('primary');

    await query(replicaUrl, 'SELECT pg_wal_replay_resume()');
    await untilReplicaIsRead();
  });

  it('has no text that an erasure has erased so far, while the replica is behind', async () => {
    const cleo = person();
    const large = await createRoom(node, ana);
    await query(
      url,
      `WITH filled AS (UPDATE rooms SET head = head + $2 WHERE id = $1 RETURNING head)
       INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT $1, head - n, 'message', $3, 'a secret', now(), now() FROM filled, generate_series(0, $2::int - 1) AS n`,
      [large, MORE_THAN_A_CHUNK, cleo.userUUID],
    );
    const secrets = (at: string) =>
      query(at, `SELECT FROM messages WHERE room_id = $1 AND content = 'a secret'`, [large]);
    await eventually(async () => expect(await secrets(replicaUrl)).toHaveLength(MORE_THAN_A_CHUNK));
    await pauseReplica();
    // Keeps the erasure from its end.
    const holder = new Client({ connectionString: url });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query(
      'SELECT FROM messages WHERE room_id = $1 ORDER BY seq DESC LIMIT 1 FOR UPDATE',
      [large],
    );

    const path = `/users/${cleo.userUUID}/messages`;
    const erased = request(node, 'DELETE', path, { as: person({}, { server: true }) });
    await eventually(async () =>
      expect((await secrets(url)).length).toBeLessThan(MORE_THAN_A_CHUNK),
    );
    const { content } = await request(node, 'GET', `/rooms/${large}/messages?limit=1000`, {
      as: ana,
    });
    expect(content).toHaveLength((await secrets(url)).length);
    expect(await secrets(replicaUrl)).toHaveLength(MORE_THAN_A_CHUNK);

    await holder.query('ROLLBACK');
    await holder.end();
    await erased;
    await query(replicaUrl, 'SELECT pg_wal_replay_resume()');
    await untilReplicaIsRead();
  });

  it.each(['is away', 'hangs'])(
    'comes from the primary while the replica %s, which is told once',
    async (fault) => {
      logged.splice(0);
      if (fault === 'hangs') outlet.stall();
      else await outlet.cut();

      const expected = await texts(ana);
      for (let n = 0; n < 5; n += 1) {
        const { page, from } = await readPage();
        expect(from).toBe('primary');
        expect(page.messages.map(({ content }) => content)).toEqual(expected);
      }
      expect(logged).toEqual(['warn: replica unavailable']);

      if (fault === 'hangs') outlet.resume();
      else await outlet.restore();
      await untilReplicaIsRead();
      await expect
        .poll(async () => (await readPage()) && logged, { timeout: 30_000 })
        .toEqual(['warn: replica unavailable', 'info: replica available again']);
    },
  );

  it('comes from the primary when the replica was killed', async () => {
    const expected = await texts(ana);
    process.kill(postgres.replicaPid, 'SIGKILL');

    expect(await texts(ana)).toEqual(expected);
    expect((await request(node, 'GET', '/readyz')).status).toBe(200);
  });
});
