import type { Caller } from '../access/permissions.js';
import type { FairLimit } from './fair-limit.js';
import { messageOf, type HistoryMessage } from './history.js';
import { messageColumns } from './message-columns.js';
import { roomWord, wordsOf } from './message-words.js';
import type { RunStatement, Statement } from './prepared.js';
import { MAY_READ } from './readable.js';

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
   * word. A server may search any one room; in all rooms, those of the rules of its user and entity.
   * @param gone aborted when the client is gone: then nothing more is read
   */
  page(caller: Caller, wanted: Wanted, gone?: AbortSignal): Promise<SearchPage | undefined>;
}

/**
 * How many of the newest messages of all the caller's rooms a search looks at without the index, which gives each room
 * how many of them, step by step: after a step, only rooms that may have more of the newest ones give more. So a step
 * reads eight times as many as it wants at most, however unequal the rooms are. A trade-off: a common word fills its page
 * with these.
 */
const NEWEST_OF_ALL = [2, 16, 128, 500];
/** Of one room there is nothing to compare. A common word fills its page with these; a thousand cost 3 ms. */
const NEWEST_OF_ONE = [1_000];
/**
 * Entries of the caller's rooms whose words may not be stored yet, so that the index does not find them: their words are
 * taken from their texts, which takes 15 µs in ASCII, and 100 in Chinese.
 */
const NOT_STORED = 300;
/**
 * Messages that the index may find: each is in another page. If the planner expects no more, the index is asked alone. Of
 * more, the newest ones are not known without reading all: the page then ends where the newest ones were passed. If these
 * let expect more, the index is not asked: an upper estimate, as the rooms' heads count other entries, too.
 */
const MOST_HITS = 5_000;
/** Rooms up to which the index is asked for the messages of these alone; of more, it is asked for those of all rooms. */
const FEW_ROOMS = 32;
/** Characters of text after which a page ends, as a page of the history. */
const PAGE_CHARACTERS = 32_768;

/**
 * The tsquery of the text $4, as text; null if it has no word. Of a run of CJK characters, `search_pairs` leaves its pairs
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
      FROM regexp_split_to_table(trim(search_fold($4)), ' +') WITH ORDINALITY AS split (word, place)
      WHERE word <> ''
    ) AS words
  ) AS conditions
  WHERE condition <> ''`;

/** Whether a message is behind the place $6, $7, $8. */
const IS_BEHIND = `("createdAt", room_id, seq) < ($6::timestamptz, $7::integer, $8::bigint)`;
/** From the newest place to the oldest one. */
const NEWEST_FIRST = `"createdAt" DESC, room_id DESC, seq DESC`;

/**
 * The rooms that the caller may read and that fulfil a condition on `room_id`, and how far the words of their messages
 * are stored; to a server ($11) all rooms `r` that fulfil another one. The caller's rules come from one scan, not by RULES_OF_CALLER, which takes twice as long for 500 rooms.
 */
function readableRooms(condition: string, toServer: string): string {
  const position =
    'LEFT JOIN LATERAL (SELECT upto FROM search_positions WHERE room_id = r.id LIMIT 1) AS p ON true';
  return `SELECT r.id, r.head, r.horizon, coalesce(p.upto, 0) AS upto
  FROM (
    SELECT room_id, max(permissions) FILTER (WHERE "entity_UUID" = $1) AS by_own,
      max(permissions) FILTER (WHERE "entity_UUID" = $2) AS by_entity,
      max(level) FILTER (WHERE "entity_UUID" = $2) AS level
    FROM room_permissions
    WHERE "entity_UUID" IN ($1, $2) AND ${condition}
    GROUP BY room_id
  ) AS rules
  CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = rules.room_id LIMIT 1) AS r
  CROSS JOIN LATERAL (SELECT by_own AS permissions) AS own
  CROSS JOIN LATERAL (SELECT by_entity AS permissions, rules.level) AS entity
  ${position}
  WHERE ${MAY_READ}
  UNION
  SELECT r.id, r.head, r.horizon, coalesce(p.upto, 0) FROM rooms AS r ${position} WHERE $11::boolean AND ${toServer}`;
}

/** The messages at the places of `place`, a list in order, as far as they fulfil a condition: $5 at most. */
function messagesAt(place: string, condition: string): string {
  return `SELECT ${messageColumns('$1::uuid')}
    FROM (
      SELECT found.* FROM (${place} ORDER BY ${NEWEST_FIRST}) AS place
      CROSS JOIN LATERAL (
        SELECT * FROM messages WHERE room_id = place.room_id AND seq = place.seq AND ${condition} LIMIT 1
      ) AS found
      ORDER BY place."createdAt" DESC, place.room_id DESC, place.seq DESC LIMIT $5
    ) AS m
    ORDER BY m."createdAt" DESC, m.room_id DESC, m.seq DESC`;
}

