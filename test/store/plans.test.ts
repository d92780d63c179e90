import { randomUUID } from 'node:crypto';
import { QueryTypes, Sequelize, type QueryOptions, type Transaction } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { appendEntries, type EntryDraft } from '../../src/store/entries.js';
import type { Period } from '../../src/store/history.js';
import { plain } from '../../src/store/statement.js';
import type { Store } from '../../src/store/store.js';
import { openPostgres, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, removeRoom, removeRule, setRule } from '../harness/writers.js';

const ROOMS = 10;
/** Without messages, each with rules of four users. */
const OTHER_ROOMS = 5_000;
const MESSAGES = 4_000;

interface Scans {
  readonly seq_scan: number;
  readonly idx_scan: number;
  readonly idx_tup_fetch: number;
}

/** A plan is kept for as long as its connection, and the tables grow. */
describe('the plan of a message that is stored alone', () => {
  it('is one of index lookups, also where it was made while the tables were empty', async () => {
    const host = await openPostgres();
    try {
      const draft = { kind: 'message', emitter: randomUUID(), content: 'hi', ref: 'a' } as const;
      const checked = { draft: { room_id: 1, ...draft }, rulesHead: 0 };
      await expect(appendEntries(host.database.runAppend, [checked])).resolves.toEqual([
        { outcome: 'gone' },
      ]);

      // On the connection that was used last.
      const rows = await host.database.runAppend(
        {
          name: 'explain',
          text: `EXPLAIN EXECUTE append_message(1, 0, '${draft.emitter}', 'hi', 'a')`,
        },
        [],
      );

      const plan = (rows as { 'QUERY PLAN': string }[]).map((row) => row['QUERY PLAN']).join('\n');
      expect(plan).toMatch(/Index.* on rooms/);
      expect(plan).toMatch(/Index.* on messages/);
      expect(plan).not.toContain('Seq Scan');
      // Of the parameters, not of these values.
      expect(plan).toContain('$1');
    } finally {
      await host.close();
    }
  });
});

