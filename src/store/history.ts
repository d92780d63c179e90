import { QueryTypes, type Sequelize } from 'sequelize';
import { ENTRY_KIND_NAMES, ENTRY_KINDS } from '../protocol/entry-kinds.js';
import type { FairLimit } from './fair-limit.js';

/** A message as the history shows it; its id is its number. */
export interface HistoryMessage {
  readonly id: number;
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Instants, the first included and the last not. */
export interface Period {
  readonly from: Date;
  readonly until: Date;
}

/** Who reads: callers take turns. */
export interface Reader {
  readonly userUUID: string;
  /** Aborted when the reader is gone: then nothing is read any more. */
  readonly gone?: AbortSignal;
}

/** The messages of a room beyond a number up to another one. */
export interface Stretch {
  readonly after: number;
  readonly last: number;
  readonly period?: Period | undefined;
}

export interface HistoryPage {
  /** Oldest first; as many as one query may hold. */
  readonly messages: readonly HistoryMessage[];
  /** The messages of the page beyond those; undefined if there are none. */
  readonly rest: Stretch | undefined;
  /** The number of the page's first message, and of its last; undefined if it is empty. */
  readonly first: number | undefined;
  readonly last: number | undefined;
  /** Whether there are more beyond the page's end, in the direction in which it was asked. */
  readonly more: boolean;
}

export interface History {
  /**
   * One page by number, up to `upTo`: the first `limit` messages beyond `after`, or else the last `limit` before `before`
   * (up to `upTo`, where that is not given either).
   */
  page(
    roomId: number,
    range: {
      upTo: number;
      after?: number | undefined;
      before?: number | undefined;
      limit: number;
      period?: Period | undefined;
    },
    reader: Reader,
  ): Promise<HistoryPage>;
  /** The messages of a period, up to the number `upTo` (or the end). */
  stretchOf(
    roomId: number,
    period: Period,
    reader: Reader,
    upTo?: number,
  ): Promise<Stretch | undefined>;
  /** The messages of a stretch, so many at a time as one query may hold; none of it is empty. */
  read(
    roomId: number,
    stretch: Stretch,
    reader: Reader,
  ): AsyncGenerator<readonly HistoryMessage[], void, undefined>;
}

interface MessageRow extends Omit<HistoryMessage, 'id' | 'content'> {
  /** Null if it is beyond what the query may hold. */
  readonly content: string | null;
}

/** The first or the last messages of a stretch. */
interface Part {
  readonly limit: number;
  readonly order: 'ASC' | 'DESC';
}

/** What a query of `stretchOf` found of a period. */
interface Dated {
  readonly entries: number;
  /** Null if there are none. */
  readonly first: number | null;
  readonly last: number | null;
  /** The last date among them: all entries with this date are. */
  readonly ended_at: Date;
}

const LAST_NUMBER = Number.MAX_SAFE_INTEGER;
/**
 * Entries that one query passes at most, whatever it looks for: a few milliseconds, after which others have their turn,
 * and nothing more is read for who is gone.
 */
const ENTRIES_A_QUERY = 10_000;
/** Messages of one query while a stretch is read. */
const PERIOD_PAGE_MESSAGES = 250;
/**
 * Bytes of text of one query, but for its last message; as JSON they are up to six times as many. An answer that
 * nobody reads holds two of them.
 */
const PAGE_BYTES = 32_768;

/** @param readers bounds the queries at a time, by the reader's userUUID */
export function createHistory({
  sequelize,
  readers,
}: {
  sequelize: Sequelize;
  readers: FairLimit<string>;
}): History {
  function query<Row extends object>(
    sql: string,
    bind: unknown[],
    { userUUID, gone }: Reader,
  ): Promise<Row[]> {
    return readers.run(
      userUUID,
      () => sequelize.query<Row>(sql, { bind, type: QueryTypes.SELECT }),
      gone,
    );
  }

  /** The first or the last messages of a window, oldest first, with as much text as a query may hold. */
  function take(
    roomId: number,
    window: Stretch,
    { limit, order }: Part,
    reader: Reader,
  ): Promise<MessageRow[]> {
    return query<MessageRow>(
      `SELECT room_id, seq, emitter, CASE WHEN bytes_before < ${PAGE_BYTES} THEN content END AS content,
         "createdAt", "updatedAt"
       FROM (
         SELECT *, sum(octet_length(content)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
           - octet_length(content) AS bytes_before
         FROM (
           SELECT room_id, seq, emitter, content, "createdAt", "updatedAt" FROM messages
           WHERE ${MESSAGES} ORDER BY seq ${order} LIMIT $4
         ) AS taken
       ) AS measured
       ORDER BY seq`,
      bindOf(roomId, window, limit),
      reader,
    );
  }

  /** The numbers of the first or the last messages of a stretch, in that order. */
  async function find(
    roomId: number,
    stretch: Stretch,
    { limit, order }: Part,
    reader: Reader,
  ): Promise<number[]> {
    const found: number[] = [];
    let rest = stretch;
    while (found.length < limit && rest.after < rest.last) {
      const window = windowOf(rest, order);
      const rows = await query<{ seq: number }>(
        `SELECT seq FROM messages WHERE ${MESSAGES} ORDER BY seq ${order} LIMIT $4`,
        bindOf(roomId, window, limit - found.length),
        reader,
      );
      for (const { seq } of rows) found.push(seq);
      rest = order === 'ASC' ? { ...rest, after: window.last } : { ...rest, last: window.after };
    }
    return found;
  }

  /** In the order of dates, which is not that of numbers where a clock was set back. */
  async function stretchOf(
    roomId: number,
    period: Period,
    reader: Reader,
    upTo = LAST_NUMBER,
  ): Promise<Stretch | undefined> {
    let first = Infinity;
    let last = 0;
    let { from } = period;
    for (let more = true; more;) {
      const [part] = await query<Dated>(
        `SELECT count(*) AS entries, min(seq) AS first, max(seq) AS last, max("createdAt") AS ended_at
         FROM (
           SELECT seq, "createdAt" FROM messages
           WHERE room_id = $1 AND "createdAt" >= $2 AND "createdAt" < $3
           ORDER BY "createdAt" FETCH FIRST ${ENTRIES_A_QUERY} ROWS WITH TIES
         ) AS part`,
        [roomId, from, period.until],
        reader,
      );
      if (part === undefined || part.first === null || part.last === null) break;
      first = Math.min(first, part.first);
      last = Math.max(last, part.last);
      // Dates have milliseconds.
      from = new Date(part.ended_at.getTime() + 1);
      more = part.entries >= ENTRIES_A_QUERY;
    }
    if (last === 0) return undefined;
    return { after: first - 1, last: Math.min(last, upTo), period };
  }

  return {
    async page(roomId, { upTo, after, before, limit, period }, reader) {
      const last = Math.min(upTo, (before ?? LAST_NUMBER) - 1);
      const asked = { after: after ?? 0, last, period };
      // One more than asked for tells whether there is more.
      const part: Part = { limit: limit + 1, order: after === undefined ? 'DESC' : 'ASC' };
      const window = windowOf(asked, part.order);
      const rows = await take(roomId, window, part, reader);
      if (rows.length > limit || (window.after === asked.after && window.last === asked.last)) {
        return nearPage(rows, part, period);
      }
      // They are far apart, or where a period is.
      const dated = period && (await stretchOf(roomId, period, reader));
      const far = period ? common(asked, dated) : asked;
      return farPage(await find(roomId, far, part, reader), part, period);
    },

    stretchOf,

    async *read(roomId, stretch, reader) {
      let { after } = stretch;
      while (after < stretch.last) {
        const window = windowOf({ ...stretch, after }, 'ASC');
        const rows = await take(
          roomId,
          window,
          { limit: PERIOD_PAGE_MESSAGES, order: 'ASC' },
          reader,
        );
        const messages = held(rows);
        if (messages.length > 0) yield messages;
        const isWhole = rows.length < PERIOD_PAGE_MESSAGES && messages.length === rows.length;
        after = isWhole ? window.last : (messages.at(-1)?.seq ?? window.last);
      }
    },
  };
}

const KINDS = ENTRY_KIND_NAMES.filter((kind) => ENTRY_KINDS[kind].isInHistory).map(
  (kind) => `'${kind}'`,
);

/** What is a message of a window, by `bindOf`. Its date is looked at, but not looked up: that is bounded by nothing. */
const MESSAGES = `room_id = $1 AND seq > $2 AND seq <= $3 AND kind IN (${KINDS.join(', ')})
  AND ("createdAt" >= $5::timestamptz AND "createdAt" < $6::timestamptz) IS NOT FALSE`;

function bindOf(roomId: number, { after, last, period }: Stretch, limit: number): unknown[] {
  return [roomId, after, last, limit, period?.from ?? null, period?.until ?? null];
}

/** The part of a stretch that is next in an order: as much as one query may pass, as numbers have no gaps. */
function windowOf({ after, last, period }: Stretch, order: Part['order']): Stretch {
  return order === 'ASC'
    ? { after, last: Math.min(last, after + ENTRIES_A_QUERY), period }
    : { after: Math.max(after, last - ENTRIES_A_QUERY), last, period };
}

/** What of a stretch is in another one. */
function common(stretch: Stretch, other: Stretch | undefined): Stretch {
  const { after, last } = other ?? { after: 0, last: 0 };
  return {
    ...stretch,
    after: Math.max(stretch.after, after),
    last: Math.min(stretch.last, last),
  };
}

/** A page whose messages one query has found, one more than asked for among them. */
function nearPage(
  rows: MessageRow[],
  { limit, order }: Part,
  period: Period | undefined,
): HistoryPage {
  const more = rows.length === limit;
  if (more && order === 'ASC') rows.pop();
  else if (more) rows.shift();
  const messages = held(rows);
  const first = rows[0]?.seq;
  const last = rows.at(-1)?.seq;
  const isWhole = messages.length === rows.length || first === undefined || last === undefined;
  const rest = isWhole ? undefined : { after: messages.at(-1)?.seq ?? first - 1, last, period };
  return { messages, rest, first, last, more };
}

/** A page of which only the numbers are known, one more than asked for among them. */
function farPage(
  numbers: readonly number[],
  { limit, order }: Part,
  period: Period | undefined,
): HistoryPage {
  const more = numbers.length === limit;
  const asked = more ? numbers.slice(0, -1) : numbers;
  const [first, last] = order === 'ASC' ? [asked[0], asked.at(-1)] : [asked.at(-1), asked[0]];
  const isEmpty = first === undefined || last === undefined;
  const rest = isEmpty ? undefined : { after: first - 1, last, period };
  return { messages: [], rest, first, last, more };
}

/** The messages of a query whose text it has. */
function held(rows: readonly MessageRow[]): HistoryMessage[] {
  const messages: HistoryMessage[] = [];
  for (const { room_id, seq, emitter, content, createdAt, updatedAt } of rows) {
    if (content === null) break;
    messages.push({ id: seq, room_id, seq, emitter, content, createdAt, updatedAt });
  }
  return messages;
}
