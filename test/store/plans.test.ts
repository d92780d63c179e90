import { randomUUID } from 'node:crypto';
import { QueryTypes, Sequelize, type QueryOptions, type Transaction } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MAX_PARTITIONS } from '../../src/store/partition.js';
import { appendEntries } from '../../src/store/append.js';
import type { EntryDraft } from '../../src/store/entry.js';
import { createErasures } from '../../src/store/erasures.js';
import type { HistoryPage, Period } from '../../src/store/history.js';
import { storeWords } from '../../src/store/message-words.js';
import { plain, type RunStatement } from '../../src/store/prepared.js';
import { purgeOldest, startRetention } from '../../src/store/retention.js';
import type { Wanted } from '../../src/store/search.js';
import type { Store } from '../../src/store/store.js';
import { openPostgres, QUIET, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, removeRoom, removeRule, setRule } from '../harness/writers.js';

const ROOMS = 10;
/** Rooms without messages, each with rules of four users. */
const OTHER_ROOMS = 5_000;
const MESSAGES = 4_000;
/** Messages of one room, more than one query may pass. The period of the tests is its first tenth. */
const LONG = 30_000;
/** Messages of one room, each of one author, and reactions of as many others to each. */
const TALKED_ABOUT = 2_000;
const REACTIONS = 15;
/** With fewer words, the planner guesses how many messages have one that begins so. */
const WORDS = 120;
/** Messages that one statement of a test inserts. */
const FILLED_AT_ONCE = 2_000;
/**
 * Rows that one query may pass: of messages, with one ahead in each partition that is merged, and of rooms or rules (1,000
 * candidates, and the rows of each).
 */
const MOST = { messages: 10_001 + MAX_PARTITIONS, rooms: 1_500, room_permissions: 4_000 };
/** Rules of one room with many; the others have four and those that a test adds. */
const RULES = 5_000;

/** Of an entry of a room with messages, which has one a minute. */
function dateOf(seq: number): string {
  return new Date(Date.UTC(2026, 0, 1, 0, seq)).toISOString();
}

function literal(value: unknown): string {
  return value === null ? 'NULL' : `'${value as string | number}'`;
}

interface Scans {
  readonly seq_scan: number;
  readonly idx_scan: number;
  readonly idx_tup_fetch: number;
  /** Of the index of dates, which finds an entry by its seq only among all entries of its room. */
  readonly scans_by_date: number;
}

/** The condition of a table or an index by its oid: it has this name, or is a partition of what has it. */
const PART_OF = (name: string) =>
  `(oid = '${name}'::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = '${name}'::regclass))`;

/** A plan in which partitions, and their indexes, have the names of what they are partitions of. */
async function withoutPartitions(plan: string, { database }: StoreHost): Promise<string> {
  const parts = await database.sequelize.query<{ name: string; whole: string }>(
    `SELECT quote_ident(part.relname) AS name, whole.relname AS whole
     FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid JOIN pg_class AS whole ON whole.oid = inhparent`,
    { type: QueryTypes.SELECT },
  );
  return parts.reduce((text, { name, whole }) => text.replaceAll(`${name} `, `${whole} `), plan);
}

