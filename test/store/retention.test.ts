import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { QueryTypes } from 'sequelize';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { storeWords } from '../../src/store/message-words.js';
import { purgeOldest, startRetention } from '../../src/store/retention.js';
import { exportRoom } from '../../src/store/room-export.js';
import type { Store } from '../../src/store/store.js';
import {
  openPostgres,
  QUIET,
  storeHosts,
  storeOver,
  type StoreHost,
} from '../harness/store-hosts.js';
import { eventually } from '../harness/eventually.js';
import { tablesWith } from '../harness/tables-with.js';
import { countTouched } from '../harness/touched-rows.js';
import { newCaller, readAll, roomOf, say, type TestWriter } from '../harness/writers.js';

const DAYS = 30;
/** More entries than two transactions delete. */
const MANY = 2_500;
const gone = new AbortController().signal;
const ana = newCaller();
const ben = newCaller();

let host: StoreHost;
let store: Store;

/** Makes all entries of a room up to a number older than the retention. */
async function age(room: number, upTo = Number.MAX_SAFE_INTEGER): Promise<void> {
  await host.database.sequelize.query(
    `UPDATE messages SET "createdAt" = "createdAt" - interval '31 days' WHERE room_id = $1 AND seq <= $2`,
    { bind: [room, upTo] },
  );
}

async function purge(room: number): Promise<void> {
  while ((await purgeOldest(host.database.sequelize, room, DAYS)) === 'more') continue;
}

async function horizonOf(room: number): Promise<number | undefined> {
  return store.log.horizon(room);
}

function roomForBoth(): Promise<TestWriter> {
  return roomOf(store, [
    [ana, 'rw'],
    [ben, 'rw'],
  ]);
}

/** A room with so many messages behind its two rules. */
async function longRoom(): Promise<number> {
  const { roomId } = await roomForBoth();
  await host.database.sequelize.query(
    `WITH filled AS (UPDATE rooms SET head = head + $2 WHERE id = $1)
     INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT $1, 2 + place, 'message', $3, 'hi', now(), now() FROM generate_series(1, $2) AS place`,
    { bind: [roomId, MANY, ana.userUUID] },
  );
  return roomId;
}

