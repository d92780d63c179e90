import { QueryTypes, type Sequelize } from 'sequelize';
import type { Logger } from '../logger.js';
import { lockKey } from './advisory-locks.js';
import { isUnavailable } from './pg-errors.js';

/**
 * Entries of one statement. On a machine with six times the load that it has cores 200 took 60 ms, also in the embedded
 * database, which does nothing else meanwhile.
 */
const CHUNK_ENTRIES = 100;
/** Rooms of one statement. */
const CHUNK_ROOMS = 100;
/** How often a node checks for messages whose words are not stored, while it finds none. A search finds these, too. */
const CHECK_INTERVAL_MS = 10_000;
/**
 * After a chunk a node rests for this many times as long as the chunk took, so that storing messages loses a twentieth
 * of a core to it at most. That is enough for some hundred messages a second; of more, the words are stored later.
 */
const REST_FACTOR = 19;

/** The word that every message of a room has, as a tsquery or a tsvector in text. No word of a text has punctuation. */
export function roomWord(roomId: string): string {
  return `('''#' || ${roomId} || '''')`;
}

/**
 * Characters of a message whose words are found, as docs/HTTP-API.md says. A tsvector has a megabyte, and a pair of characters
 * takes 12 bytes of it at most: one text beyond it would make each search of its room an error.
 */
const SEARCHED_CHARACTERS = 65_536;

/** The words of a text, as a tsvector. */
export function wordsOf(content: string): string {
  return `search_words(left(${content}, ${SEARCHED_CHARACTERS}))`;
}

/** What is stored of a message. */
export function storedWords(roomId: string, content: string): string {
  return `${wordsOf(content)} || ${roomWord(roomId)}::tsvector`;
}

/** The messages among the next entries of rooms. */
const NEXT_MESSAGES = `SELECT room_id, seq, "createdAt", content FROM messages
  WHERE room_id = behind.room_id AND seq > behind.upto AND seq <= behind.next
    AND kind = 'message' AND deleted_by IS NULL
  ORDER BY seq LIMIT $3`;

/**
 * Stores the words of the next entries of those rooms that are furthest behind. The words are those of the messages'
 * rows as they are when they are locked: whoever changes a message locks its row first, and finds its words afterwards
 * (changes.ts, purge.ts). Nobody waits for each other: it ends before the first message of a room that is locked.
 */
const STORE_NEXT = `WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock($1) AS is_ours
  ), behind AS MATERIALIZED (
    SELECT room_id, upto, least(head, upto + greatest($3::bigint / count(*) OVER (), 1)) AS next FROM (
      SELECT r.id AS room_id, r.head, coalesce(p.upto, 0) AS upto
      FROM turn JOIN rooms AS r ON turn.is_ours LEFT JOIN search_positions AS p ON p.room_id = r.id
      WHERE r.head > coalesce(p.upto, 0)
      ORDER BY r.head - coalesce(p.upto, 0) DESC LIMIT $2
    ) AS furthest
  ), free AS MATERIALIZED (
    SELECT m.* FROM behind CROSS JOIN LATERAL (${NEXT_MESSAGES} FOR SHARE SKIP LOCKED) AS m
  ), locked AS MATERIALIZED (
    SELECT room_id, min(seq) AS seq FROM (
      SELECT m.room_id, m.seq FROM behind CROSS JOIN LATERAL (${NEXT_MESSAGES}) AS m
      EXCEPT SELECT room_id, seq FROM free
    ) AS others GROUP BY room_id
  ), stored AS (
    INSERT INTO message_words (room_id, seq, "createdAt", words)
    SELECT room_id, free.seq, "createdAt", ${storedWords('room_id', 'content')}
    FROM free LEFT JOIN locked USING (room_id)
    WHERE (free.seq < locked.seq) IS NOT FALSE ORDER BY room_id, free.seq
    ON CONFLICT (room_id, seq) DO NOTHING
  ), moved AS (
    INSERT INTO search_positions AS p (room_id, upto)
    SELECT room_id, coalesce(locked.seq - 1, next) FROM behind LEFT JOIN locked USING (room_id)
    ON CONFLICT (room_id) DO UPDATE SET upto = greatest(p.upto, excluded.upto)
  )
  SELECT count(*) AS rooms FROM behind`;

/**
 * Stores the words of some of the messages that have none yet, one node at a time.
 * @returns whether there may be more
 */
export async function storeWords(sequelize: Sequelize): Promise<boolean> {
  const [found] = await sequelize.query<{ rooms: number }>(STORE_NEXT, {
    bind: [lockKey('storeWords'), CHUNK_ROOMS, CHUNK_ENTRIES],
    type: QueryTypes.SELECT,
  });
  return found !== undefined && found.rooms > 0;
}

/**
 * Stores the words of messages for the search, a while after the messages. All nodes check; one at a time stores.
 * @returns stops it; resolves when nothing of it is running
 */
export function startStoringWords({
  sequelize,
  logger,
}: {
  sequelize: Sequelize;
  logger: Logger;
}): () => Promise<void> {
  let isEnded = false;
  let timer: NodeJS.Timeout | undefined;
  let storing = storeNext();

  async function storeNext(): Promise<void> {
    let rest = CHECK_INTERVAL_MS;
    try {
      const start = performance.now();
      if (await storeWords(sequelize)) rest = REST_FACTOR * (performance.now() - start);
    } catch (error) {
      const level = isUnavailable(error) ? 'debug' : 'warn';
      logger[level]({ err: error }, 'storing the words of messages failed, will retry');
    }
    if (isEnded) return;
    timer = setTimeout(() => {
      storing = storeNext();
    }, rest);
  }

  return async () => {
    isEnded = true;
    clearTimeout(timer);
    await storing;
  };
}
