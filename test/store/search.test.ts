import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { QueryTypes } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { may, type Caller, type Rule } from '../../src/access/permissions.js';
import type { EntryKind } from '../../src/protocol/entry-kinds.js';
import type { HistoryMessage } from '../../src/store/history.js';
import { storeWords } from '../../src/store/message-words.js';
import type { RunStatement } from '../../src/store/prepared.js';
import type { Wanted } from '../../src/store/search.js';
import type { Store } from '../../src/store/store.js';
import { openPostgres, storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { newCaller, removeRule, roomDraft, say, writerOver } from '../harness/writers.js';

/** More messages than a search looks at without the index, and more than it reads for a rare word. */
const MANY = 1_500;
/** More rooms than the index is asked for by themselves. */
const MANY_ROOMS = 33;
/** More messages than the index may find. */
const TOO_MANY = 5_500;

/** A message, a search, and whether the search finds the message. */
const SEARCHES: [content: string, text: string, isFound: boolean][] = [
  ['我家在上海东边', '上海', true],
  ['我家在上海东边', '上海东', true],
  ['我家在上海东边', '我', true],
  ['我家在上海东边', '海', true],
  ['我家在上海东边', '边', true],
  ['我家在上海东边', '我家在上海东边', true],
  ['我家在上海东边', '东边 上海', true],
  ['我家在上海东边', '上东', false],
  ['我家在上海东边', '海上', false],
  ['上海,东边', '海东', false],
  ['上海上東海', '上海東', false],
  ['iPhone手机壳', '手机', true],
  ['iPhone手机壳', 'iphone 机壳', true],
  ['東京タワーへ行く', 'タワー', true],
  ['ｶﾀｶﾅとＡＢＣ', 'カタカナ abc', true],
  ['がんばる', 'かんばる', false],
  ['학교에서 만나요', '학교', true],
  ['학교에서 만나요', '만나', true],
  ['Mañana', 'manana', true],
  ['la reunión', 'reunion', true],
  ['Mañana, reunión.', 'manana reunion', true],
  ['Mañana, reunión.', 'REUNIÓN MAÑANA', true],
  ['la reunion', 'reunión', true],
  ['la reunión', 'la reuni', true],
  ['la reunión', 'reuni la', false],
  ['la reunión', 'reuniones', false],
  ['Straße in Łódź', 'lodz strasse', true],
  ['smørrebrød', 'smorrebrod', true],
  ['Việt Nam', 'viet', true],
  ['ПРИВЕТ ЁЖ', 'привет еж', true],
  ['ΟΔΥΣΣΕΥΣ', 'οδυσσευς', true],
  ['write to me@mail.example.com/inbox', 'example', true],
  ['write to me@mail.example.com/inbox', 'mail inb', true],
  ['snake_case-and.dots', 'case dot', true],
  ["don't", 'don', true],
  ['fixed in 19e9a07', '19e9a07', true],
  ['fixed in 19e9a07', '19e9a07 fixed', true],
  ['fixed in 19e9a07', '19e9a', true],
  ['order 2E1', '2e1', true],
  ['at -7.5 degrees', '7 5', true],
  ['ready? 👍', 'ready 👍', true],
  ['ready', "'ready' & !:*|(<->)\\", true],
  ['ready', 'steady', false],
];

/** Without statistics the planner takes any word for a rare one. */
const EXPECTS_MANY = `CREATE OR REPLACE FUNCTION search_estimate(words tsquery) RETURNS float8
  LANGUAGE sql AS 'SELECT 1e9::float8'`;

/** Each database, and one that looks at the newest messages first. */
const hosts = [
  ...storeHosts.map(([name, open]) => [name, open, []] as const),
  ['Postgres if all words are common', openPostgres, [EXPECTS_MANY]] as const,
];

describe.each(hosts)('a search over %s', (_, openHost, statements) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    for (const statement of statements) await host.database.sequelize.query(statement);
  });
  afterAll(() => host.close());

  it('finds words whatever their case and accents, and parts of CJK texts', async () => {
    const [caller, roomId] = await callerWithRoom();
    const contents = [...new Set(SEARCHES.map(([content]) => content))];
    for (const content of contents) await say(store.log, writerOver(store.log, roomId), content);

    for (const areStored of [false, true]) {
      if (areStored) await storeAllWords();
      const found: typeof SEARCHES = [];
      for (const [content, text] of SEARCHES) {
        const messages = await all(caller, { text });
        found.push([content, text, messages.some((message) => message.content === content)]);
      }
      expect(found).toEqual(SEARCHES);
    }
  });

  it('finds a message that was just stored, and those before it', async () => {
    const [caller, roomId] = await callerWithRoom();
    for (let n = 2; n < 5; n += 1) {
      await say(store.log, writerOver(store.log, roomId), 'needle');
      for (const room of [roomId, undefined]) {
        const found = await all(caller, { text: 'needle', roomId: room });
        expect(found.map(({ seq }) => seq)).toEqual([4, 3, 2].slice(4 - n));
      }
      await storeAllWords();
    }
  });

  it('searches one room alone', async () => {
    const caller = newCaller();
    const rooms = [await roomOf(caller), await roomOf(caller)];
    for (const roomId of rooms) await fill(roomId, { from: 2, count: 3, content: 'needle' });
    await storeAllWords();

    const found = await all(caller, { text: 'needle', roomId: rooms[0] });
    expect(found.map(({ roomId }) => roomId)).toEqual([rooms[0], rooms[0], rooms[0]]);
    expect(await all(caller, { text: `#${rooms[0]}` })).toEqual([]);
  });

  it.each(['', ' ', '?!', '👍', '\u0301', '، 。'])(
    'finds nothing without a word: "%s"',
    async (text) => {
      const [caller] = await callerWithRoom();
      const page = await store.search.page(caller, { text, limit: 10 });
      expect(page?.messages ?? []).toEqual([]);
    },
  );

  it('returns each message once, the newest first, over all pages', async () => {
    const caller = newCaller();
    const rooms: number[] = [];
    for (let n = 0; n < 3; n += 1) rooms.push(await roomOf(caller));
    // Dates of which many are equal, and in another order than the numbers.
    for (const [index, roomId] of rooms.entries()) {
      await fill(roomId, { from: 2, count: 400, content: 'needle', dates: 3 + index });
      // Of a part of them, that is.
      await storeWords(host.database.sequelize);
    }

    const whole = await all(caller, { text: 'needle', limit: 100 });
    expect(whole).toHaveLength(1_200);
    expect(whole).toEqual(whole.toSorted(newestFirst));
    for (const limit of [13, 60]) {
      expect(await all(caller, { text: 'needle', limit })).toEqual(whole);
    }
    expect(await all(caller, { text: 'needle', roomId: rooms[1], limit: 13 })).toEqual(
      whole.filter(({ roomId }) => roomId === rooms[1]),
    );
  });

  it('finds messages far from the newest, over all pages', async () => {
    const caller = newCaller();
    const rooms = [await roomOf(caller), await roomOf(caller)];
    for (const roomId of rooms) {
      await fill(roomId, { from: 2, count: 10, content: 'rare needle', dates: 4 });
      await fill(roomId, { from: 12, count: MANY, content: 'hay', dates: 1, later: 1_000 });
    }

    for (const areStored of [false, true]) {
      if (areStored) await storeAllWords();
      const whole = await all(caller, { text: 'needle', limit: 100 });
      expect(whole).toHaveLength(20);
      expect(whole).toEqual(whole.toSorted(newestFirst));
      expect(await all(caller, { text: 'needle', limit: 3 })).toEqual(whole);
      expect(await all(caller, { text: 'needle hay' })).toEqual([]);
    }
  });

  it('finds messages that were followed by thousands of reactions', async () => {
    const [caller, roomId] = await callerWithRoom();
    await fill(roomId, { from: 2, count: 10, content: 'needle' });
    await fill(roomId, { from: 12, count: MANY, kind: 'reaction', content: '{}', later: 1_000 });

    for (const wanted of [{ text: 'needle' }, { text: 'needle', roomId }]) {
      const page = await store.search.page(caller, { ...wanted, limit: 20 });
      expect(page?.messages).toHaveLength(10);
    }
  });

  it('finds each of the words that are too many for the index, over all pages', async () => {
    const [caller, roomId] = await callerWithRoom();
    for (let from = 2; from < 2 + 30 * 100; from += 100) {
      await fill(roomId, { from, count: 99, content: 'hay', later: from });
      await fill(roomId, { from: from + 99, count: 1, content: 'needle', later: from + 99 });
    }
    await storeAllWords();
    // One in a hundred of a million entries has the word, as far as the newest ones show.
    await host.database.sequelize.query('UPDATE rooms SET head = 1000000 WHERE id = $1', {
      bind: [roomId],
      type: QueryTypes.UPDATE,
    });

    for (const wanted of [{ text: 'needle' }, { text: 'needle', roomId }]) {
      const page = await store.search.page(caller, { ...wanted, limit: 20 });
      expect(page?.messages.length).toBeGreaterThan(0);
      expect(page?.messages.length).toBeLessThan(20);
      expect((await all(caller, wanted)).map(({ seq }) => seq)).toEqual(
        Array.from({ length: 30 }, (_, n) => 3_001 - 100 * n),
      );
    }
  });

  it('ends a page whose texts are long, and goes on with the next one', async () => {
    const [caller, roomId] = await callerWithRoom();
    await fill(roomId, { from: 2, count: 9, content: `long ${'x'.repeat(7_990)}` });

    const page = await store.search.page(caller, { text: 'long', limit: 20 });
    expect(page?.messages).toHaveLength(5);
    expect(await all(caller, { text: 'long' })).toHaveLength(9);
  });

  it('finds only what the caller may read, by the rules at that moment', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('group' as const, 'user2user' as const),
        fc.array(fc.subarray(['r', 'w', 'b', 'a']), { minLength: 2, maxLength: 2 }),
        fc.constantFrom(0, 100),
        fc.constantFrom(0, 99.5, 100),
        fc.boolean(),
        async (type, letters, level, levelOnEntity, isOwner) => {
          const caller = newCaller({ levelOnEntity });
          const owner = isOwner ? caller.entityUUID : randomUUID();
          const rules = [caller.userUUID, caller.entityUUID].map((entityUUID, index): Rule => ({
            entityUUID,
            level,
            permissions: letters[index]?.join('') ?? '',
            accepted: true,
          }));
          const draft = { ...roomDraft(), type, entityOwner: owner };
          const { id } = await store.rooms.create(draft, rules, randomUUID());
          await say(store.log, writerOver(store.log, id), 'needle');
          const access = { ...draft, rules: new Map(rules.map((rule) => [rule.entityUUID, rule])) };
          const found = may(caller, access, 'r') ? 1 : 0;
          expect(await all(caller, { text: 'needle' })).toHaveLength(found);
          expect(await all(caller, { text: 'needle', roomId: id })).toHaveLength(found);

          // So many that they are found among the newest messages.
          await fill(id, { from: 4, count: MANY, content: 'needle' });
          for (const roomId of [undefined, id]) {
            const page = await store.search.page(caller, { text: 'needle', roomId, limit: 10 });
            expect(page?.messages).toHaveLength(10 * found);
          }

          await removeRule(store, id, caller.userUUID);
          await removeRule(store, id, caller.entityUUID);
          expect(await all(caller, { text: 'needle' })).toEqual([]);
          expect(await all(caller, { text: 'needle', roomId: id })).toEqual([]);
        },
      ),
      { numRuns: 15 },
    );
    // No other test looks at these thousands of messages: their words need not be stored.
    await host.database.sequelize.query(
      `INSERT INTO search_positions SELECT id, head FROM rooms
       ON CONFLICT (room_id) DO UPDATE SET upto = excluded.upto`,
    );
  });

  it('does not ask the index for a client that has gone meanwhile', async () => {
    const [caller, roomId] = await callerWithRoom();
    await fill(roomId, { from: 2, count: MANY, content: 'hay' });
    await storeAllWords();
    const gone = new AbortController();
    const reason = new Error('hung up');
    const runSearch = vi.fn<RunStatement>(host.database.runSearch);
    const { search } = storeOver({ ...host.database, runSearch });

    const searching = search.page(caller, { text: 'needle', limit: 10 }, gone.signal);
    gone.abort(reason);

    await expect(searching).rejects.toBe(reason);
    expect(runSearch).toHaveBeenCalledTimes(1);
  });

  it.each([true, false])(
    'finds no text that was replaced or deleted, if its words were stored: %s',
    async (areStored) => {
      const [caller, roomId] = await callerWithRoom();
      for (const content of ['needle', 'needle', '']) {
        await say(store.log, writerOver(store.log, roomId), content, { author: caller });
      }
      if (areStored) await storeAllWords();
      await store.changes.edit(caller, roomId, { target: 2, content: 'thread' });
      await store.changes.remove(caller, roomId, { target: 3 });
      await store.changes.edit(caller, roomId, { target: 4, content: 'thread' });

      for (let round = 0; round < 2; round += 1) {
        for (const room of [roomId, undefined]) {
          expect(await all(caller, { text: 'needle', roomId: room })).toEqual([]);
          const found = await all(caller, { text: 'thread', roomId: room });
          expect(found.map(({ seq }) => seq)).toEqual([4, 2]);
        }
        await storeAllWords();
      }
    },
  );

  it.skipIf(statements.length > 0)(
    'asks the index alone for a rare word, and not at all for a common one',
    async () => {
      const [caller, roomId] = await callerWithRoom();
      // So many that the index is asked for the messages of all rooms: then the expected number is exact.
      for (let room = 0; room < MANY_ROOMS; room += 1) await roomOf(caller);
      // The planner knows nothing of beginnings of words before it has seen a hundred words.
      const words = Array.from({ length: 120 }, (_, n) => `hay${n}`);
      await fill(roomId, { from: 2, count: TOO_MANY, content: `${words.join(' ')} stack` });
      await fill(roomId, { from: 2 + TOO_MANY, count: 1, content: 'pin' });
      await storeAllWords();
      await host.database.sequelize.query('ANALYZE message_words');
      const runSearch = vi.fn<RunStatement>(host.database.runSearch);
      const { search } = storeOver({ ...host.database, runSearch });

      const rare = await search.page(caller, { text: 'pin', limit: 10 });
      expect(rare?.messages.map(({ seq }) => seq)).toEqual([2 + TOO_MANY]);
      expect(runSearch).toHaveBeenCalledTimes(2);
      const looked = (await runSearch.mock.results[0]?.value) as readonly object[];
      expect(looked).toMatchObject([{ isRare: true, seq: null, passedAt: null }]);

      runSearch.mockClear();
      const common = await search.page(caller, { text: 'stack', limit: 10 });
      expect(common?.messages).toHaveLength(10);
      expect(runSearch).toHaveBeenCalledTimes(1);
    },
  );

  it('answers with short pages if the words stand in too many messages to order them', async () => {
    const [caller, roomId] = await callerWithRoom();
    await fill(roomId, { from: 2, count: TOO_MANY, content: 'needle' });
    await fill(roomId, { from: 2 + TOO_MANY, count: MANY, content: 'hay', later: 1_000_000 });
    await storeAllWords();

    let page = await store.search.page(caller, { text: 'needle', limit: 10 });
    expect(page?.messages).toEqual([]);
    while (page?.next !== undefined && page.messages.length === 0) {
      page = await store.search.page(caller, { text: 'needle', limit: 10, behind: page.next });
    }
    expect(page?.messages.map(({ seq }) => seq)).toEqual(
      Array.from({ length: 10 }, (_, n) => 1 + TOO_MANY - n),
    );
  });

  async function storeAllWords(): Promise<void> {
    while (await storeWords(host.database.sequelize)) continue;
  }

  async function callerWithRoom(): Promise<[caller: Caller, roomId: number]> {
    const caller = newCaller();
    return [caller, await roomOf(caller)];
  }

  /** A room that the caller may read, whose log has one entry. */
  async function roomOf({ userUUID }: Caller): Promise<number> {
    const rule = { entityUUID: userUUID, level: 0, permissions: 'rw', accepted: true };
    return (await store.rooms.create(roomDraft(), [rule], userUUID)).id;
  }

  /** Messages straight into the table; the seconds of their dates are repeated after `dates` of them. */
  async function fill(
    roomId: number,
    {
      from,
      count,
      content,
      kind = 'message',
      dates = count,
      later = 0,
    }: {
      from: number;
      count: number;
      content: string;
      kind?: EntryKind;
      dates?: number;
      later?: number;
    },
  ): Promise<void> {
    await host.database.sequelize.query(
      `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT $1, $2::bigint + n, $7, gen_random_uuid(), $4, moment, moment
       FROM generate_series(0, $3::integer - 1) AS n,
         LATERAL (SELECT date '2026-01-01' + ($6::integer + n % $5::integer) * interval '1 second' AS moment) AS dated`,
      { bind: [roomId, from, count, content, dates, later, kind], type: QueryTypes.INSERT },
    );
    await host.database.sequelize.query('UPDATE rooms SET head = $2 WHERE id = $1', {
      bind: [roomId, from + count - 1],
      type: QueryTypes.UPDATE,
    });
  }

  /** The messages of all pages. */
  async function all(caller: Caller, wanted: Omit<Wanted, 'limit'> & { limit?: number }) {
    const messages: HistoryMessage[] = [];
    let { behind } = wanted;
    do {
      const page = await store.search.page(caller, { limit: 100, ...wanted, behind });
      messages.push(...(page?.messages ?? []));
      behind = page?.next;
    } while (behind !== undefined);
    return messages;
  }
});

function newestFirst(one: HistoryMessage, other: HistoryMessage): number {
  return (
    other.createdAt.getTime() - one.createdAt.getTime() ||
    other.roomId - one.roomId ||
    other.seq - one.seq
  );
}

it('a search that takes too long is cancelled, and its connection stays', async () => {
  const host = await openPostgres();
  try {
    const { runSearch } = host.database;
    const backend = () => runSearch({ text: 'SELECT pg_backend_pid()' }, []);
    const before = await backend();

    await expect(runSearch({ text: 'SELECT pg_sleep(60)' }, [])).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      detail: 'the query took too long',
    });
    expect(await backend()).toEqual(before);
  } finally {
    await host.close();
  }
});
