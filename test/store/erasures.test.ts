import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { QueryTypes } from 'sequelize';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Caller } from '../../src/access/permissions.js';
import { erasedUserOf, reactionOf, type Entry } from '../../src/store/entry.js';
import { createErasures, type Erasures } from '../../src/store/erasures.js';
import { storeWords } from '../../src/store/message-words.js';
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
import {
  emptyRoom,
  newCaller,
  readAll,
  removeRoom,
  removeRule,
  roomOf,
  say,
  type TestWriter,
} from '../harness/writers.js';

/** More messages than two transactions erase, and more reactions than two forget. */
const MANY = 2_500;
/** Rows that a transaction may touch: 1,000 reactions and 1,000 entries about the messages, and little else. */
const MOST_TOUCHED = 2_100;
const server = randomUUID();
const gone = new AbortController().signal;

let host: StoreHost;
let store: Store;
let erasures: Erasures;
const published: Entry[] = [];

function startNode(database = host.database): Erasures {
  return createErasures({
    sequelize: database.sequelize,
    publish: (entry) => published.push(entry),
    // Longer than a test.
    storeTimeoutMs: 600_000,
    logger: QUIET,
  });
}

async function openHost(open: () => Promise<StoreHost>): Promise<void> {
  host = await open();
  store = storeOver(host.database);
  erasures = startNode();
}

afterEach(() => {
  published.length = 0;
});
afterAll(async () => {
  await erasures.close();
  await host.close();
});

/** Messages of a user in a room that has nothing else, by SQL alone; returns the room. */
async function roomWith(count: number, author: Caller): Promise<number> {
  const room = await emptyRoom(store);
  await host.database.sequelize.query(
    `WITH filled AS (UPDATE rooms SET head = $2 WHERE id = $1)
     INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT $1, seq, 'message', $3, 'sesame', now(), now() FROM generate_series(1, $2) AS seq`,
    { bind: [room, count, author.userUUID] },
  );
  return room;
}

/** The first message of the room gets reactions of so many others, by SQL alone. */
async function talkAbout(room: number, count: number): Promise<void> {
  await rows(
    `WITH others AS MATERIALIZED (
       SELECT head + n AS seq, gen_random_uuid() AS uuid FROM rooms, generate_series(1, $2::int) AS n WHERE id = $1
     ), filled AS (
       UPDATE rooms SET head = head + $2 WHERE id = $1
     ), reacted AS (
       INSERT INTO reactions (room_id, target, emoji_key, emitter, emoji, is_on, seq)
       SELECT $1::int, 1, '🔑', uuid, '🔑', true, seq FROM others
     )
     INSERT INTO messages (room_id, seq, kind, emitter, content, target, "createdAt", "updatedAt")
     SELECT $1::int, seq, 'reaction', uuid, '{"emoji":"🔑","on":true,"count":1}', 1, now(), now() FROM others
     RETURNING 1`,
    room,
    count,
  );
}

async function rows<Row extends object>(sql: string, ...bind: unknown[]): Promise<Row[]> {
  return host.database.sequelize.query<Row>(sql, { bind, type: QueryTypes.SELECT });
}

async function namesOf(uuid: string): Promise<(string | null)[]> {
  return (await store.users.find([uuid])).map(({ name }) => name);
}