describe.each(storeHosts)('old entries over %s', (_, open) => {
  let writer: TestWriter;
  let room: number;

  beforeAll(async () => {
    host = await open();
    store = storeOver(host.database);
  });
  beforeEach(async () => {
    writer = await roomForBoth();
    room = writer.roomId;
  });
  afterAll(() => host.close());

  it('are deleted with all that is about them, and no number is given again', async () => {
    const { seq: old } = await say(store.log, writer, 'sesame', { author: ana, ref: 'a' });
    await store.changes.react(ben, room, { target: old, emoji: '🔑', on: true });
    await age(room);
    const { seq: young } = await say(store.log, writer, 'poppy', { author: ana, replyTo: old });
    await store.changes.react(ben, room, { target: old, emoji: '🗝', on: true });
    while (await storeWords(host.database.sequelize)) continue;

    await purge(room);

    for (const text of ['sesame', '🔑', '🗝']) {
      expect([text, await tablesWith(host, text)]).toEqual([text, []]);
    }
    expect(await horizonOf(room)).toBe(young - 1);
    expect(await readAll(store.log, room)).toMatchObject([
      { seq: young, content: 'poppy', replyTo: old },
      { seq: young + 1, kind: 'reaction', target: old, isWithheld: true },
    ]);
    expect(await say(store.log, writer, 'next', { author: ana })).toMatchObject({ seq: young + 2 });
    // The first one with this ref is no more.
    expect(await say(store.log, writer, 'sesame', { author: ana, ref: 'a' })).toMatchObject({
      seq: young + 3,
      known: false,
    });
  });

  it('are no messages any more for what is about them', async () => {
    const { seq: target } = await say(store.log, writer, 'old', { author: ana });
    await age(room);
    await purge(room);

    const refused = await Promise.allSettled([
      store.changes.edit(ana, room, { target, content: 'new' }),
      store.changes.remove(ana, room, { target }),
      store.changes.react(ben, room, { target, emoji: '👍', on: true }),
      say(store.log, writer, 'reply', { author: ben, replyTo: target }),
    ]);
    const reason = { code: 'NO_SUCH_MESSAGE' };
    expect(refused).toMatchObject(refused.map(() => ({ status: 'rejected', reason })));
  });

  it('leave rules, rights, markers and what is unread as they are', async () => {
    await say(store.log, writer, 'old', { author: ana });
    const { seq: read } = await say(store.log, writer, 'old, too', { author: ana });
    await store.readMarkers.move(ben, room, read, false);
    await say(store.log, writer, 'old and unread', { author: ana, mentions: [ben.userUUID] });
    await age(room);
    const { seq } = await say(store.log, writer, 'young', { author: ana });
    expect(await store.roomList.one(ben, room)).toMatchObject({ unread: 2, mentions: 1 });

    await purge(room);

    expect(await store.roomList.one(ben, room)).toMatchObject({
      permissions: 'rw',
      read,
      unread: 1,
      mentions: 0,
      lastMessage: { seq, content: 'young' },
    });
    const before = await store.log.state(room);
    expect(before?.access.rules.size).toBe(2);
    // A writer that knows the rules by an entry that is no more may still write.
    expect(await say(store.log, writer, 'younger', { author: ben })).toMatchObject({
      seq: seq + 1,
    });
    expect(await store.readMarkers.find(ben, room)).toEqual({
      n: expect.any(Number) as number,
      mayRead: true,
      upto: read,
      horizon: seq - 1,
    });
  });

  it('may be all of a room, which then goes on', async () => {
    const { seq } = await say(store.log, writer, 'old', { author: ana });
    await age(room);

    await purge(room);

    expect(await horizonOf(room)).toBe(seq);
    expect(await store.log.state(room)).toMatchObject({ head: seq, headCreatedAt: '' });
    expect(await store.roomList.one(ben, room)).toMatchObject({ head: seq, lastMessage: null });
    const page = await store.history.page(
      room,
      { upTo: seq, horizon: seq, limit: 10 },
      { ...ben, gone },
    );
    expect(page).toMatchObject({ messages: [], more: false });
    expect(await say(store.log, writer, 'young', { author: ana })).toMatchObject({ seq: seq + 1 });
  });

  it('end at the first entry that is young, and are found by no search', async () => {
    await say(store.log, writer, 'tulip one', { author: ana });
    const { seq } = await say(store.log, writer, 'tulip two', { author: ana });
    await say(store.log, writer, 'tulip three', { author: ana });
    await age(room, seq);
    const found = async (): Promise<string[] | undefined> =>
      (await store.search.page(ben, { text: 'tulip', limit: 10 }))?.messages.map(
        ({ content }) => content,
      );
    expect(await found()).toContain('tulip two');

    await purge(room);
    while (await storeWords(host.database.sequelize)) continue;

    expect(await horizonOf(room)).toBe(seq);
    expect(await found()).toEqual(['tulip three']);
    const [position] = await host.database.sequelize.query<{ upto: number }>(
      'SELECT upto FROM search_positions WHERE room_id = $1',
      { bind: [room], type: QueryTypes.SELECT },
    );
    expect(position).toEqual({ upto: seq + 1 });
  });

  it('that were imported behind younger rules go with these, once these are a day old', async () => {
    const { sequelize } = host.database;
    const rules = (await readAll(store.log, room)).map(({ seq, kind }) => [seq, kind]);
    expect(rules).toEqual([
      [1, 'member'],
      [2, 'member'],
    ]);
    await say(store.log, writer, 'tulip', { author: ana });
    const { seq: last } = await say(store.log, writer, 'poppy', { author: ben });
    await age(room);
    const rulesMade = (ago: string): Promise<unknown> =>
      sequelize.query(
        `UPDATE messages SET "createdAt" = now() - $2::interval WHERE room_id = $1 AND kind = 'member'`,
        { bind: [room, ago] },
      );
    await rulesMade('23 hours');
    const { seq: young } = await say(store.log, writer, 'young', { author: ana });
    await purge(room);
    expect(await horizonOf(room)).toBe(0);

    await rulesMade('25 hours');
    const stop = startRetention({ sequelize, days: DAYS, logger: QUIET });

    await eventually(async () => {
      expect(await horizonOf(room)).toBe(last);
    });
    await stop();
    expect(await readAll(store.log, room)).toMatchObject([{ seq: young, content: 'young' }]);
    expect(await store.roomList.one(ben, room)).toMatchObject({ permissions: 'rw' });
    expect(await say(store.log, writer, 'younger', { author: ben })).toMatchObject({
      seq: young + 1,
    });
  });

  it('behind a younger message wait for that one', async () => {
    await age(room);
    const { seq: young } = await say(store.log, writer, 'young', { author: ana });
    const { seq: old } = await say(store.log, writer, 'old', { author: ana });
    await host.database.sequelize.query(
      `UPDATE messages SET "createdAt" = "createdAt" - interval '31 days' WHERE room_id = $1 AND seq = $2`,
      { bind: [room, old] },
    );

    await purge(room);

    expect(await horizonOf(room)).toBe(young - 1);
  });

  it('are not exported', async () => {
    const { seq } = await say(store.log, writer, 'old', { author: ana });
    await age(room);
    await purge(room);
    await say(store.log, writer, 'young', { author: ana });

    const contents = await exportRoom(host.database.sequelize, room, async (exported) => {
      const all: string[] = [];
      for await (const page of exported?.pages ?? []) {
        all.push(...page.map(({ content }) => content));
      }
      return { count: exported?.count, head: exported?.head, all };
    });

    expect(contents).toEqual({ count: 1, head: seq + 1, all: ['young'] });
  });

  it('of long rooms are deleted by a node in the background, and other rooms stay', async () => {
    const [long, other] = [await longRoom(), await longRoom()];
    await age(long, MANY);
    const stop = startRetention({ sequelize: host.database.sequelize, days: DAYS, logger: QUIET });

    await eventually(async () => {
      expect(await horizonOf(long)).toBe(MANY);
    });
    await stop();

    expect((await readAll(store.log, long)).map(({ seq }) => seq)).toEqual([MANY + 1, MANY + 2]);
    expect(await horizonOf(other)).toBe(0);
    expect(await readAll(store.log, other)).toHaveLength(MANY + 2);
  });
});

