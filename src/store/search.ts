import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller } from '../access/permissions.js';
import type { FairLimit } from './fair-limit.js';
import { messageOf, type HistoryMessage } from './history.js';
import { messageColumns } from './message-columns.js';
import { MAY_READ, RULES_OF_CALLER } from './readable.js';

/** A message's place among messages of several rooms, the newest first. */
export interface Place {
  readonly createdAt: Date;
  readonly roomId: number;
  readonly seq: number;
}

/** What to search for, and where. */
export interface Wanted {
  /** Words as a user writes them. All must occur, the last one as the beginning of a word. */
  readonly text: string;
  /** One room; undefined: all that the caller may read. */
  readonly roomId?: number | undefined;
  /** Only messages behind this place. */
  readonly behind?: Place | undefined;
  readonly limit: number;
}

export interface SearchPage {
  /** The newest first: `limit` at most, fewer if their texts are long or it took too much to find more. */
  readonly messages: readonly HistoryMessage[];
  /** The place behind which the next page begins; undefined if there are no more messages. */
  readonly next: Place | undefined;
}

export interface Search {
  /**
   * Messages with all the words, out of rooms that the caller may read when they are read; undefined if the text has no
   * word.
   * @param gone aborted when the client is gone: then nothing more is read
   */
  page(caller: Caller, wanted: Wanted, gone?: AbortSignal): Promise<SearchPage | undefined>;
}

/**
 * Messages that a search looks at without the index, the newest of the caller's rooms: a common word fills its page with
 * these. To take the words of a message apart costs 20 µs in ASCII, twice that on average
 * if a fifth is Chinese (measured on a machine with six times the load that it has cores).
 */
const NEWEST = 600;
/**
 * How many of the newest messages each room gives, step by step: after a step, only rooms that may have more of the
 * NEWEST ones give more. Eight times as many a step bounds the rows of a step to eight times NEWEST, however unequal the
 * rooms are.
 */
const STEPS = [4, 32, 256, NEWEST];
/** Messages that the index may find for a rare word, which is looked for first: that takes a few milliseconds. */
const FEW = 500;
/**
 * Messages that the index may find for any word: each is in another page. Of more, the newest ones are not known without reading all: the page then ends where the newest ones were passed.
 */
const MANY = 10_000;
/** Entries of a room up to which its messages are read from an index and compared with what the words find. */
const LARGE_ROOM = 100_000;
/** Characters of text after which a page ends, as a page of the history. */
const PAGE_CHARACTERS = 32_768;

/** The expression of the index messages_words. */
const WORDS = `to_tsvector('pg_catalog.simple', search_pairs(search_fold(content)))`;

/**
 * The tsquery of a text, as text; null if it has no word. Of a run of CJK characters, `search_pairs` leaves its pairs
 * after the first character, and before the last one.
 */
const TO_QUERY = `SELECT string_agg('(' || condition || ')', ' & ') AS query
  FROM (
    SELECT CASE
      WHEN pairs = word THEN to_tsquery('pg_catalog.simple', '''' || word || CASE WHEN is_last THEN ''':*' ELSE '''' END)
      WHEN char_length(word) = 1 THEN to_tsquery('pg_catalog.simple', '''' || word || ''':*')
      ELSE phraseto_tsquery('pg_catalog.simple', substr(pairs, 3, char_length(pairs) - 4))
    END::text AS condition
    FROM (
      SELECT word, search_pairs(word) AS pairs, place = max(place) OVER () AS is_last
      FROM regexp_split_to_table(trim(search_fold($1)), ' +') WITH ORDINALITY AS split (word, place)
      WHERE word <> ''
    ) AS words
  ) AS conditions
  WHERE condition <> ''`;

/** Whether a message is behind the place $7, $8, $9. */
const IS_BEHIND = `("createdAt", room_id, seq) < ($7::timestamptz, $8::integer, $9::bigint)`;
/** From the newest place to the oldest one. */
const NEWEST_FIRST = `"createdAt" DESC, room_id DESC, seq DESC`;

/** Of the candidates, rooms by id, those that the caller may read. */
function readable(candidates: string): string {
  return `SELECT r.id FROM (${candidates}) AS candidate
    CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = candidate.id LIMIT 1) AS r
    ${RULES_OF_CALLER}
    WHERE ${MAY_READ}`;
}