describe.each(storeHosts)('an erasure over %s', (_, open) => {
  beforeAll(() => openHost(open));
  afterAll(async () => {
    await erasures.close();
    await host.close();
  });

  const ana = newCaller();
  const ben = newCaller();

  function roomForBoth(...others: Caller[]): Promise<TestWriter> {
    return roomOf(
      store,
      [ana, ben, ...others].map((one) => [one, 'rw']),
    );
  }

  it('leaves what the user wrote in no table, also of rooms that the user has left, and all else', async () => {
    const [one, two] = [await roomForBoth(), await roomForBoth()];
    const data = '{"a":"sesame"}';
    const extras = { data, mentions: [ben.userUUID], author: ana };
    const { seq: edited } = await say(store.log, one, 'sesame 1', extras);
    await store.changes.edit(ana, one.roomId, { target: edited, content: 'sesame 2', data });
    await say(store.log, two, 'sesame 3', { author: ana });
    const { seq: kept } = await say(store.log, two, 'poppy', { author: ben });
    await store.changes.react(ben, one.roomId, { target: edited, emoji: '🔑', on: true });
    await store.changes.react(ana, two.roomId, { target: kept, emoji: '🗝', on: true });
    await store.changes.react(ana, two.roomId, { target: kept, emoji: '🚪', on: true });
    await store.changes.react(ana, two.roomId, { target: kept, emoji: '🚪', on: false });
    await store.users.remember(
      new Map([[ana.userUUID, { name: 'Ana Sesame', picture: undefined, signedAt: new Date(0) }]]),
    );
    const { roomId } = two;
    for (const { userUUID: reporter } of [ana, ben]) {
      const reason = reporter === ana.userUUID ? 'sesame 4' : 'poppy, too';
      await store.reports.put({ roomId, seq: kept, reporter, reason });
    }
    await removeRule(store, two.roomId, ana.userUUID);
    while (await storeWords(host.database.sequelize)) continue;
    expect(await tablesWith(host, 'sesame')).toEqual(['message_words', 'messages', 'reports']);
    expect(await tablesWith(host, 'Ana Sesame')).toEqual(['user_profiles']);

    const erasure = await erasures.erase(ana.userUUID, server);

    expect(erasure).toEqual({
      userUUID: ana.userUUID,
      requestedAt: expect.any(Date) as Date,
      finishedAt: expect.any(Date) as Date,
      rooms: 2,
      messages: 2,
      reactions: 3,
    });
    for (const text of ['sesame', 'Sesame', '🔑', '🗝', '🚪']) {
      expect([text, await tablesWith(host, text)]).toEqual([text, []]);
    }
    expect(await tablesWith(host, 'poppy')).toEqual(['message_words', 'messages', 'reports']);
    expect(await store.reports.page(ben.userUUID, { after: 0, limit: 2 })).toMatchObject([
      { reporter: ana.userUUID, reason: null },
      { reporter: ben.userUUID, reason: 'poppy, too' },
    ]);
    expect(await namesOf(ana.userUUID)).toEqual([]);
    expect(published.map(({ roomId }) => roomId)).toEqual([one.roomId, two.roomId]);
  });

  it('erases a text that the server set as another user with the message, whose emitter has it', async () => {
    const [author, editor] = [newCaller(), newCaller()];
    const room = await roomForBoth(author, editor);
    const { roomId } = room;
    const { seq: target } = await say(store.log, room, 'draft', { author });
    const app = { ...editor, isServer: true };
    await store.changes.edit(app, roomId, { target, content: 'thyme', data: undefined });
    const withText = (): Promise<object[]> =>
      rows(`SELECT seq, kind, emitter FROM messages WHERE content LIKE '%thyme%'`);
    const ofAuthor = [{ seq: target, kind: 'message', emitter: author.userUUID }];
    expect(await withText()).toEqual(ofAuthor);

    await erasures.erase(editor.userUUID, server);
    expect(await withText()).toEqual(ofAuthor);
    await erasures.erase(author.userUUID, server);
    expect(await tablesWith(host, 'thyme')).toEqual([]);
  });

  it('is one entry a room, before which the entries of the user are withheld', async () => {
    const room = await roomForBoth();
    const { seq: target } = await say(store.log, room, 'one', { author: ana, ref: 'a' });
    await store.changes.edit(ana, room.roomId, { target, content: 'two', ref: 'b' });
    await store.changes.react(ben, room.roomId, { target, emoji: '👍', on: true });
    const { seq: other } = await say(store.log, room, 'three', { author: ben, replyTo: target });
    await store.changes.react(ana, room.roomId, { target: other, emoji: '👍', on: true });

    await erasures.erase(ana.userUUID, server);

    const log = await readAll(store.log, room.roomId);
    expect(log.slice(2).map(({ kind, isWithheld }) => [kind, isWithheld])).toEqual([
      ['message', true],
      ['edit', true],
      ['reaction', true],
      ['message', undefined],
      ['reaction', true],
      ['erase', undefined],
    ]);
    const last = log.at(-1);
    expect(last).toMatchObject({ emitter: server, seq: log.length, ref: null });
    expect(last && erasedUserOf(last)).toBe(ana.userUUID);
    expect(published).toEqual([last]);
    expect(await store.log.heads([room.roomId])).toEqual(new Map([[room.roomId, log.length]]));
    const [row] = await rows(
      `SELECT content, data, mentions, text_seq, deleted_by, rev FROM messages WHERE room_id = $1 AND seq = $2`,
      room.roomId,
      target,
    );
    expect(row).toEqual({
      content: '',
      data: null,
      mentions: null,
      text_seq: null,
      deleted_by: log.length,
      rev: log.length,
    });
  });

  it('takes the reactions of the user off, so that all counts and revs are right', async () => {
    const carl = newCaller();
    const room = await roomForBoth(carl);
    const { seq: target } = await say(store.log, room, 'hi', { author: ben });
    const { seq: other } = await say(store.log, room, 'you', { author: ben });
    for (const caller of [ana, carl]) {
      await store.changes.react(caller, room.roomId, { target, emoji: '👍', on: true });
    }
    await store.changes.react(ana, room.roomId, { target, emoji: '🎉', on: true });
    await store.changes.react(ana, room.roomId, { target: other, emoji: '🎉', on: true });
    const { seq: off } = await store.changes.react(ana, room.roomId, {
      target: other,
      emoji: '🎉',
      on: false,
    });

    await erasures.erase(ana.userUUID, server);

    const head = published[0]?.seq ?? 0;
    const reader = { userUUID: carl.userUUID, gone };
    expect(await store.history.one(room.roomId, target, head, reader)).toMatchObject({
      reactions: [{ emoji: '👍', count: 1, mine: true }],
      rev: head,
    });
    // It showed none of the user's.
    expect(await store.history.one(room.roomId, other, head, reader)).toMatchObject({
      reactions: null,
      rev: off,
    });
    const { entry } = await store.changes.react(ana, room.roomId, {
      target,
      emoji: '👍',
      on: true,
    });
    expect(entry && reactionOf(entry)).toEqual({ emoji: '👍', on: true, count: 2 });
  });

  it('counts the erased messages nowhere, and finds them by no search', async () => {
    const room = await roomForBoth();
    const { seq: root } = await say(store.log, room, 'root', { author: ben });
    await say(store.log, room, 'tulip', { author: ben });
    await say(store.log, room, 'tulip', { author: ana, replyTo: root, mentions: [ben.userUUID] });
    await say(store.log, room, 'tulip', { author: ana });
    expect(await store.roomList.one(ben, room.roomId)).toMatchObject({ unread: 2, mentions: 1 });
    const found = async (): Promise<number | undefined> =>
      (await store.search.page(ben, { text: 'tulip', limit: 10 }))?.messages.length;
    expect(await found()).toBe(3);

    await erasures.erase(ana.userUUID, server);

    expect(await store.roomList.one(ben, room.roomId)).toMatchObject({
      unread: 0,
      mentions: 0,
      lastMessage: { content: 'tulip', emitter: ben.userUUID },
    });
    expect(await found()).toBe(1);
    const head = published[0]?.seq ?? 0;
    const page = await store.history.page(room.roomId, { upTo: head, limit: 10 }, { ...ben, gone });
    expect(page.messages.map(({ content, replies }) => [content, replies])).toEqual([
      ['root', 0],
      ['tulip', 0],
    ]);
  });

  it('leaves what the user writes afterwards, and erases it when asked again', async () => {
    const room = await roomForBoth();
    await say(store.log, room, 'before', { author: ana });
    await erasures.erase(ana.userUUID, server);
    const { seq } = await say(store.log, room, 'after', { author: ana });
    const contents = async (): Promise<string[]> =>
      (await readAll(store.log, room.roomId))
        .filter(({ kind }) => kind === 'message')
        .map(({ content }) => content);
    expect(await contents()).toEqual(['', 'after']);

    expect(await erasures.erase(ana.userUUID, server)).toMatchObject({ rooms: 1, messages: 1 });

    expect(await contents()).toEqual(['', '']);
    expect(published.map((entry) => entry.seq)).toEqual([seq - 1, seq + 1]);
  });

  it('of nothing that is left has no entry', async () => {
    const room = await roomForBoth();
    const { seq: target } = await say(store.log, room, 'before', { author: ana });
    await store.changes.remove(ana, room.roomId, { target });

    for (const user of [ana, newCaller()]) {
      expect(await erasures.erase(user.userUUID, server)).toMatchObject({
        finishedAt: expect.any(Date) as Date,
        rooms: 0,
        messages: 0,
        reactions: 0,
      });
    }

    expect(published).toEqual([]);
    expect((await readAll(store.log, room.roomId)).at(-1)).toMatchObject({ kind: 'delete' });
  });

  it('keeps refs: what is sent again is known, and what is about it is refused as DELETED', async () => {
    const room = await roomForBoth();
    const { seq: target } = await say(store.log, room, 'hello', { author: ana, ref: 'a' });

    await erasures.erase(ana.userUUID, server);

    expect(await say(store.log, room, 'hello', { author: ana, ref: 'a' })).toMatchObject({
      seq: target,
      known: true,
    });
    const edited = store.changes.edit(ana, room.roomId, { target, content: 'again' });
    await expect(edited).rejects.toMatchObject({ code: 'DELETED' });
    expect(await store.changes.remove(ana, room.roomId, { target })).toEqual({
      seq: published[0]?.seq,
      entry: undefined,
    });
  });

  it('removes a name until a token that was signed later tells one', async () => {
    const profile = (
      name: string,
      ms: number,
    ): Map<string, { name: string; picture: undefined; signedAt: Date }> =>
      new Map([[ana.userUUID, { name, picture: undefined, signedAt: new Date(ms) }]]);
    await erasures.erase(ana.userUUID, server);
    const [row] = await rows<{ at: Date }>(
      'SELECT "updatedAt" AS at FROM user_profiles WHERE uuid = $1',
      ana.userUUID,
    );
    const erasedAt = row?.at.getTime() ?? 0;

    await store.users.remember(profile('old', erasedAt - 1));
    expect(await namesOf(ana.userUUID)).toEqual([]);
    await store.users.remember(profile('new', erasedAt));
    expect(await namesOf(ana.userUUID)).toEqual(['new']);
  });

  it('of very many messages of a room, and of many rooms, has one entry a room', async () => {
    const dora = newCaller();
    const rooms = [await roomWith(MANY, dora)];
    for (let n = 0; n < 5; n += 1) rooms.push(await roomWith(2, dora));
    await roomWith(3, ana);

    expect(await erasures.erase(dora.userUUID, server)).toMatchObject({
      finishedAt: expect.any(Date) as Date,
      rooms: rooms.length,
      messages: MANY + 10,
    });

    expect(published.map(({ roomId, seq }) => [roomId, seq])).toEqual(
      rooms.map((id, index) => [id, index === 0 ? MANY + 1 : 3]),
    );
    const left = await rows(
      `SELECT 1 FROM messages WHERE emitter = $1 AND (content <> '' OR deleted_by IS NULL)`,
      dora.userUUID,
    );
    expect(left).toEqual([]);
  });
});