describe('old entries', () => {
  /** Another connection to the database. */
  let holder: Client;

  beforeAll(async () => {
    host = await openPostgres();
    store = storeOver(host.database);
    const { host: name, port, database, username, password } = host.database.address;
    holder = new Client({ host: name, port, database, user: username, password });
    await holder.connect();
  });
  afterAll(async () => {
    await holder.end();
    await host.close();
  });

  it('that thousands have reacted to are deleted with a bounded number of rows in each transaction', async () => {
    const writer = await roomForBoth();
    const { roomId: room } = writer;
    const { seq: old } = await say(store.log, writer, 'sesame', { author: ana });
    await age(room);
    await host.database.sequelize.query(
      `WITH others AS MATERIALIZED (
         SELECT $2::bigint + n AS seq, gen_random_uuid() AS uuid FROM generate_series(1, $3::int) AS n
       ), filled AS (
         UPDATE rooms SET head = head + $3 WHERE id = $1
       ), reacted AS (
         INSERT INTO reactions (room_id, target, emoji_key, emitter, emoji, is_on, seq)
         SELECT $1::int, $2::bigint, '🔑', uuid, '🔑', true, seq FROM others
       )
       INSERT INTO messages (room_id, seq, kind, emitter, content, target, "createdAt", "updatedAt")
       SELECT $1::int, seq, 'reaction', uuid, '{"emoji":"🔑","on":true,"count":1}', $2::bigint, now(), now() FROM others`,
      { bind: [room, old, MANY] },
    );
    const touched = await countTouched(host);

    await purge(room);

    expect(await horizonOf(room)).toBe(old);
    for (const text of ['sesame', '🔑']) expect(await tablesWith(host, text)).toEqual([]);
    const log = await readAll(store.log, room);
    expect(log.filter(({ isWithheld }) => isWithheld)).toHaveLength(MANY);
    const counts = await touched();
    expect(counts.length).toBeGreaterThan(2);
    // 1,000 reactions and 1,000 entries about the message, and little else.
    expect(Math.max(...counts)).toBeLessThanOrEqual(2_100);
  });

  it('are left to the node that is deleting them', async () => {
    const room = await longRoom();
    await age(room);
    await holder.query('BEGIN');
    await holder.query('SELECT pg_advisory_xact_lock(7777004)');

    expect(await purgeOldest(host.database.sequelize, room, DAYS)).toBe('busy');
    expect(await horizonOf(room)).toBe(0);

    await holder.query('COMMIT');
    await purge(room);
    expect(await horizonOf(room)).toBe(MANY + 2);
  });

  it('are left to that node for the rest of a pass', async () => {
    const [first, second] = [await longRoom(), await longRoom()];
    await age(first);
    await age(second);
    await holder.query('BEGIN');
    await holder.query('SELECT pg_advisory_xact_lock(7777004)');
    const { sequelize } = host.database;
    const asked = vi.spyOn(sequelize, 'transaction');
    const stop = startRetention({ sequelize, days: DAYS, logger: QUIET });

    await eventually(() => {
      expect(asked).toHaveBeenCalled();
    });
    await delay(1_000);
    expect(asked).toHaveBeenCalledOnce();
    await holder.query('COMMIT');
    asked.mockRestore();
    await stop();

    await purge(first);
    await purge(second);
  });

  it('of a room that fails leave those of the rooms behind it to be deleted', async () => {
    const [first, second] = [await longRoom(), await longRoom()];
    await age(first);
    await age(second);
    await holder.query('BEGIN');
    // For longer than a statement waits for a lock.
    await holder.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [first]);
    const stop = startRetention({ sequelize: host.database.sequelize, days: DAYS, logger: QUIET });

    await eventually(async () => {
      expect(await horizonOf(second)).toBe(MANY + 2);
    });
    expect(await horizonOf(first)).toBe(0);
    await stop();
    await holder.query('COMMIT');
    await purge(first);
  });

  it('are there, or not, as of one moment', async () => {
    const room = await longRoom();
    await age(room);
    await holder.query('BEGIN');
    await holder.query('SELECT FROM messages WHERE room_id = $1 AND seq = 1500 FOR UPDATE', [room]);
    const purged = purge(room);
    await eventually(async () => {
      const { rows } = await holder.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      expect(rows).toHaveLength(1);
    });

    expect(await horizonOf(room)).toBe(1_000);
    const log = await readAll(store.log, room);
    expect([log[0]?.seq, log.length]).toEqual([1_001, MANY + 2 - 1_000]);

    await holder.query('COMMIT');
    await purged;
    expect(await horizonOf(room)).toBe(MANY + 2);
  });

  it('are deleted no further once the node shuts down', async () => {
    const room = await longRoom();
    await age(room);
    await holder.query('BEGIN');
    await holder.query('SELECT FROM messages WHERE room_id = $1 AND seq = 500 FOR UPDATE', [room]);
    const stop = startRetention({ sequelize: host.database.sequelize, days: DAYS, logger: QUIET });
    await eventually(async () => {
      const { rows } = await holder.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      expect(rows).toHaveLength(1);
    });
    const stopped = stop();
    await holder.query('COMMIT');
    await stopped;

    expect(await horizonOf(room)).toBe(1_000);
  });
});