/** In a table large enough that a scan of it would be seen by its users. */
describe('the plans of Postgres', () => {
  let host: StoreHost;
  let store: Store;
  let room: number;
  const emitter = randomUUID();

  beforeAll(async () => {
    host = await openPostgres();
    store = storeOver(host.database);
    const rooms = await Promise.all(Array.from({ length: ROOMS }, () => emptyRoom(store)));
    room = rooms[3] ?? 0;
    const { sequelize } = host.database;
    await sequelize.query(
      `INSERT INTO messages (room_id, seq, kind, emitter, content, ref, "createdAt", "updatedAt")
       SELECT room_id, seq, 'message', $1, 'a message of usual length, more or less', 'ref ' || seq,
         moment, moment
       FROM unnest($2::int[]) AS room_id, generate_series(1, $3::int) AS seq,
         LATERAL (SELECT timestamptz '2026-01-01' + seq * interval '1 minute' AS moment) AS dated`,
      { bind: [emitter, rooms, MESSAGES] },
    );
    await sequelize.query('UPDATE rooms SET head = $1', { bind: [MESSAGES] });
    await sequelize.query(
      `INSERT INTO rooms (uuid, name, type, level_admin, entity_owner, max_entity_rules, "createdAt", "updatedAt")
       SELECT gen_random_uuid(), 'a room', 'group', 999, gen_random_uuid(), 10, now(), now()
       FROM generate_series(1, $1::int)`,
      { bind: [OTHER_ROOMS] },
    );
    await sequelize.query(
      `INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
       SELECT id, gen_random_uuid(), 0, 'rw', true, now(), now() FROM rooms, generate_series(1, 4)`,
    );
    await sequelize.query('ANALYZE');
  });
  afterAll(() => host.close());

  const caller = { userUUID: randomUUID(), entityUUID: randomUUID(), levelOnEntity: 0 };
  const rule = { entity_UUID: randomUUID(), level: 0, permissions: 'rw', accepted: true };

  /** Adds a rule, then changes it, then removes it. */
  async function changeRule(room: number): Promise<void> {
    await setRule(store, room, rule);
    await setRule(store, room, { ...rule, level: 1 });
    await removeRule(store, room, rule.entity_UUID);
  }

  const period = { from: new Date('2026-01-02'), until: new Date('2026-01-03') };
  const always = { from: new Date('2025-01-01'), until: new Date('2027-01-01') };

  it.each<[string, (room: number) => Promise<unknown>]>([
    ['log.read', (room) => store.log.read(room, { after: 2_000, upTo: 4_000, limit: 500 })],
    [
      'log.read near the end',
      (room) => store.log.read(room, { after: 3_990, upTo: 4_000, limit: 500 }),
    ],
    ['history.page, the last', (room) => store.history.page(room, { limit: 50 }, caller)],
    [
      'history.page after',
      (room) => store.history.page(room, { after: 100, limit: 1_000 }, caller),
    ],
    [
      'history.page before',
      (room) => store.history.page(room, { before: 3_000, limit: 50 }, caller),
    ],
    ['history.page of a period', (room) => store.history.page(room, { limit: 50, period }, caller)],
    ['history.read, a day', (room) => read(room, period)],
    ['history.read, always', (room) => read(room, always)],
  ])('read messages by an index: %s', async (_, run) => {
    const plans = await plansOf(() => run(room));

    expect(plans.length).toBeGreaterThan(0);
    for (const plan of plans) {
      expect(plan).toMatch(/Index.* on messages/);
      expect(plan).not.toMatch(/Seq Scan on messages/);
    }
  });

  it.each<[string, (room: number) => Promise<unknown>]>([
    ['log.state', (room) => store.log.state(room)],
    ['log.heads', (room) => store.log.heads([room, room + 1])],
    ['rooms.rulesOf', () => store.rooms.rulesOf(caller, { limit: 50, offset: 0 })],
    ['rooms.visibleTo', () => drain(store.rooms.visibleTo(caller))],
    ['rooms.accessFor', (room) => store.rooms.accessFor(caller, room)],
    ['rules.change', (room) => changeRule(room)],
    ['rooms.remove', async () => removeRoom(store, await emptyRoom(store))],
  ])('touch no table as a whole: %s', async (_, run) => {
    const plans = await plansOf(() => run(room));

    expect(plans.length).toBeGreaterThan(0);
    for (const plan of plans) expect(plan).not.toMatch(/Seq Scan on (messages|rooms|room_perm)/);
    expect(plans.join('\n')).toMatch(/Index.* on (rooms|room_permissions)/);
  });

  it('read a day by the index of dates', async () => {
    const [bounds] = await plansOf(() => read(room, period));

    expect(bounds).toContain('messages_created_at');
  });

  it.each([
    ['a message', 1],
    ['a batch of 100', 100],
  ])('append without a scan of messages: %s', async (_, size) => {
    const { sequelize } = host.database;
    const drafts = Array.from({ length: size }, (_, n): EntryDraft => ({
      room_id: room,
      kind: 'message',
      emitter,
      content: 'hi',
      // Half of them are known.
      ref: `ref ${MESSAGES - size / 2 + n}`,
    }));
    const rollback = new Error('rolled back');

    const appending = sequelize.transaction(async (transaction) => {
      const before = await scansOfMessages(transaction);
      // PL/pgSQL may turn to a generic plan after some executions.
      for (let execution = 0; execution < 8; execution += 1) {
        await appendEntries(
          plain(sequelize, transaction),
          drafts.map((draft) => ({ draft, rulesHead: 0 })),
        );
      }
      const after = await scansOfMessages(transaction);
      expect(after.idx_scan - before.idx_scan).toBeGreaterThanOrEqual(8);
      expect(after.seq_scan - before.seq_scan).toBe(0);
      // Not a room at a time: what is found by its ref, or found to be taken.
      expect(after.idx_tup_fetch - before.idx_tup_fetch).toBeLessThanOrEqual(8 * 2 * size);
      throw rollback;
    });

    await expect(appending).rejects.toBe(rollback);
  });

  async function read(roomId: number, ofPeriod: Period): Promise<void> {
    const stretch = await store.history.stretchOf(roomId, ofPeriod, caller);
    if (stretch !== undefined) await drain(store.history.read(roomId, stretch, caller));
  }

  /** What the transaction's connection has counted: it reports in between transactions only. */
  async function scansOfMessages(transaction: Transaction): Promise<Scans> {
    const [scans] = await host.database.sequelize.query<Scans>(
      `SELECT seq_scan, idx_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'messages'`,
      { type: QueryTypes.SELECT, transaction },
    );
    return scans ?? { seq_scan: 0, idx_scan: 0, idx_tup_fetch: 0 };
  }

  /** Runs what queries the database, and explains each of its queries with the same parameters. */
  async function plansOf(run: () => Promise<unknown>): Promise<string[]> {
    const { sequelize } = host.database;
    // Whichever pool it runs on.
    const query = vi.spyOn(Sequelize.prototype, 'query');
    await run();
    const calls = query.mock.calls as unknown as Call[];
    query.mockRestore();
    return Promise.all(
      statementsOf(calls).map(async ({ sql, bind }) => {
        const rows = await sequelize.query<Record<'QUERY PLAN', string>>(`EXPLAIN ${sql}`, {
          type: QueryTypes.SELECT,
          ...(bind !== undefined && { bind }),
        });
        return rows.map((row) => row['QUERY PLAN']).join('\n');
      }),
    );
  }
});

type Bind = QueryOptions['bind'];
type Call = [sql: string | { query: string; bind: Bind }, options: QueryOptions];

/** What the calls of `sequelize.query` ran, but for what begins and ends transactions. */
function statementsOf(calls: readonly Call[]): { sql: string; bind: Bind }[] {
  return calls
    .map(([sql, { bind }]) =>
      typeof sql === 'string' ? { sql, bind } : { sql: sql.query, bind: sql.bind },
    )
    .filter(({ sql }) => !/^(START|COMMIT|ROLLBACK|SET)/.test(sql));
}

async function drain(pages: AsyncGenerator): Promise<void> {
  for await (const _ of pages);
}