describe('an erasure', () => {
  /** Another connection to the database. */
  let holder: Client;

  beforeAll(async () => {
    await openHost(openPostgres);
    const { host: name, port, database, username, password } = host.database.address;
    holder = new Client({ host: name, port, database, user: username, password });
    await holder.connect();
  });
  afterAll(() => holder.end());

  /** Locks the rows that a statement does; resolves when somebody waits for them, with the backend that does. */
  async function hold(sql: string, ...bind: unknown[]): Promise<() => Promise<number>> {
    await holder.query('BEGIN');
    await holder.query(sql, bind);
    return () =>
      eventually(async () => {
        const { rows } = await holder.query<{ pid: number }>(
          `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        );
        if (rows[0] === undefined) throw new Error('nobody waits');
        return rows[0].pid;
      });
  }

  function holdMessage(room: number, seq: number): Promise<() => Promise<number>> {
    return hold('SELECT FROM messages WHERE room_id = $1 AND seq = $2 FOR UPDATE', room, seq);
  }

  it('that is interrupted between two parts of a room shows less before its entry, and is finished by another node', async () => {
    const ana = newCaller();
    const room = await roomWith(MANY, ana);
    // In the second part.
    const waiting = await holdMessage(room, 1_500);
    const asked = erasures.erase(ana.userUUID, server);
    const pid = await waiting();

    const log = await readAll(store.log, room);
    expect(log).toHaveLength(MANY);
    expect(log.filter(({ isWithheld }) => isWithheld)).toEqual(log.slice(0, 1_000));
    const reader = { userUUID: ana.userUUID, gone };
    const page = await store.history.page(room, { upTo: MANY, after: 0, limit: 1 }, reader);
    expect(page.first).toBe(1_001);

    await holder.query('SELECT pg_terminate_backend($1)', [pid]);
    expect(await asked).toMatchObject({ finishedAt: null, rooms: 0, messages: 1_000 });
    expect(published).toEqual([]);
    await holder.query('COMMIT');
    await erasures.close();
    erasures = startNode(await host.another());

    await eventually(() => {
      expect(published).toMatchObject([{ roomId: room, seq: MANY + 1, kind: 'erase' }]);
    });
    await eventually(async () => {
      const finished = 'SELECT 1 FROM erasures WHERE user_uuid = $1 AND "finishedAt" IS NOT NULL';
      expect(await rows(finished, ana.userUUID)).toHaveLength(1);
    });
    expect(await erasures.erase(ana.userUUID, server)).toMatchObject({ messages: 0 });
    expect(await tablesWith(host, 'sesame')).toEqual([]);
  });

  it('that is asked for again while it goes on begins anew at its end', async () => {
    const ana = newCaller();
    const [first, second] = [await roomWith(1, ana), await roomWith(1, ana)];
    await erasures.close();
    // A node that has passed the first room, before its user wrote there, was killed.
    await rows(
      `INSERT INTO erasures (user_uuid, emitter, "requestedAt", room_id, seq, is_owed, rooms, messages, reactions)
       VALUES ($1, $2, now(), $3, 1, false, 0, 0, 0) RETURNING 1`,
      ana.userUUID,
      server,
      first,
    );
    erasures = startNode();

    expect(await erasures.erase(ana.userUUID, server)).toMatchObject({
      finishedAt: expect.any(Date) as Date,
      rooms: 2,
      messages: 2,
    });
    expect(published.map((entry) => entry.roomId)).toEqual([second, first]);
    expect(await tablesWith(host, 'sesame')).toEqual([]);
  });

  it('that is asked for again while it finishes begins anew', async () => {
    const ana = newCaller();
    const room = await roomWith(1, ana);
    await erasures.close();
    await rows(
      `INSERT INTO erasures (user_uuid, emitter, "requestedAt", room_id, seq, is_owed, rooms, messages, reactions)
       VALUES ($1, $1, now() - interval '1 minute', 0, 0, false, 7, 7, 7) RETURNING 1`,
      ana.userUUID,
    );
    const waiting = await hold(
      'UPDATE erasures SET "finishedAt" = clock_timestamp() WHERE user_uuid = $1',
      ana.userUUID,
    );
    erasures = startNode();
    const asked = erasures.erase(ana.userUUID, server);
    await waiting();
    await holder.query('COMMIT');

    expect(await asked).toMatchObject({
      finishedAt: expect.any(Date) as Date,
      rooms: 1,
      messages: 1,
      reactions: 0,
    });
    expect(published).toMatchObject([{ roomId: room, emitter: server, kind: 'erase' }]);
    expect(await tablesWith(host, 'sesame')).toEqual([]);
  });

  it('goes on behind a room that is deleted meanwhile', async () => {
    const ana = newCaller();
    const [first, second] = [await roomWith(MANY, ana), await roomWith(1, ana)];
    const waiting = await holdMessage(first, 1_500);
    const asked = erasures.erase(ana.userUUID, server);
    await waiting();
    const removed = removeRoom(store, first);
    await holder.query('COMMIT');

    expect(await asked).toMatchObject({ finishedAt: expect.any(Date) as Date });
    await removed;
    expect(published.filter(({ roomId }) => roomId === second)).toHaveLength(1);
    expect(await tablesWith(host, 'sesame')).toEqual([]);
  });

  it('of a message that thousands have reacted to touches a bounded number of rows in each transaction', async () => {
    const [ana, ben] = [newCaller(), newCaller()];
    const room = await roomWith(1, ana);
    await talkAbout(room, MANY);
    const other = await roomWith(1, ben);
    await talkAbout(other, 10);
    const touched = await countTouched(host);

    expect(await erasures.erase(ana.userUUID, server)).toMatchObject({
      finishedAt: expect.any(Date) as Date,
      rooms: 1,
      messages: 1,
      reactions: 0,
    });

    expect(published).toMatchObject([{ roomId: room, seq: MANY + 2, kind: 'erase' }]);
    const counts = await touched();
    expect(counts.length).toBeGreaterThan(2);
    expect(Math.max(...counts)).toBeLessThanOrEqual(MOST_TOUCHED);
    const left = await rows<{ room: number; reactions: number; entries: number }>(
      `SELECT id AS room, (SELECT count(*) FROM reactions WHERE room_id = id) AS reactions,
         (SELECT count(*) FROM messages WHERE room_id = id AND kind = 'reaction' AND content <> '') AS entries
       FROM rooms WHERE id IN ($1, $2) ORDER BY id`,
      room,
      other,
    );
    expect(left).toEqual([
      { room, reactions: 0, entries: 0 },
      { room: other, reactions: 10, entries: 10 },
    ]);
  });

  it('of such a message that is interrupted is finished by another node, with one entry', async () => {
    const ana = newCaller();
    const room = await roomWith(1, ana);
    await talkAbout(room, MANY);
    const waiting = await holdMessage(room, MANY);
    const asked = erasures.erase(ana.userUUID, server);
    const pid = await waiting();
    // The message itself goes first.
    const [message, ...others] = await readAll(store.log, room);
    expect(message).toMatchObject({ seq: 1, content: '', isWithheld: true });
    expect(others.some(({ isWithheld }) => isWithheld === undefined)).toBe(true);

    await holder.query('SELECT pg_terminate_backend($1)', [pid]);
    expect(await asked).toMatchObject({ finishedAt: null, rooms: 0, messages: 1 });
    expect(published).toEqual([]);
    await holder.query('COMMIT');
    await erasures.close();
    erasures = startNode(await host.another());

    await eventually(() => {
      expect(published).toMatchObject([{ roomId: room, seq: MANY + 2, kind: 'erase' }]);
    });
    expect(await rows('SELECT 1 FROM reactions WHERE room_id = $1', room)).toEqual([]);
    expect((await readAll(store.log, room)).filter(({ content }) => content !== '')).toEqual(
      published,
    );
  });

  it('takes off a reaction beside those of thousands, and leaves these', async () => {
    const [ana, ben] = [newCaller(), newCaller()];
    const room = await roomWith(1, ben);
    await talkAbout(room, MANY);
    await rows(
      `WITH own AS (UPDATE reactions SET emitter = $2 WHERE room_id = $1 AND seq = 700)
       UPDATE messages SET emitter = $2 WHERE room_id = $1 AND seq = 700 RETURNING 1`,
      room,
      ana.userUUID,
    );

    expect(await erasures.erase(ana.userUUID, server)).toMatchObject({ messages: 0, reactions: 1 });

    const [left] = await rows(
      `SELECT count(*) AS reactions, count(*) FILTER (WHERE seq = 700) AS own,
         (SELECT rev FROM messages WHERE room_id = $1 AND seq = 1) AS rev
       FROM reactions WHERE room_id = $1`,
      room,
    );
    expect(left).toEqual({ reactions: MANY - 1, own: 0, rev: MANY + 2 });
  });
});