/** The messages at the places of `place`, a list in order, as far as they fulfil a condition: $6 at most. */
function messagesAt(place: string, condition: string): string {
  return `SELECT ${messageColumns('$1::uuid')}
    FROM (
      SELECT found.* FROM (${place} ORDER BY ${NEWEST_FIRST}) AS place
      CROSS JOIN LATERAL (
        SELECT * FROM messages WHERE room_id = place.room_id AND seq = place.seq AND ${condition} LIMIT 1
      ) AS found
      ORDER BY place."createdAt" DESC, place.room_id DESC, place.seq DESC LIMIT $6
    ) AS m
    ORDER BY m."createdAt" DESC, m.room_id DESC, m.seq DESC`;
}

/** The rows of `seen` that are among the NEWEST ones, or may be, as far as `last` knows. */
function isAmongNewest(last: string): string {
  return `(NOT EXISTS (SELECT FROM ${last})
    OR ("createdAt", room_id, seq) >= (SELECT "createdAt", room_id, seq FROM ${last}))`;
}

/** Messages of a room that are older than an instant and a number: `number` counts those that the room has given. */
function older(room: string, than: string, given: number, size: number): string {
  return `SELECT room_id, seq, "createdAt", ${given} + row_number() OVER (ORDER BY "createdAt" DESC, seq DESC) AS number
    FROM messages WHERE room_id = ${room} AND ("createdAt", seq) < (${than})
    ORDER BY "createdAt" DESC, seq DESC LIMIT ${size - given}`;
}

/**
 * Of the rooms `readable`, the places of the newest messages behind $7, $8, $9, as `newest`; `last` is the last of them
 * if there are NEWEST of them. In a room they follow the index of dates.
 */
function newestPlaces(): string {
  const behind = `$7::timestamptz, CASE
    WHEN readable.id < $8::integer THEN ${Number.MAX_SAFE_INTEGER}
    WHEN readable.id = $8::integer THEN $9::bigint
    ELSE 0 END`;
  const ctes = STEPS.map((size, step) => {
    const before = STEPS[step - 1];
    const rows =
      before === undefined
        ? `SELECT more.* FROM readable CROSS JOIN LATERAL (${older('readable.id', behind, 0, size)}) AS more`
        : `SELECT * FROM seen_${step - 1} UNION ALL
           SELECT more.* FROM (
             SELECT * FROM seen_${step - 1} WHERE number = ${before} AND ${isAmongNewest(`last_${step - 1}`)}
           ) AS oldest
           CROSS JOIN LATERAL (
             ${older('oldest.room_id', 'oldest."createdAt", oldest.seq', before, size)}
           ) AS more`;
    return `seen_${step} AS MATERIALIZED (${rows}),
      last_${step} AS MATERIALIZED (
        SELECT "createdAt", room_id, seq FROM seen_${step} ORDER BY ${NEWEST_FIRST} OFFSET ${NEWEST - 1} LIMIT 1
      )`;
  });
  const end = STEPS.length - 1;
  return `${ctes.join(', ')},
    last AS (SELECT * FROM last_${end}),
    newest AS (SELECT * FROM seen_${end} WHERE ${isAmongNewest('last')})`;
}

/** Looks at the newest messages of the caller's rooms, or of room $4, one by one, down to the place `passed`. */
const AMONG_NEWEST = `WITH readable AS MATERIALIZED (
    ${readable(`SELECT $4::integer AS id WHERE $4::integer IS NOT NULL UNION
      SELECT room_id FROM room_permissions WHERE "entity_UUID" IN ($1, $2) AND $4::integer IS NULL`)}
  ), ${newestPlaces()}
  SELECT found.*, (SELECT head FROM rooms WHERE id = $4) AS head, last."createdAt" AS "passedAt", last.room_id AS "passedRoomId", last.seq AS "passedSeq"
  FROM (SELECT) AS one LEFT JOIN last ON true LEFT JOIN (
    ${messagesAt('SELECT * FROM newest', `kind = 'message' AND ${WORDS} @@ $5::tsquery`)}
  ) AS found ON true`;