/** A plan is kept for as long as its connection, and the tables grow. */
describe('the plan of a message that is stored alone', () => {
  it('looks up indexes, even if it was made while the tables were empty', async () => {
    const host = await openPostgres();
    try {
      const draft = { kind: 'message', emitter: randomUUID(), content: 'hi', ref: 'a' } as const;
      const checked = { draft: { roomId: 1, ...draft }, rulesHead: 0 };
      await expect(appendEntries(host.database.runAppend, [checked])).resolves.toEqual([
        { outcome: 'gone' },
      ]);

      // On the connection that was used last.
      const rows = await host.database.runAppend(
        {
          name: 'explain',
          text: `EXPLAIN EXECUTE append_message(1, 0, '${draft.emitter}', 'hi', 'a', 'message', now())`,
        },
        [],
      );

      const plan = (rows as { 'QUERY PLAN': string }[]).map((row) => row['QUERY PLAN']).join('\n');
      expect(plan).toMatch(/Index.* on rooms/);
      expect(plan).toMatch(/Index.* on messages/);
      expect(plan).not.toContain('Seq Scan');
      // With the dates of a room's entries it would pass all of them.
      expect(plan).not.toContain('messages_created_at');
      // A plan for any parameters, not for these values.
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
  let crowded: number;
  let long: number;
  let talked: number;
  const emitter = randomUUID();
  const talker = randomUUID();

  beforeAll(async () => {
    host = await openPostgres();
    store = storeOver(host.database);
    const rooms = await Promise.all(Array.from({ length: ROOMS }, () => emptyRoom(store)));
    room = rooms[3] ?? 0;
    crowded = await emptyRoom(store);
    const { sequelize } = host.database;
    for (const roomId of rooms) await fill(roomId, MESSAGES, 'ref ');
    await sequelize.query('UPDATE rooms SET head = $1', { bind: [MESSAGES] });
    long = await emptyRoom(store);
    await fill(long, LONG, null);
    talked = await emptyRoom(store);
    await fill(talked, TALKED_ABOUT, null);
    await talkAbout(talked);
    await sequelize.query(
      `INSERT INTO rooms (uuid, name, type, level_admin, entity_owner, max_entity_rules, "createdAt", "updatedAt")
       SELECT gen_random_uuid(), 'a room', 'group', 999, gen_random_uuid(), 10, now(), now()
       FROM generate_series(1, $1::int)`,
      { bind: [OTHER_ROOMS] },
    );
    await sequelize.query(
      `INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
       SELECT id, gen_random_uuid(), 0, 'rw', true, now(), now()
       FROM rooms, generate_series(1, CASE WHEN id = $1 THEN $2::int ELSE 4 END)`,
      { bind: [crowded, RULES] },
    );
    // An entity with a rule in each of them, and as many user2user rooms that belong to it.
    await sequelize.query(
      `INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
       SELECT id, $1, 0, 'rw', true, now(), now() FROM rooms`,
      { bind: [member.entityUUID] },
    );
    await sequelize.query(
      `INSERT INTO rooms (uuid, name, type, level_admin, entity_owner, max_entity_rules, "createdAt", "updatedAt")
       SELECT gen_random_uuid(), 'a room', 'user2user', 999, $2, 10, now(), now()
       FROM generate_series(1, $1::int)`,
      { bind: [OTHER_ROOMS, member.entityUUID] },
    );
    await storePositions();
    await sequelize.query('VACUUM ANALYZE');
  });
  afterAll(() => host.close());

  /** The words of all messages are stored. */
  async function storePositions(): Promise<void> {
    await host.database.sequelize.query(
      `INSERT INTO search_positions SELECT id, head FROM rooms WHERE head > 0
       ON CONFLICT (room_id) DO UPDATE SET upto = excluded.upto`,
    );
  }

  /** Messages of a room, a minute apart; in parts, as no statement may take longer than STORE_TIMEOUT_MS. */
  async function fill(roomId: number, messages: number, refs: string | null): Promise<void> {
    for (let first = 1; first <= messages; first += FILLED_AT_ONCE) {
      await host.database.sequelize.query(
        `INSERT INTO messages (room_id, seq, kind, emitter, content, ref, "createdAt", "updatedAt")
         SELECT $1::int, seq, 'message', $2, 'a message of usual length, more or less, n' || seq % ${WORDS}, $3::text || seq,
           moment, moment
         FROM generate_series($4::int, $5::int) AS seq,
           LATERAL (SELECT timestamptz '2026-01-01' + seq * interval '1 minute' AS moment) AS dated`,
        { bind: [roomId, emitter, refs, first, Math.min(messages, first + FILLED_AT_ONCE - 1)] },
      );
      await host.database.sequelize.query(
        `INSERT INTO message_words
         SELECT room_id, seq, "createdAt", search_words(content) || ('''#' || room_id || '''')::tsvector
         FROM messages WHERE room_id = $1 AND seq >= $2`,
        { bind: [roomId, first] },
      );
    }
  }

  /** Others react to each message of a room, whose author becomes another one. */
  async function talkAbout(roomId: number): Promise<void> {
    const { sequelize } = host.database;
    const bind = [roomId, TALKED_ABOUT, REACTIONS];
    await sequelize.query('UPDATE messages SET emitter = $2 WHERE room_id = $1', {
      bind: [roomId, talker],
    });
    await sequelize.query(
      `INSERT INTO messages (room_id, seq, kind, emitter, content, target, "createdAt", "updatedAt")
       SELECT $1::int, $2::int + n, 'reaction', gen_random_uuid(), '{"emoji":"a","on":true,"count":1}', 1 + n % $2::int,
         timestamptz '2026-02-01', now()
       FROM generate_series(1, $2::int * $3::int) AS n`,
      { bind },
    );
    await sequelize.query(
      `INSERT INTO reactions (room_id, target, emoji_key, emitter, emoji, is_on, seq)
       SELECT room_id, target, 'a', emitter, 'a', true, seq FROM messages WHERE room_id = $1 AND kind = 'reaction'`,
      { bind: [roomId] },
    );
    await sequelize.query('UPDATE rooms SET head = $2::int + $2::int * $3::int WHERE id = $1', {
      bind,
    });
  }

  const member = {
    userUUID: randomUUID(),
    entityUUID: randomUUID(),
    levelOnEntity: 0,
    isServer: false,
  };
  const caller = {
    userUUID: randomUUID(),
    entityUUID: randomUUID(),
    levelOnEntity: 0,
    isServer: false,
  };
  const rule = { entityUUID: randomUUID(), level: 0, permissions: 'rw', accepted: true };

  /** Adds a rule, then changes it, then removes it. */
  async function changeRule(room: number): Promise<void> {
    await setRule(store, room, rule);
    await setRule(store, room, { ...rule, level: 1 });
    await removeRule(store, room, rule.entityUUID);
  }

  /** Makes a change of each kind. */
  async function changeMessages(room: number): Promise<void> {
    const author = { ...caller, userUUID: emitter };
    await setRule(store, room, { ...rule, entityUUID: emitter });
    await store.changes.edit(author, room, { target: 1_000, content: 'edited', ref: 'edit' });
    await store.changes.react(author, room, { target: 1_000, emoji: '👍', on: true, ref: 'react' });
    await store.changes.remove(author, room, { target: 1_000, ref: 'remove' });
    await removeRule(store, room, emitter);
  }

  async function refusedRemoval(room: number): Promise<void> {
    const refusal = new Error('refused');
    const removal = store.rooms.remove(room, caller, () => {
      throw refusal;
    });
    await expect(removal).rejects.toBe(refusal);
  }

  const period = { from: new Date('2026-01-02'), until: new Date('2026-01-03') };
  const always = { from: new Date('2025-01-01'), until: new Date('2027-01-01') };

  it.each<[string, (room: number) => Promise<unknown>]>([
    ['log.read', (room) => store.log.read(room, { after: 2_000, upTo: 4_000, limit: 500 })],
    [
      'log.read near the end',
      (room) => store.log.read(room, { after: 3_990, upTo: 4_000, limit: 500 }),
    ],
    [
      'history.page, the last',
      (room) => store.history.page(room, { upTo: MESSAGES, limit: 50 }, caller),
    ],
    [
      'history.page after',
      (room) => store.history.page(room, { upTo: MESSAGES, after: 100, limit: 1_000 }, caller),
    ],
    [
      'history.page before',
      (room) => store.history.page(room, { upTo: MESSAGES, before: 3_000, limit: 50 }, caller),
    ],
    [
      'history.page of a period',
      (room) => store.history.page(room, { upTo: MESSAGES, limit: 50, period }, caller),
    ],
    [
      'history.page of a thread',
      (room) => store.history.page(room, { upTo: MESSAGES, thread: 100, limit: 50 }, caller),
    ],
    ['history.one', (room) => store.history.one(room, 100, MESSAGES, caller)],
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
    ['destinations.find', (room) => destinationOf(room)],
    ['reports.page', (room) => reportedPage(room)],
    ['log.heads', (room) => store.log.heads([room, room + 1])],
    ['rooms.rulesOf', () => store.rooms.rulesOf(caller, { limit: 50, offset: 0 })],
    ['rooms.visibleTo', () => drain(store.rooms.visibleTo(caller))],
    ['rooms.accessFor', (room) => store.rooms.accessFor(caller, room)],
    ['roomList.page', () => store.roomList.page(member, { limit: 50 })],
    ['roomList.page, found by a text', () => store.roomList.page(member, { text: 'a', limit: 50 })],
    ['roomList.one', (room) => store.roomList.one(member, room)],
    ['recipients.find', () => store.recipients.find(crowded, [])],
    ['members.page', (room) => store.members.page(caller, room, { limit: 50 })],
    ['rules.change', (room) => changeRule(room)],
    ['changes', (room) => changeMessages(room)],
    ['rooms.remove', async () => removeRoom(store, await emptyRoom(store))],
  ])('touch no table as a whole: %s', async (_, run) => {
    const plans = await plansOf(() => run(room));

    expect(plans.length).toBeGreaterThan(0);
    for (const plan of plans) expect(plan).not.toMatch(/Seq Scan on (messages|rooms|room_perm)/);
    expect(plans.join('\n')).toMatch(/Index.* on (rooms|room_permissions)/);
  });

  async function reportedPage(roomId: number): Promise<unknown> {
    await store.reports.put({ roomId, seq: 1, reporter: emitter, reason: null });
    return store.reports.page(emitter, { after: 0, limit: 50 });
  }

  function destinationOf(roomId: number): Promise<unknown> {
    return store.destinations.find({ roomId, emitter, ref: 'a' });
  }

  it.each<[string, (room: number) => Promise<unknown>]>([
    ['rules.change', (room) => changeRule(room)],
    ['rooms.accessFor', (room) => store.rooms.accessFor(caller, room)],
    ['rooms.remove, refused', (room) => refusedRemoval(room)],
  ])('read as many rules in a room of thousands as in one of four: %s', async (_, run) => {
    const ofFew = await rowsRead(() => run(room));
    const ofMany = await rowsRead(() => run(crowded));

    expect(ofFew.length).toBeGreaterThan(0);
    expect(ofMany).toEqual(ofFew);
  });

  const begin = { from: new Date('2026-01-01'), until: new Date('2026-01-03') };
  const never = { from: new Date('2025-01-01'), until: new Date('2025-01-03') };

  /** Reads that must pass more rows than one query may. */
  const far: [string, (gone?: AbortSignal) => Promise<unknown>][] = [
    ['history.read, always', (gone) => read(long, always, gone)],
    ['history.page, far from its period', (gone) => farPage({ limit: 50, period: begin }, gone)],
    ['history.page, none', (gone) => farPage({ limit: 50, period: never }, gone)],
    ['history.page, forwards', (gone) => farPage({ after: 5_000, limit: 50, period: begin }, gone)],
    [
      'rooms.rulesOf, none',
      (gone) => store.rooms.rulesOf(member, { accepted: false, limit: 50, offset: 0 }, gone),
    ],
    [
      'rooms.rulesOf, the last',
      (gone) => store.rooms.rulesOf(member, { limit: 50, offset: OTHER_ROOMS }, gone),
    ],
    ['rooms.visibleTo', (gone) => drain(store.rooms.visibleTo(member, gone))],
    [
      'userMessages.read',
      (gone) => drain(store.userMessages.read(randomUUID(), { ...caller, ...(gone && { gone }) })),
    ],
  ];

  it.each(far)('pass few rows in each query, however much there is: %s', async (_, run) => {
    const statements = await rowsRead(() => run());

    expect(statements.length).toBeGreaterThan(1);
    for (const rows of statements) {
      const tooMany = Object.entries(MOST).filter(([table, most]) => (rows[table] ?? 0) > most);
      expect(tooMany).toEqual([]);
    }
  });

  it.each(far)('query nothing more once the client is gone: %s', async (_, run) => {
    const gone = new AbortController();
    const reason = new Error('hung up');
    const asked = vi.spyOn(Sequelize.prototype, 'query');

    const running = run(gone.signal);
    // While the first query runs.
    gone.abort(reason);

    await expect(running).rejects.toBe(reason);
    expect(asked).toHaveBeenCalledTimes(1);
    asked.mockRestore();
  });

  it('look for messages of others among the newest entries only, whatever the marker', async () => {
    const { sequelize } = host.database;
    const author = {
      userUUID: emitter,
      entityUUID: randomUUID(),
      levelOnEntity: 0,
      isServer: false,
    };
    await sequelize.query(
      `INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
       VALUES ($1, $2, 0, 'r', true, now(), now())`,
      { bind: [long, emitter] },
    );
    await sequelize.query('UPDATE rooms SET head = $2 WHERE id = $1', { bind: [long, LONG] });

    // All messages of the room are the caller's own.
    const [rows] = await rowsRead(() => store.roomList.one(author, long));

    expect(rows?.['messages']).toBeLessThan(MOST.messages + 10);
  });

  it.each<[string, (text: string) => Wanted]>([
    ['one room', (text) => ({ text, roomId: room, limit: 20 })],
    ['all rooms', (text) => ({ text, limit: 20 })],
  ])('search by an index, in %s', async (_, wanted) => {
    await storePositions();
    const plans = await plansOfSearch(wanted('usual nowhere'));

    expect(plans).toHaveLength(2);
    expect(plans[0]).toMatch(/Index.* using messages_created_at/);
    expect(plans[1]).toContain('Bitmap Index Scan on message_words_words');
    for (const plan of plans) expect(plan).not.toMatch(/Seq Scan on message/);
  });

  it('search among the newest messages alone for a common word', async () => {
    await storePositions();
    expect(await plansOfSearch({ text: 'usual', limit: 20 })).toHaveLength(1);
  });

  /** The plans of a search's statements: of those that are prepared, the one for any values. */
  async function plansOfSearch(wanted: Wanted): Promise<string[]> {
    const plans: string[] = [];
    const { runSearch } = host.database;
    const explain: RunStatement = async (statement, values) => {
      const rows = await runSearch(statement, values);
      const { name, text } = statement;
      // On the connection that was used last, which has it prepared.
      if (name !== undefined) {
        await runSearch({ text: 'SET plan_cache_mode = force_generic_plan' }, []);
      }
      const plan = (await (name === undefined
        ? runSearch({ text: `EXPLAIN ${text}` }, values)
        : runSearch(
            { text: `EXPLAIN EXECUTE ${name}(${values.map(literal).join(', ')})` },
            [],
          ))) as Record<'QUERY PLAN', string>[];
      await runSearch({ text: 'RESET plan_cache_mode' }, []);
      const lines = plan.map((row) => row['QUERY PLAN']).join('\n');
      plans.push(await withoutPartitions(lines, host));
      return rows;
    };
    const { search } = storeOver({ ...host.database, runSearch: explain });
    await search.page(member, wanted);
    return plans;
  }

  /** In this order: what one leaves, the next one takes. */
  it.each<[string, () => Promise<unknown>]>([
    ['retention, with nothing due', () => passOfRetention()],
    ['retention, of what is talked about', () => purgeFirst(talked)],
    ['erasures.erase', () => erase(talker)],
    ['userMessages.read', () => store.userMessages.read(emitter, caller).next()],
  ])('touch no table as a whole, whatever others have said: %s', async (_, run) => {
    const plans = await plansOf(run);

    expect(plans.length).toBeGreaterThan(0);
    for (const plan of plans) {
      expect(plan).not.toMatch(/Seq Scan on (messages|message_words|reactions|rooms)/);
    }
    expect(plans.join('\n')).toMatch(/Index.* on messages/);
  });

  async function passOfRetention(): Promise<void> {
    // So many days ago there was nothing; its first statement is under way when it is stopped.
    const { sequelize } = host.database;
    await startRetention({ sequelize, days: 10_000, logger: QUIET })();
  }

  /** Until the first chunk of the room is deleted. */
  async function purgeFirst(roomId: number): Promise<void> {
    do await purgeOldest(host.database.sequelize, roomId, 1);
    while ((await store.log.horizon(roomId)) === 0);
  }

  async function erase(user: string): Promise<void> {
    const erasures = createErasures({
      sequelize: host.database.sequelize,
      publish: () => undefined,
      storeTimeoutMs: 240_000,
      logger: QUIET,
    });
    const { finishedAt } = await erasures.erase(user, emitter);
    expect(finishedAt).not.toBeNull();
    await erasures.close();
  }

  it('find messages whose words are not stored by their key', async () => {
    const [plan] = await plansOf(() => storeWords(host.database.sequelize));

    expect(plan).toContain('Index Scan using messages_pkey');
    expect(plan).not.toMatch(/Seq Scan on message/);
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
      roomId: room,
      kind: 'message',
      emitter,
      content: 'hi',
      // Half of the refs are known.
      ref: `ref ${MESSAGES - size / 2 + n}`,
    }));
    const rollback = new Error('rolled back');

    const appending = sequelize.transaction(async (transaction) => {
      const before = await scansOfMessages(transaction);
      // PL/pgSQL may change to a generic plan after some executions.
      for (let execution = 0; execution < 8; execution += 1) {
        await appendEntries(
          plain(sequelize, transaction),
          drafts.map((draft) => ({ draft, rulesHead: 2_000, rulesDate: dateOf(2_000) })),
        );
      }
      const after = await scansOfMessages(transaction);
      expect(after.idx_scan - before.idx_scan).toBeGreaterThanOrEqual(8);
      expect(after.seq_scan - before.seq_scan).toBe(0);
      // All rooms at once: messages that are found by their refs, or whose refs are used, and the last rule.
      expect(after.idx_tup_fetch - before.idx_tup_fetch).toBeLessThanOrEqual(8 * 2 * (size + 1));
      expect(after.scans_by_date).toBe(before.scans_by_date);
      throw rollback;
    });

    await expect(appending).rejects.toBe(rollback);
  });

  async function read(roomId: number, ofPeriod: Period, gone?: AbortSignal): Promise<void> {
    const reader = { ...caller, ...(gone && { gone }) };
    const stretch = await store.history.stretchOf(roomId, ofPeriod, reader);
    if (stretch !== undefined) await drain(store.history.read(roomId, stretch, reader));
  }

  function farPage(
    range: { after?: number; limit: number; period: Period },
    gone?: AbortSignal,
  ): Promise<HistoryPage> {
    const reader = { ...caller, ...(gone && { gone }) };
    return store.history.page(long, { upTo: LONG, ...range }, reader);
  }

  /** The counters of the transaction's connection: it reports them to others only between transactions. */
  async function scansOfMessages(transaction: Transaction): Promise<Scans> {
    const [scans] = await host.database.sequelize.query<Scans>(
      `SELECT sum(seq_scan)::bigint AS seq_scan, sum(idx_scan)::bigint AS idx_scan, sum(idx_tup_fetch)::bigint AS idx_tup_fetch,
         (SELECT sum(pg_stat_get_xact_numscans(oid))::bigint FROM pg_class WHERE ${PART_OF('messages_created_at')}) AS scans_by_date
       FROM (SELECT relid AS oid, * FROM pg_stat_xact_user_tables) AS tables WHERE ${PART_OF('messages')}`,
      { type: QueryTypes.SELECT, transaction },
    );
    return scans ?? { seq_scan: 0, idx_scan: 0, idx_tup_fetch: 0, scans_by_date: 0 };
  }

  /** Runs it, and its statements once more, rolled back; returns by table the rows that each has read. */
  async function rowsRead(run: () => Promise<unknown>): Promise<Record<string, number>[]> {
    const { sequelize } = host.database;
    const statements = await statementsOf(run);
    const rollback = new Error('rolled back');
    const read: Record<string, number>[] = [];
    const again = sequelize.transaction(async (transaction) => {
      for (const { sql, bind } of statements) {
        const [explained] = await sequelize.query<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
          `EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`,
          { type: QueryTypes.SELECT, transaction, ...(bind !== undefined && { bind }) },
        );
        const rows: Record<string, number> = {};
        for (const { Plan } of explained?.['QUERY PLAN'] ?? []) addScans(Plan, rows);
        for (const [name, count] of Object.entries(rows)) {
          const whole = name.replace(/^messages_p\d+$/, 'messages');
          if (whole !== name) rows[whole] = (rows[whole] ?? 0) + count;
        }
        read.push(rows);
      }
      throw rollback;
    });
    await expect(again).rejects.toBe(rollback);
    return read;
  }

  /** Runs it, and explains each of its queries with the same parameters. */
  async function plansOf(run: () => Promise<unknown>): Promise<string[]> {
    const { sequelize } = host.database;
    const statements = await statementsOf(run);
    return Promise.all(
      statements.map(async ({ sql, bind }) => {
        const rows = await sequelize.query<Record<'QUERY PLAN', string>>(`EXPLAIN ${sql}`, {
          type: QueryTypes.SELECT,
          ...(bind !== undefined && { bind }),
        });
        return withoutPartitions(rows.map((row) => row['QUERY PLAN']).join('\n'), host);
      }),
    );
  }
});

