import { QueryTypes, type Sequelize } from 'sequelize';
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

export interface Page {
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
   * One page by number, up to `upTo` (or the end): the first `limit` messages beyond `after`, or else the last `limit`
   * before `before` (before the end, where that is not given either).
   */
  page(
    roomId: number,
    range: {
      upTo?: number | undefined;
      after?: number | undefined;
      before?: number | undefined;
      limit: number;
      period?: Period | undefined;
    },
    reader: Reader,
  ): Promise<Page>;
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

const LAST_NUMBER = Number.MAX_SAFE_INTEGER;
/** Messages of one query while a stretch is read. */
const PAGE = 250;
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

  /** The first or the last `limit` messages of a stretch, oldest first, with as much text as a query may hold. */
  function take(
    roomId: number,
    { after, last, period }: Stretch,
    { limit, order }: { limit: number; order: 'ASC' | 'DESC' },
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
           WHERE room_id = $1 AND kind = 'message' AND seq > $2 AND seq <= $3
             ${period ? 'AND "createdAt" >= $5 AND "createdAt" < $6' : ''}
           ORDER BY seq ${order} LIMIT $4
         ) AS taken
       ) AS measured
       ORDER BY seq`,
      [roomId, after, last, limit, ...(period ? [period.from, period.until] : [])],
      reader,
    );
  }

  return {
    async page(roomId, { upTo = LAST_NUMBER, after, before, limit, period }, reader) {
      const order = after === undefined ? 'DESC' : 'ASC';
      const last = Math.min(upTo, (before ?? LAST_NUMBER) - 1);
      const asked = { after: after ?? 0, last, period };
      // One more than asked for tells whether there is more.
      const rows = await take(roomId, asked, { limit: limit + 1, order }, reader);
      const more = rows.length > limit;
      if (more && order === 'ASC') rows.pop();
      else if (more) rows.shift();
      const messages = held(rows);
      const first = rows[0]?.seq;
      const end = rows.at(-1)?.seq;
      const isWhole = messages.length === rows.length || first === undefined || end === undefined;
      const rest = isWhole
        ? undefined
        : { after: messages.at(-1)?.seq ?? first - 1, last: end, period };
      return { messages, rest, first, last: end, more };
    },

    async stretchOf(roomId, period, reader, upTo = LAST_NUMBER) {
      // `seq + 0`: a bare min(seq) would be read off the primary key, past all that is older.
      const [bounds] = await query<{ first: number | null; last: number | null }>(
        `SELECT min(seq + 0) AS first, max(seq + 0) AS last FROM messages
         WHERE room_id = $1 AND "createdAt" >= $2 AND "createdAt" < $3`,
        [roomId, period.from, period.until],
        reader,
      );
      if (bounds === undefined || bounds.first === null || bounds.last === null) return undefined;
      return { after: bounds.first - 1, last: Math.min(bounds.last, upTo), period };
    },

    async *read(roomId, stretch, reader) {
      let { after } = stretch;
      for (;;) {
        const rows = await take(
          roomId,
          { ...stretch, after },
          { limit: PAGE, order: 'ASC' },
          reader,
        );
        const messages = held(rows);
        const last = messages.at(-1);
        if (last === undefined) return;
        yield messages;
        if (rows.length < PAGE && messages.length === rows.length) return;
        after = last.seq;
      }
    },
  };
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