/** Messages of a room that are older than an instant and a number: `number` counts those that the room has given. */
function older(room: string, than: string, given: number, size: number): string {
  return `SELECT room_id, seq, "createdAt", ${given} + row_number() OVER (ORDER BY "createdAt" DESC, seq DESC) AS number
    FROM messages WHERE room_id = ${room} AND kind = 'message' AND ("createdAt", seq) < (${than})
    ORDER BY "createdAt" DESC, seq DESC LIMIT ${size - given}`;
}

/**
 * Of the rooms `readable`, the places of the newest messages behind $6, $7, $8, as `newest`; `last` is the last of them
 * if there are as many as the last of `steps`. In a room they follow the index of dates.
 */
function newestPlaces(steps: readonly number[]): string {
  const behind = `$6::timestamptz, CASE
    WHEN readable.id < $7::integer THEN ${Number.MAX_SAFE_INTEGER}
    WHEN readable.id = $7::integer THEN $8::bigint
    ELSE 0 END`;
  const most = steps.at(-1) ?? 0;
  const ctes = steps.map((size, step) => {
    const given = steps[step - 1];
    const seen =
      given === undefined
        ? `SELECT more.* FROM readable CROSS JOIN LATERAL (${older('readable.id', behind, 0, size)}) AS more
           WHERE NOT (SELECT rest."isRare" FROM rest)`
        : `SELECT * FROM newest_${step - 1} UNION ALL
           SELECT more.* FROM newest_${step - 1} AS oldest CROSS JOIN LATERAL (
             ${older('oldest.room_id', 'oldest."createdAt", oldest.seq', given, size)}
           ) AS more WHERE oldest.number = ${given}`;
    return `newest_${step} AS MATERIALIZED (
      SELECT * FROM (${seen}) AS seen ORDER BY ${NEWEST_FIRST} LIMIT ${most}
    )`;
  });
  return `${ctes.join(', ')},
    newest AS (SELECT * FROM newest_${steps.length - 1}),
    last AS (
      SELECT "createdAt", room_id, seq FROM newest ORDER BY ${NEWEST_FIRST} OFFSET ${most - 1} LIMIT 1
    )`;
}

/**
 * Looks at the newest messages of the caller's rooms, or of room $9, one by one, down to the place `passed`. If a
 * message's words are not stored, they are taken from its text. Says as well what BY_INDEX is to look for; if that is
 * rare, and $10 is true, looks at no message.
 */
function amongNewest(steps: readonly number[]): string {
  return `WITH asked AS MATERIALIZED (${TO_QUERY}), readable AS MATERIALIZED (
    ${readableRooms('($9::integer IS NULL OR room_id = $9)', 'r.id = $9')}
  ), wanted AS (
    SELECT query, coalesce(sum(head - horizon), 0)::bigint AS entries,
      CASE WHEN count(*) > ${FEW_ROOMS} THEN query
        ELSE (query::tsquery && string_agg(${roomWord('id')}, ' | ')::tsquery)::text END AS "indexQuery",
      CASE WHEN sum(head - upto) <= ${NOT_STORED}
        THEN coalesce(array_agg(id) FILTER (WHERE head > upto), '{}')::text END AS "roomsNotStored"
    FROM asked LEFT JOIN readable ON true GROUP BY query
  ), rest AS MATERIALIZED (
    SELECT *, CASE WHEN $10 AND "roomsNotStored" IS NOT NULL
      THEN search_estimate("indexQuery"::tsquery) <= ${MOST_HITS} ELSE false END AS "isRare"
    FROM wanted
  ), ${newestPlaces(steps)},
  matching AS (
    SELECT newest.*, w.words IS NOT NULL AS has_words
    FROM newest JOIN readable ON readable.id = newest.room_id
    LEFT JOIN LATERAL (
      SELECT words FROM message_words WHERE room_id = newest.room_id AND seq = newest.seq LIMIT 1
    ) AS w ON true
    WHERE CASE WHEN w.words IS NULL THEN newest.seq > readable.upto
      ELSE w.words @@ (SELECT query::tsquery FROM asked) END
  )
  SELECT found.*, last."createdAt" AS "passedAt", last.room_id AS "passedRoomId", last.seq AS "passedSeq", rest.*
  FROM rest LEFT JOIN last ON true LEFT JOIN (
    ${messagesAt(
      'SELECT * FROM matching',
      `(place.has_words OR kind = 'message'
        AND ${wordsOf('content')} @@ (SELECT query::tsquery FROM asked))`,
    )}
  ) AS found ON true`;
}

/** Prepared, because planning one takes a quarter of the time of running it. */
const OF_ALL = {
  statement: { name: 'search_all_rooms', text: amongNewest(NEWEST_OF_ALL) },
  size: NEWEST_OF_ALL.at(-1) ?? 0,
};
const OF_ONE = {
  statement: { name: 'search_one_room', text: amongNewest(NEWEST_OF_ONE) },
  size: NEWEST_OF_ONE.at(-1) ?? 0,
};

/**
 * Of the messages that the index finds by $9, MOST_HITS and one more at most, those of rooms that the caller may read;
 * and those of the rooms $10 that have $4 and whose words are not stored. Not prepared: the plan depends on the words.
 */