type Bind = QueryOptions['bind'];
type Call = [sql: string | { query: string; bind: Bind }, options: QueryOptions];

/** The statements that are run, without those that begin and end transactions. */
async function statementsOf(run: () => Promise<unknown>): Promise<{ sql: string; bind: Bind }[]> {
  // On every pool.
  const query = vi.spyOn(Sequelize.prototype, 'query');
  await run();
  const calls = query.mock.calls as unknown as Call[];
  query.mockRestore();
  return calls
    .map(([sql, { bind }]) =>
      typeof sql === 'string' ? { sql, bind } : { sql: sql.query, bind: sql.bind },
    )
    .filter(({ sql }) => !/^(START|COMMIT|ROLLBACK|SET)/.test(sql));
}

/** A node of a plan, as EXPLAIN writes it. */
interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** Adds, by table, the rows that a plan has read, discarded ones included. */
function addScans(node: PlanNode, rows: Record<string, number>): void {
  const { 'Relation Name': table, 'Actual Rows': given, 'Actual Loops': loops } = node;
  if (table !== undefined && node['Node Type'].endsWith('Scan')) {
    rows[table] = (rows[table] ?? 0) + (given + (node['Rows Removed by Filter'] ?? 0)) * loops;
  }
  for (const part of node.Plans ?? []) addScans(part, rows);
}

async function drain(pages: AsyncGenerator): Promise<void> {
  for await (const _ of pages);
}
