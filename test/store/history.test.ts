import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type {
  History,
  HistoryMessage,
  HistoryPage,
  Period,
  Reader,
} from '../../src/store/history.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { addRule, emptyRoom, newCaller, roomOf, say, TestWriter } from '../harness/writers.js';

type PageRange = Parameters<History['page']>[1];

/** The head of the room of most tests. */
const HEAD = 11;

describe.each(storeHosts)('the history over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  /** Messages `1` to `10` with the numbers 1 to 5 and 7 to 11: the sixth entry is a rule. */
  let room: number;
  const author = newCaller();

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    room = await emptyRoom(store);
    const elsewhere = new TestWriter(await emptyRoom(store));
    const writer = new TestWriter(room);
    for (let n = 1; n <= 10; n += 1) {
      if (n === 6) {
        await addRule(store, room);
        writer.rulesHead = 6;
      }
      await say(store.log, writer, `${n}`, { author, ref: `ref ${n}` });
      await say(store.log, elsewhere, 'elsewhere');
    }
    await datedByNumber(room);
  });
  afterAll(() => host.close());

  describe('in pages', () => {
    it.each([
      ['from the beginning', { after: 0, limit: 3 }, [1, 2, 3], true],
      ['behind a message', { after: 3, limit: 3 }, [4, 5, 7], true],
      ['behind a number that is no message', { after: 6, limit: 2 }, [7, 8], true],
      ['up to the end', { after: 8, limit: 3 }, [9, 10, 11], false],
      ['at the end', { after: 11, limit: 3 }, [], false],
      ['the last ones', { limit: 3 }, [9, 10, 11], true],
      ['before a message', { before: 9, limit: 3 }, [5, 7, 8], true],
      ['back to the beginning', { before: 4, limit: 3 }, [1, 2, 3], false],
      ['before the beginning', { before: 1, limit: 3 }, [], false],
      ['between two messages', { after: 2, before: 9, limit: 3 }, [3, 4, 5], true],
      ['all there is', { limit: 1_000 }, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11], false],
    ])('gives messages %s, oldest first', async (_, range, seqs, more) => {
      const page = await store.history.page(room, { upTo: HEAD, ...range }, author);

      expect(seqsOf(page.messages)).toEqual(seqs);
      expect(page.more).toBe(more);
    });

    it('gives each message as it was stored', async () => {
      const { messages } = await store.history.page(
        room,
        { upTo: HEAD, after: 6, limit: 1 },
        author,
      );

      expect(messages).toEqual([
        {
          roomId: room,
          seq: 7,
          emitter: author.userUUID,
          content: '6',
          ref: 'ref 6',
          data: null,
          replyTo: null,
          mentions: null,
          reactions: null,
          replies: 0,
          rev: null,
          textSeq: null,
          createdAt: secondOf(7),
          updatedAt: expect.any(Date) as Date,
        },
      ]);
    });

    it('gives messages as they are now, without deleted ones', async () => {
      const writer = await roomOf(store, [[author, 'rw']]);
      const seqs: number[] = [];
      for (const text of ['a', 'b', 'c']) {
        seqs.push((await say(store.log, writer, text, { author })).seq);
      }
      const [first = 0, second = 0, third = 0] = seqs;
      const edit = { target: first, content: 'edited' };
      const { seq: textSeq } = await store.changes.edit(author, writer.roomId, edit);
      await store.changes.remove(author, writer.roomId, { target: second });

      const page = await store.history.page(writer.roomId, { upTo: third, limit: 2 }, author);

      expect(page).toMatchObject({ first, last: third, more: false });
      expect(page.messages.map(({ seq, content, textSeq }) => ({ seq, content, textSeq }))).toEqual(
        [
          { seq: first, content: 'edited', textSeq },
          { seq: third, content: 'c', textSeq: null },
        ],
      );
      const { createdAt, updatedAt } = page.messages[0] ?? {};
      expect(Number(updatedAt)).toBeGreaterThanOrEqual(Number(createdAt));
    });

    it('keeps to a period', async () => {
      const range = { upTo: HEAD, limit: 3, period: { from: secondOf(3), until: secondOf(9) } };

      const forwards = await store.history.page(room, { ...range, after: 3 }, author);
      const backwards = await store.history.page(room, range, author);

      expect(seqsOf(forwards.messages)).toEqual([4, 5, 7]);
      expect(seqsOf(backwards.messages)).toEqual([5, 7, 8]);
      expect(forwards.more).toBe(true);
    });

    it('is empty for a room that does not exist', async () => {
      const page = await store.history.page(2_147_483_647, { upTo: 9, limit: 3 }, author);

      expect(page).toMatchObject({ messages: [], more: false, rest: undefined });
    });
  });

  describe('by period', () => {
    it.each([
      ['its first instant is included and its last not', 3, 8, [3, 4, 5, 7]],
      ['it may begin and end between messages', 0.5, 2.5, [1, 2]],
      ['it may hold all', 0, 100, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]],
      ['it may hold a rule only', 6, 7, []],
      ['it may be before all', -2, -1, []],
      ['it may end before it begins', 8, 3, []],
    ])('gives its messages: %s', async (_, from, until, seqs) => {
      const pages = await pagesOf({ from: secondOf(from), until: secondOf(until) });

      expect(seqsOf(pages.flat())).toEqual(seqs);
    });

    it('gives each message once, however many there are', async () => {
      const large = await emptyRoom(store);
      const writer = new TestWriter(large);
      const texts = Array.from({ length: 2_345 }, (_, n) => `${n}`);
      await Promise.all(texts.map((text) => say(store.log, writer, text)));
      await addRule(store, large);
      await datedByNumber(large);

      const pages = await pagesOf({ from: secondOf(0), until: secondOf(10_000) }, large);

      expect(pages.every((page) => page.length > 0 && page.length <= 1_000)).toBe(true);
      expect(pages.flat().map(({ content }) => content)).toEqual(texts);
    });

    it('ends with the last message at the time of the request', async () => {
      const live = await emptyRoom(store);
      const writer = new TestWriter(live);
      await Promise.all(Array.from({ length: 1_001 }, () => say(store.log, writer, 'before')));

      const contents: string[] = [];
      for await (const page of readAlways(live)) {
        contents.push(...page.map(({ content }) => content));
        await say(store.log, writer, 'meanwhile');
      }

      expect(contents).toEqual(Array.from({ length: 1_001 }, () => 'before'));
    });
  });

  describe('of long messages', () => {
    /** A message of 8,000 characters, of one byte or of four each. */
    const texts = Array.from({ length: 60 }, (_, n) =>
      (n % 5 === 0 ? '\u{1f600}' : '\u0001').repeat(8_000 - 20 * n),
    );
    let long: number;

    beforeAll(async () => {
      long = await emptyRoom(store);
      const writer = new TestWriter(long);
      for (const text of texts) await say(store.log, writer, text);
    });

    it('gives few at a time, and each once', async () => {
      const read: string[] = [];
      for await (const page of readAlways(long)) {
        expectBounded(page);
        read.push(...page.map(({ content }) => content));
      }

      expect(read).toEqual(texts);
    });

    it.each([
      ['the last', { limit: 50 }, 10, 60],
      ['the first', { after: 0, limit: 50 }, 0, 50],
      ['all', { after: 0, limit: 1_000 }, 0, 60],
      ['those before a long one', { before: 57, limit: 17 }, 39, 56],
    ])('gives the start of a page, and the range of its rest: %s', async (_, range, from, to) => {
      const page = await store.history.page(long, { upTo: 60, ...range }, author);

      expectBounded(page.messages);
      expect(page).toMatchObject({ first: from + 1, last: to, more: range.limit < 60 });
      const contents = (await whole(long, page)).map(({ content }) => content);
      expect(contents).toEqual(texts.slice(from, to));
    });

    it('reads nothing more for a client that is gone', async () => {
      const gone = new AbortController();
      const reason = new Error('hung up');
      const pages = readAlways(long, { ...author, gone: gone.signal });
      await pages.next();
      const { sequelize } = host.database;
      const query = vi.spyOn(sequelize, 'query');

      gone.abort(reason);

      await expect(pages.next()).rejects.toBe(reason);
      expect(query).not.toHaveBeenCalled();
      query.mockRestore();
    });

    function expectBounded(messages: readonly HistoryMessage[]): void {
      const bytes = messages.map(({ content }) => Buffer.byteLength(content));
      // The last message may be longer than the rest of the limit.
      const withoutLast = bytes.slice(0, -1).reduce((sum, one) => sum + one, 0);
      expect(withoutLast).toBeLessThan(32_768);
    }
  });

  describe('of a log in which messages are far apart', () => {
    const upTo = 40_000;
    let sparse: number;

    beforeAll(async () => {
      sparse = await emptyRoom(store);
      const { sequelize } = host.database;
      // The first hundred and the last hundred are messages, and one in the middle; the others are rules.
      await sequelize.query(
        `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
         SELECT $1::int, seq, CASE WHEN seq <= 100 OR seq = 20000 OR seq > 39900 THEN 'message' ELSE 'member' END,
           $2, seq::text, to_timestamp(1767225600 + seq), now()
         FROM generate_series(1, $3::int) AS seq`,
        { bind: [sparse, author.userUUID, upTo] },
      );
      // A clock was wrong by weeks for a while.
      await sequelize.query(
        `UPDATE messages SET "createdAt" = "createdAt" + interval '30 days'
         WHERE room_id = $1 AND seq BETWEEN 11 AND 20`,
        { bind: [sparse] },
      );
      await sequelize.query('ANALYZE messages');
    });

    const ofMiddle = { from: secondOf(19_000), until: secondOf(21_000) };
    const ofFirst = { from: secondOf(1), until: secondOf(31) };
    const wrong = { from: secondOf(30 * 86_400), until: secondOf(31 * 86_400) };
    const none = { from: secondOf(100_000), until: secondOf(200_000) };

    it.each<[string, Omit<PageRange, 'upTo'>, number[], boolean]>([
      [
        'the last, which are not all near',
        { limit: 150 },
        [...numbers(52, 100), 20_000, ...numbers(39_901, 40_000)],
        true,
      ],
      [
        'the first, which are not all near',
        { after: 90, limit: 12 },
        [...numbers(91, 100), 20_000, 39_901],
        true,
      ],
      [
        'all there are',
        { limit: 1_000 },
        [...numbers(1, 100), 20_000, ...numbers(39_901, 40_000)],
        false,
      ],
      ['behind a number far from them', { after: 101, limit: 1 }, [20_000], true],
      ['before a number far from them', { before: 39_900, limit: 2 }, [100, 20_000], true],
      ['between two numbers', { after: 20_000, before: 39_900, limit: 5 }, [], false],
      ['of a far period', { limit: 5, period: ofFirst }, [...numbers(26, 30)], true],
      [
        'of a far period, from its beginning',
        { after: 20, limit: 5, period: ofFirst },
        [...numbers(21, 25)],
        true,
      ],
      ['of a period with one', { after: 0, limit: 5, period: ofMiddle }, [20_000], false],
      [
        'of a period of a clock that was wrong',
        { limit: 50, period: wrong },
        numbers(11, 20),
        false,
      ],
      ['of a period without any', { limit: 50, period: none }, [], false],
    ])('gives a page: %s', async (_, asked, seqs, more) => {
      const page = await store.history.page(sparse, { upTo, ...asked }, author);

      expect(seqsOf(await whole(sparse, page))).toEqual(seqs);
      expect(page).toMatchObject({ first: seqs[0], last: seqs.at(-1), more });
    });

    it.each([
      [
        'all of it',
        { from: secondOf(0), until: secondOf(10_000_000) },
        [...numbers(1, 100), 20_000, ...numbers(39_901, 40_000)],
      ],
      [
        'a clock that was wrong',
        { from: secondOf(1), until: secondOf(31) },
        [...numbers(1, 10), ...numbers(21, 30)],
      ],
      [
        'the end, and what a wrong clock puts there',
        { from: secondOf(39_999), until: secondOf(10_000_000) },
        [...numbers(11, 20), 39_999, 40_000],
      ],
      ['none', none, []],
    ])(
      'gives the messages of a period, in the order of their numbers: %s',
      async (_, period, seqs) => {
        const pages = await pagesOf(period, sparse);

        expect(pages.every(({ length }) => length > 0)).toBe(true);
        expect(seqsOf(pages.flat())).toEqual(seqs);
      },
    );
  });

  async function whole(roomId: number, { messages, rest }: HistoryPage): Promise<HistoryMessage[]> {
    const all = [...messages];
    if (rest === undefined) return all;
    for await (const page of store.history.read(roomId, rest, author)) all.push(...page);
    return all;
  }

  it('gives any text as it was sent', async () => {
    const texts = [
      '👩‍👩‍👧 ñandú',
      'e\u0301 is not \u00e9',
      '\u202Eabc\u2028',
      '\uFFFF\u0001\t\r\n',
      ' ',
    ];
    const writer = new TestWriter(await emptyRoom(store));
    await Promise.all(texts.map((text) => say(store.log, writer, text)));

    const { messages } = await store.history.page(
      writer.roomId,
      { upTo: texts.length, limit: 10 },
      author,
    );

    expect(messages.map(({ content }) => content)).toEqual(texts);
  });

  async function pagesOf(period: Period, roomId = room): Promise<HistoryMessage[][]> {
    const pages: HistoryMessage[][] = [];
    for await (const page of read(roomId, period)) pages.push([...page]);
    return pages;
  }

  async function* read(
    roomId: number,
    period: Period,
    reader: Reader = author,
  ): AsyncGenerator<readonly HistoryMessage[]> {
    const stretch = await store.history.stretchOf(roomId, period, reader);
    if (stretch !== undefined) yield* store.history.read(roomId, stretch, reader);
  }

  function readAlways(roomId: number, reader?: Reader): AsyncGenerator<readonly HistoryMessage[]> {
    return read(roomId, { from: new Date(0), until: new Date('2999-01-01') }, reader);
  }

  /** Dates each entry of a room at the second of its number. */
  async function datedByNumber(roomId: number): Promise<void> {
    await host.database.sequelize.query(
      `UPDATE messages SET "createdAt" = to_timestamp(1767225600 + seq) WHERE room_id = $1`,
      { bind: [roomId] },
    );
  }
});

function secondOf(seq: number): Date {
  return new Date(Date.UTC(2026, 0, 1) + seq * 1000);
}

/** The numbers from one to another, both included. */
function numbers(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, n) => first + n);
}

function seqsOf(messages: readonly HistoryMessage[]): number[] {
  return messages.map(({ seq }) => seq);
}