const BY_INDEX: Statement = {
  text: `WITH hit AS MATERIALIZED (
    SELECT room_id, seq, "createdAt" FROM message_words WHERE words @@ $9::tsquery AND ${IS_BEHIND}
    LIMIT ${MOST_HITS + 1}
  ), place AS MATERIALIZED (
    SELECT * FROM hit
    UNION ALL
    SELECT m.room_id, m.seq, m."createdAt" FROM unnest($10::integer[]) AS room (id)
    LEFT JOIN search_positions AS p ON p.room_id = room.id
    CROSS JOIN LATERAL (
      SELECT * FROM messages
      WHERE room_id = room.id AND seq > coalesce(p.upto, 0) AND kind = 'message' AND ${IS_BEHIND}
      ORDER BY seq LIMIT ${NOT_STORED}
    ) AS m
    WHERE ${wordsOf('m.content')} @@ $4::tsquery
  ), readable AS MATERIALIZED (
    ${readableRooms('room_id IN (SELECT room_id FROM place)', 'r.id IN (SELECT room_id FROM place)')}
  )
  SELECT page.*, (SELECT count(*) FROM hit) AS hits
  FROM (SELECT) AS one LEFT JOIN (
    ${messagesAt('SELECT place.* FROM place JOIN readable ON readable.id = place.room_id', 'true')}
  ) AS page ON true`,
};

/** A message, or nulls if none was found. */
type FoundRow = HistoryMessage | { readonly seq: null };
/** The same in each row, beside the message and the place that was passed. */
interface NewestRest {
  /** The tsquery of the text; null if it has no word. */
  readonly query: string | null;
  /** Entries of all rooms in which it is searched. */
  readonly entries: number;
  /** Whether the index is expected to find few enough: then the newest messages were not looked at. */
  readonly isRare: boolean;
  /** The tsquery for the index. */
  readonly indexQuery: string;
  /** Rooms with messages whose words are not stored, as an array in text; null if there are too many such messages. */
  readonly roomsNotStored: string | null;
}
type NewestRow = FoundRow &
  NewestRest &
  (
    | { readonly passedAt: Date; readonly passedRoomId: number; readonly passedSeq: number }
    | { readonly passedAt: null }
  );
type IndexRow = FoundRow & { readonly hits: number };

/** Before all messages. */
const BEFORE_ALL = ['infinity', 0, 0];

/** @param readers bounds the searches that run at a time; its keys are users */
export function createSearch({
  run,
  readers,
}: {
  run: RunStatement;
  readers: FairLimit<string>;
}): Search {
  async function search(
    { userUUID, entityUUID, levelOnEntity, isServer }: Caller,
    { text, roomId, behind, limit }: Wanted,
    gone: AbortSignal | undefined,
  ): Promise<SearchPage | undefined> {
    const place = behind ? [behind.createdAt, behind.roomId, behind.seq] : BEFORE_ALL;
    const whose = [userUUID, entityUUID, levelOnEntity];
    // One more than asked for, to know whether there are more.
    const most = limit + 1;
    // The rooms of all are too many to look into.
    const mayReadAny = isServer && roomId !== undefined;
    const { statement, size } = roomId === undefined ? OF_ALL : OF_ONE;

    async function lookAtNewest({ unlessRare }: { unlessRare: boolean }) {
      const bind = [...whose, text, most, ...place, roomId ?? null, unlessRare, mayReadAny];
      return (await run(statement, bind)) as readonly NewestRow[];
    }

    /** Undefined if the index finds too many. */
    async function askIndex({ query, indexQuery, roomsNotStored }: NewestRest) {
      gone?.throwIfAborted();
      const words = [...whose, query, most, ...place, indexQuery, roomsNotStored, mayReadAny];
      const found = (await run(BY_INDEX, words)) as readonly IndexRow[];
      const isWhole = (found[0]?.hits ?? 0) <= MOST_HITS;
      return isWhole ? cut(messagesOf(found), limit) : undefined;
    }

    let newest = await lookAtNewest({ unlessRare: true });
    let [rest] = newest;
    if (rest?.isRare === true) {
      const page = await askIndex(rest);
      if (page !== undefined) return page;
      newest = await lookAtNewest({ unlessRare: false });
      [rest] = newest;
    }
    if (rest === undefined || rest.query === null) return undefined;
    const passed = passedBy(rest);
    const near = messagesOf(newest);
    if (near.length > limit || passed === undefined) return cut(near, limit);
    const expected = (near.length / size) * rest.entries;
    if (expected > MOST_HITS || rest.roomsNotStored === null) return cut(near, limit, passed);
    return (await askIndex(rest)) ?? cut(near, limit, passed);
  }

  return {
    page: (caller, wanted, gone) =>
      readers.run(caller.userUUID, () => search(caller, wanted, gone), gone),
  };
}

/** How far the newest messages were passed; undefined if there are no others. */
function passedBy(row: NewestRow): Place | undefined {
  if (row.passedAt === null) return undefined;
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
