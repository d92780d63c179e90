import { randomUUID } from 'node:crypto';
import { query } from './database.js';
import type { Talker } from './talker.js';

/**
 * Appends messages to a room's log by SQL alone: a node that has the room open finds them when it compares heads.
 * @param content of each message; by default each has 36 characters or a few less
 * @returns the numbers of the first and the last one
 */
export async function fillRoom(
  databaseUrl: string,
  roomId: number,
  count: number,
  content?: string,
): Promise<{ first: number; last: number }> {
  const [row] = await query<{ last: string }>(
    databaseUrl,
    `WITH filled AS (UPDATE rooms SET head = head + $2 WHERE id = $1 RETURNING head),
     inserted AS (
       INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT $1, head - $2 + place, 'message', $3, coalesce($4, 'a message of usual length: ' || place), now(), now()
       FROM filled, generate_series(1, $2) AS place)
     SELECT head AS last FROM filled`,
    [roomId, count, randomUUID(), content],
  );
  const last = Number(row?.last);
  return { first: last - count + 1, last };
}

/** Sends messages until no node reads the log any more: each reader has caught up, or is stuck. */
export async function untilReadingStops(databaseUrl: string, talker: Talker): Promise<void> {
  let before: string | null | undefined;
  for (
    let at = await lastReading(databaseUrl);
    at !== before;
    at = await lastReading(databaseUrl)
  ) {
    before = at;
    await talker.say(50);
  }
}

/** When a page of a log was last read, by the clock of Postgres. */
async function lastReading(databaseUrl: string): Promise<string | null | undefined> {
  const [row] = await query<{ at: string | null }>(
    databaseUrl,
    `SELECT max(query_start)::text AS at FROM pg_stat_activity
     WHERE datname = current_database() AND query LIKE 'SELECT %FROM messages%' AND pid <> pg_backend_pid()`,
  );
  return row?.at;
}
