import { QueryTypes, type Sequelize } from 'sequelize';
import { ENTRY_KIND_NAMES, ENTRY_KINDS } from '../protocol/entry-kinds.js';
import type { FairLimit } from './fair-limit.js';

/** A message as the history has it. */
export interface HistoryMessage {
  readonly roomId: number;
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** Seq of the edit whose text it has; null if it was not edited. */
  readonly textSeq: number | null;
}

/** From `from`, inclusive, to `until`, exclusive. */
export interface Period {
  readonly from: Date;
  readonly until: Date;
}

/** The user who reads: users take turns. */
export interface Reader {
  readonly userUUID: string;
  /** Aborted when the client is gone: then nothing more is read. */
  readonly gone?: AbortSignal;
}

/** The messages of a room with seqs from `after`, exclusive, to `last`, inclusive, of a period if one is given. */
export interface Stretch {
  readonly after: number;
  readonly last: number;
  readonly period?: Period | undefined;
}

export interface HistoryPage {
  /** The page's first messages, oldest first: as many as one query may return. */
  readonly messages: readonly HistoryMessage[];
  /** The other messages of the page, for `read`; undefined if there are none. */
  readonly rest: Stretch | undefined;
  /** Seqs of the page's first and last message; undefined if it is empty. */
  readonly first: number | undefined;
  readonly last: number | undefined;
  /** Whether messages follow the page, in the direction in which it was asked for. */
  readonly more: boolean;
}

export interface History {
  /**
   * A page of `limit` messages that are not deleted, with their texts as they are now: the first ones after `after` if that is given, else the last ones before `before`, else
   * the last ones. None is beyond `upTo`.
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
  /** The messages of a period, up to the seq `upTo` if given; undefined if there are none. */
  stretchOf(
    roomId: number,
    period: Period,
    reader: Reader,
    upTo?: number,
  ): Promise<Stretch | undefined>;
  /** The messages of a stretch, in non-empty pages of one query each. */
  read(
    roomId: number,
    stretch: Stretch,
    reader: Reader,
  ): AsyncGenerator<readonly HistoryMessage[], void, undefined>;
}

interface MessageRow extends Omit<HistoryMessage, 'content'> {
  /** Null for messages beyond the bytes that one query may return. */
  readonly content: string | null;
}

/** The first or the last messages of a stretch. */
interface Part {
  readonly limit: number;
  readonly order: 'ASC' | 'DESC';
}

/** A part of a period, as one query of `stretchOf` found it. */
interface Dated {
  readonly entries: number;
  /** Null if there are none. */
  readonly first: number | null;
  readonly last: number | null;
  /** The date of the last of them. All entries with this date are among them. */
  readonly endedAt: Date;
}

const LAST_SEQ = Number.MAX_SAFE_INTEGER;
/**
 * Entries that one query passes at most, however few of them it looks for. It takes a few milliseconds; then other
 * callers have their turn, and a client that is gone costs nothing more.
 */
const ENTRIES_A_QUERY = 10_000;
/** Messages of one query of `read`: as many as a page of the catch-up over the socket. */
const PERIOD_PAGE_MESSAGES = 250;
/**
 * Bytes of text after which a query returns no further message. An answer that nobody reads holds two such pages, and
 * JSON may take six times the bytes (\u0001): 400 KB a connection.
 */
const PAGE_BYTES = 32_768;