/** Of the first $10 messages that the index finds with a condition, and one more, those of room $4, or of the rooms that the caller may read. */
function byIndex(condition: string): string {
  return `WITH hit AS MATERIALIZED (
      SELECT room_id, seq, "createdAt" FROM messages
      WHERE kind = 'message' AND ${WORDS} @@ $5::tsquery AND ${IS_BEHIND} AND ${condition}
      LIMIT $10::integer + 1
    ), readable AS MATERIALIZED (
      ${readable('SELECT DISTINCT room_id AS id FROM hit WHERE $4::integer IS NULL OR room_id = $4')}
    )
    SELECT found.*, (SELECT count(*) FROM hit) AS hits
    FROM (SELECT) AS one LEFT JOIN (
      ${messagesAt('SELECT * FROM hit WHERE room_id IN (SELECT id FROM readable)', 'true')}
    ) AS found ON true`;
}

const IN_ALL_ROOMS = byIndex('true');
/** With the messages of the room by another index, for a word that is common elsewhere. */
const IN_ONE_ROOM = byIndex('room_id = $4');

/** A message, or nulls if none was found. */
type FoundRow = HistoryMessage | { readonly seq: null };
type NewestRow = FoundRow & { /** Of the one room. */ readonly head: number | null } & (
    | { readonly passedAt: Date; readonly passedRoomId: number; readonly passedSeq: number }
    | { readonly passedAt: null }
  );
type IndexRow = FoundRow & { readonly hits: number };

/** Before all messages. */
const BEFORE_ALL = ['infinity', 0, 0];

/** @param readers bounds the searches that run at a time; its keys are users */
export function createSearch({
  sequelize,
  readers,
}: {
  sequelize: Sequelize;
  readers: FairLimit<string>;
}): Search {
  function query<Row extends object>(sql: string, bind: unknown[]): Promise<Row[]> {
    return sequelize.query<Row>(sql, { bind, type: QueryTypes.SELECT });
  }

  async function search(
    { userUUID, entityUUID, levelOnEntity }: Caller,
    { text, roomId, behind, limit }: Wanted,
    gone: AbortSignal | undefined,
  ): Promise<SearchPage | undefined> {
    const [asked] = await query<{ query: string | null }>(TO_QUERY, [text]);
    if (asked === undefined || asked.query === null) return undefined;
    const place = behind ? [behind.createdAt, behind.roomId, behind.seq] : BEFORE_ALL;
    // One more than asked for, to know whether there are more.
    const whose = [userUUID, entityUUID, levelOnEntity];
    const bind = [...whose, roomId ?? null, asked.query, limit + 1, ...place];

    /** Undefined if the index finds more than `most`. */
    async function lookUp(statement: string, most: number): Promise<HistoryMessage[] | undefined> {
      gone?.throwIfAborted();
      const rows = await query<IndexRow>(statement, [...bind, most]);
      return (rows[0]?.hits ?? 0) > most ? undefined : messagesOf(rows);
    }

    const few = await lookUp(IN_ALL_ROOMS, FEW);
    if (few !== undefined) return cut(few, limit);

    gone?.throwIfAborted();
    const newest = await query<NewestRow>(AMONG_NEWEST, bind);
    const passed = passedBy(newest);
    const near = messagesOf(newest);
    if (near.length > limit || passed === undefined) return cut(near, limit);

    const isSmall = (newest[0]?.head ?? Infinity) <= LARGE_ROOM;
    const many =
      (await lookUp(IN_ALL_ROOMS, MANY)) ?? (isSmall && (await lookUp(IN_ONE_ROOM, MANY)));
    return many ? cut(many, limit) : cut(near, limit, passed);
  }

  return {
    page: (caller, wanted, gone) =>
      readers.run(caller.userUUID, () => search(caller, wanted, gone), gone),
  };
}

/** How far the newest messages were passed; undefined if there are no others. */
function passedBy([row]: readonly NewestRow[]): Place | undefined {
  if (row === undefined || row.passedAt === null) return undefined;
  return { createdAt: row.passedAt, roomId: row.passedRoomId, seq: row.passedSeq };
}

function messagesOf(rows: readonly FoundRow[]): HistoryMessage[] {
  return rows.flatMap((row) => (row.seq === null ? [] : [messageOf(row)]));
}

/** The first of the messages that were found, as many as a page may have; the next page begins at `end` or before. */
function cut(found: readonly HistoryMessage[], limit: number, end?: Place): SearchPage {
  const messages: HistoryMessage[] = [];
  for (let characters = 0; messages.length < limit && characters < PAGE_CHARACTERS;) {
    const message = found[messages.length];
    if (message === undefined) return { messages, next: end };
    messages.push(message);
    characters += message.content.length;
  }
  const last = messages.at(-1);
  return { messages, next: found.length > messages.length ? last : end };
}
