import { QueryTypes, type Sequelize } from 'sequelize';
import { ENTRY_KIND_NAMES, ENTRY_KINDS } from '../protocol/entry-kinds.js';
import type { FairLimit } from './fair-limit.js';
import type { LogPlace } from './lock-room.js';
import { messageColumns, type EmojiCount } from './message-columns.js';
import type { Replica } from './replica.js';

/** A message as the history has it: as it is now. */
export interface HistoryMessage {
  readonly roomId: number;
  readonly seq: number;
  readonly emitter: string;
  /** The sender's own name for it; null if there is none, or if somebody else reads. */
  readonly ref: string | null;
  /** Empty only beside `data`. */
  readonly content: string;
  /** A JSON object, as text. */
  readonly data: string | null;
  /** Seq of the message that it answers. */
  readonly replyTo: number | null;
  /** UUIDs of users and of entities. */
  readonly mentions: readonly string[] | null;
  /** The emojis that are on, in the order in which they were put on; null if there are none. */
  readonly reactions: readonly EmojiCount[] | null;
  /** How many messages that are not deleted answer it; 100 means 100 or more. */
  readonly replies: number;
  /** Seq of the last entry that changed it; null if none did. */
  readonly rev: number | null;
  /** Seq of the edit whose text it has; null if it was not edited. */
  readonly textSeq: number | null;
  readonly createdAt: Date;
  /** When it got the text that it has. */
  readonly updatedAt: Date;
}

/** From `from`, inclusive, to `until`, exclusive. */
export interface Period {
  readonly from: Date;
  readonly until: Date;
}

/** The user who reads: users take turns. */
export interface Reader {
  readonly userUUID: string;
  /** The end of the room's log as they know it: a replica that has it may be read. Undefined: none is. */
  readonly seen?: LogPlace;
  /** Aborted when the client is gone: then nothing more is read. */
  readonly gone?: AbortSignal;
}