/** @param readers bounds the queries that run at a time; its keys are users */
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

  /** The first or the last messages of a window, oldest first, with as much text as a query may return. */
  function readMessages(
    roomId: number,
    window: Stretch,
    { limit, order }: Part,
    reader: Reader,
  ): Promise<MessageRow[]> {
    return query<MessageRow>(
      `SELECT room_id AS "roomId", seq, emitter,
         CASE WHEN bytes_before < ${PAGE_BYTES} THEN content END AS content, "createdAt", "updatedAt",
         text_seq AS "textSeq"
       FROM (
         SELECT *, sum(octet_length(content)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
           - octet_length(content) AS bytes_before
         FROM (
           SELECT room_id, seq, emitter, content, "createdAt", "updatedAt", text_seq FROM messages
           WHERE ${MESSAGES} ORDER BY seq ${order} LIMIT $4
         ) AS taken
       ) AS measured
       ORDER BY seq`,
      bindOf(roomId, window, limit),
      reader,
    );
  }

  /** The seqs of the first messages of a stretch, ascending, or of its last ones, descending. */
  async function findSeqs(
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

  /** By dates: seqs are in another order if a clock was set back. */
  async function stretchOf(
    roomId: number,
    period: Period,
    reader: Reader,
    upTo = LAST_SEQ,
  ): Promise<Stretch | undefined> {
    let first = Infinity;
    let last = 0;
    let { from } = period;
    for (let more = true; more;) {
      const [part] = await query<Dated>(
        `SELECT count(*) AS entries, min(seq) AS first, max(seq) AS last, max("createdAt") AS "endedAt"
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
      // Dates are whole milliseconds.
      from = new Date(part.endedAt.getTime() + 1);
      more = part.entries >= ENTRIES_A_QUERY;
    }
    if (last === 0) return undefined;
    return { after: first - 1, last: Math.min(last, upTo), period };
  }

  return {
    async page(roomId, { upTo, after, before, limit, period }, reader) {
      const last = Math.min(upTo, (before ?? LAST_SEQ) - 1);
      const asked = { after: after ?? 0, last, period };
      // One more than asked for, to know whether there are more.
      const part: Part = { limit: limit + 1, order: after === undefined ? 'DESC' : 'ASC' };
      const window = windowOf(asked, part.order);
      const rows = await readMessages(roomId, window, part, reader);
      if (rows.length > limit || (window.after === asked.after && window.last === asked.last)) {
        return nearPage(rows, part, period);
      }
      // The first window did not fill the page: its messages are far apart, or a period is elsewhere.
      const dated = period && (await stretchOf(roomId, period, reader));
      const far = period ? intersection(asked, dated) : asked;
      return farPage(await findSeqs(roomId, far, part, reader), part, period);
    },

    stretchOf,

    async *read(roomId, stretch, reader) {
      let { after } = stretch;
      while (after < stretch.last) {
        const window = windowOf({ ...stretch, after }, 'ASC');
        const rows = await readMessages(
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

/**
 * The condition of a window's messages, with the values of `bindOf`. Written so that no plan uses the index of dates,
 * by which the number of entries passed has no bound.
 */
const MESSAGES = `room_id = $1 AND seq > $2 AND seq <= $3 AND kind IN (${KINDS.join(', ')})
  AND deleted_by IS NULL AND ("createdAt" >= $5::timestamptz AND "createdAt" < $6::timestamptz) IS NOT FALSE`;

function bindOf(roomId: number, { after, last, period }: Stretch, limit: number): unknown[] {
  return [roomId, after, last, limit, period?.from ?? null, period?.until ?? null];
}

/**
 * The first or the last part of a stretch, as long as one query may pass: seqs have no gaps, so it is a range of them.
 */
function windowOf({ after, last, period }: Stretch, order: Part['order']): Stretch {
  return order === 'ASC'
    ? { after, last: Math.min(last, after + ENTRIES_A_QUERY), period }
    : { after: Math.max(after, last - ENTRIES_A_QUERY), last, period };
}

/** The intersection of two stretches; empty if the other one is undefined. */
function intersection(stretch: Stretch, other: Stretch | undefined): Stretch {
  const { after, last } = other ?? { after: 0, last: 0 };
  return {
    ...stretch,
    after: Math.max(stretch.after, after),
    last: Math.min(stretch.last, last),
  };
}

/** A page whose messages were found by one query, with one more than asked for. */
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

/** A page of which only the seqs are known, with one more than asked for. */
function farPage(
  seqs: readonly number[],
  { limit, order }: Part,
  period: Period | undefined,
): HistoryPage {
  const more = seqs.length === limit;
  const asked = more ? seqs.slice(0, -1) : seqs;
  const [first, last] = order === 'ASC' ? [asked[0], asked.at(-1)] : [asked.at(-1), asked[0]];
  const isEmpty = first === undefined || last === undefined;
  const rest = isEmpty ? undefined : { after: first - 1, last, period };
  return { messages: [], rest, first, last, more };
}

/** The rows with their text: those before the first one that lacks it. */
function held(rows: readonly MessageRow[]): HistoryMessage[] {
  return rows.filter((row): row is HistoryMessage => row.content !== null);
}