/** The messages of a room with seqs from `after`, exclusive, to `last`, inclusive, of a period and a thread if given. */
export interface Stretch {
  readonly after: number;
  readonly last: number;
  readonly period?: Period | undefined;
  /** Seq of a message: only this one, and those that answer it. */
  readonly thread?: number | undefined;
  /** The head at which replies are counted. */
  readonly head: number;
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
   * A page of `limit` messages that are not deleted, as they are now: the first ones after `after` if that is given,
   * else the last ones before `before`, else the last ones. None is beyond `upTo`, the room's head, and the log up to
   * `horizon` is gone.
   */
  page(
    roomId: number,
    range: {
      upTo: number;
      horizon?: number;
      after?: number | undefined;
      before?: number | undefined;
      limit: number;
      period?: Period | undefined;
      thread?: number | undefined;
    },
    reader: Reader,
  ): Promise<HistoryPage>;
  /** The message with a seq, or that it was deleted; undefined if there is none. Replies are counted up to `head`. */
  one(
    roomId: number,
    seq: number,
    head: number,
    reader: Reader,
  ): Promise<HistoryMessage | 'deleted' | undefined>;
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

/** A message at a place; nulls if it is beyond the bytes that one query may return. */
type MessageRow = { readonly place: number } & (HistoryMessage | { readonly seq: null });

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
 * Bytes after which a query returns no further message. An answer that nobody reads holds two such pages, and JSON may
 * take six times the bytes (\u0001): 400 KB a connection.
 */
const PAGE_BYTES = 32_768;
/** The bytes of a message `m`: of its texts, of mentions in JSON, and of the reactions of one that many react to. */
const BYTES = `octet_length(content) + coalesce(octet_length(data), 0) + 40 * coalesce(cardinality(mentions), 0)
  + CASE WHEN rev IS NULL THEN 0 ELSE 512 END`;

/** @param readers bounds the queries that run at a time; its keys are users */
export function createHistory({
  sequelize,
  replica,
  readers,
}: {
  sequelize: Sequelize;
  replica?: Replica | undefined;
  readers: FairLimit<string>;
}): History {
  /** Runs a query about the room that is the first value, on the replica if that is as far as the reader. */
  function query<Row extends object>(
    sql: string,
    bind: unknown[],
    { userUUID, seen, gone }: Reader,
    orderBy: string,
  ): Promise<Row[]> {
    async function run(): Promise<Row[]> {
      const rows = replica && seen && (await replica.read<Row>({ sql, bind, orderBy }, seen));
      return rows ?? sequelize.query<Row>(sql, { bind, type: QueryTypes.SELECT });
    }
    return readers.run(userUUID, run, gone);
  }

  /** The first or the last messages of a window, oldest first, with as much text as a query may return. */
  function readMessages(
    roomId: number,
    window: Stretch,
    { limit, order }: Part,
    reader: Reader,
  ): Promise<MessageRow[]> {
    const { thread, head } = window;
    const taken = thread === undefined ? inOrder(MESSAGES, order) : ofThread(order);
    return query<MessageRow>(
      `SELECT measured.seq AS place, shown.*
       FROM (
         SELECT *, sum(${BYTES}) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - (${BYTES}) AS bytes_before
         FROM (${taken}) AS taken
       ) AS measured
       LEFT JOIN LATERAL (
         SELECT ${messageColumns('$7::uuid', '$8::bigint')}
         FROM (SELECT measured.*) AS m WHERE bytes_before < ${PAGE_BYTES}
       ) AS shown ON true
       ORDER BY place`,
      [
        ...bindOf(roomId, window, limit),
        reader.userUUID,
        head,
        ...(thread === undefined ? [] : [thread]),
      ],
      reader,
      'place',
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
        inOrder(MESSAGES, order, 'seq'),
        bindOf(roomId, window, limit - found.length),
        reader,
        `seq ${order}`,
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
           WHERE room_id = $1 AND ${IS_IN_HISTORY} AND "createdAt" >= $2 AND "createdAt" < $3
           ORDER BY "createdAt" FETCH FIRST ${ENTRIES_A_QUERY} ROWS WITH TIES
         ) AS part`,
        [roomId, from, period.until],
        reader,
        'first',
      );
      if (part === undefined || part.first === null || part.last === null) break;
      first = Math.min(first, part.first);
      last = Math.max(last, part.last);
      // Dates are whole milliseconds.
      from = new Date(part.endedAt.getTime() + 1);
      more = part.entries >= ENTRIES_A_QUERY;
    }
    if (last === 0) return undefined;
    return { after: first - 1, last: Math.min(last, upTo), period, head: upTo };
  }

  return {
    async page(roomId, { upTo, horizon = 0, after, before, limit, period, thread }, reader) {
      const last = Math.min(upTo, (before ?? LAST_SEQ) - 1);
      const asked = { after: Math.max(after ?? 0, horizon), last, period, thread, head: upTo };
      // One more than asked for, to know whether there are more.
      const part: Part = { limit: limit + 1, order: after === undefined ? 'DESC' : 'ASC' };
      const window = windowOf(asked, part.order);
      const rows = await readMessages(roomId, window, part, reader);
      if (rows.length > limit || (window.after === asked.after && window.last === asked.last)) {
        return nearPage(rows, part, asked);
      }
      // The first window did not fill the page: its messages are far apart, or a period is elsewhere.
      const dated = period && (await stretchOf(roomId, period, reader));
      const far = period ? intersection(asked, dated) : asked;
      return farPage(await findSeqs(roomId, far, part, reader), part, asked);
    },

    async one(roomId, seq, head, reader) {
      const [row] = await query<HistoryMessage & { readonly isDeleted: boolean }>(
        `SELECT ${messageColumns('$3::uuid', '$4::bigint')}, deleted_by IS NOT NULL AS "isDeleted"
         FROM messages AS m WHERE room_id = $1 AND seq = $2 AND ${IS_IN_HISTORY}`,
        [roomId, seq, reader.userUUID, head],
        reader,
        'seq',
      );
      if (row === undefined) return undefined;
      return row.isDeleted ? 'deleted' : messageOf(row);
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
const IS_IN_HISTORY = `kind IN (${KINDS.join(', ')})`;

/**
 * The condition of a window's messages, with the values of `bindOf`. Written so that no plan uses the index of dates,
 * by which the number of entries passed has no bound.
 */
const MESSAGES = `room_id = $1 AND seq > $2 AND seq <= $3 AND ${IS_IN_HISTORY}
  AND deleted_by IS NULL AND ("createdAt" >= $5::timestamptz AND "createdAt" < $6::timestamptz) IS NOT FALSE`;

/** The first or the last $4 messages with a condition. */
function inOrder(condition: string, order: Part['order'], columns = '*'): string {
  return `SELECT ${columns} FROM messages WHERE ${condition} ORDER BY seq ${order} LIMIT $4`;
}

/** The first or the last $4 messages of the thread $9: its root, by the key, and the replies, by their index. */
function ofThread(order: Part['order']): string {
  return `SELECT * FROM (
      (${inOrder(`${MESSAGES} AND seq = $9`, order)}) UNION ALL (${inOrder(`${MESSAGES} AND reply_to = $9`, order)})
    ) AS thread ORDER BY seq ${order} LIMIT $4`;
}

function bindOf(roomId: number, { after, last, period }: Stretch, limit: number): unknown[] {
  return [roomId, after, last, limit, period?.from ?? null, period?.until ?? null];
}

/**
 * The first or the last part of a stretch, as long as one query may pass: seqs have no gaps, so it is a range of them. A
 * query of a thread passes no other messages.
 */
function windowOf(stretch: Stretch, order: Part['order']): Stretch {
  const { after, last, thread } = stretch;
  if (thread !== undefined) return stretch;
  return order === 'ASC'
    ? { ...stretch, last: Math.min(last, after + ENTRIES_A_QUERY) }
    : { ...stretch, after: Math.max(after, last - ENTRIES_A_QUERY) };
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
function nearPage(rows: MessageRow[], { limit, order }: Part, asked: Stretch): HistoryPage {
  const more = rows.length === limit;
  if (more && order === 'ASC') rows.pop();
  else if (more) rows.shift();
  const messages = held(rows);
  const first = rows[0]?.place;
  const last = rows.at(-1)?.place;
  const isWhole = messages.length === rows.length || first === undefined || last === undefined;
  const rest = isWhole ? undefined : { ...asked, after: messages.at(-1)?.seq ?? first - 1, last };
  return { messages, rest, first, last, more };
}

/** A page of which only the seqs are known, with one more than asked for. */
function farPage(seqs: readonly number[], { limit, order }: Part, asked: Stretch): HistoryPage {
  const more = seqs.length === limit;
  const ofPage = more ? seqs.slice(0, -1) : seqs;
  const [first, last] = order === 'ASC' ? [ofPage[0], ofPage.at(-1)] : [ofPage.at(-1), ofPage[0]];
  const isEmpty = first === undefined || last === undefined;
  const rest = isEmpty ? undefined : { ...asked, after: first - 1, last };
  return { messages: [], rest, first, last, more };
}

/** The messages that one query may return: those before the first one that it may not. */
function held(rows: readonly MessageRow[]): HistoryMessage[] {
  return rows.flatMap((row) => (row.seq === null ? [] : [messageOf(row)]));
}

/** A message alone, without the columns beside its own. */
export function messageOf(row: HistoryMessage): HistoryMessage {
  const { roomId, seq, emitter, ref, content, data, replyTo, mentions } = row;
  const { reactions, replies, rev, textSeq, createdAt, updatedAt } = row;
  return {
    roomId,
    seq,
    emitter,
    ref,
    content,
    data,
    replyTo,
    mentions,
    reactions,
    replies,
    rev,
    textSeq,
    createdAt,
    updatedAt,
  };
}
