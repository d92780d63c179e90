import { randomUUID } from 'node:crypto';
import { query } from './database.js';
import type { Talker } from './talker.js';

/**
 * Puts so many messages into a room's log, behind what is there, past every node: one that has the room active reads
 * them all.
 * @param content of each; without it, they are of 36 characters or a few less
 * @returns numbers of the first and the last one
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

/** Talks until no node has read the log from one look to the next: who catches up has all it takes, or is stuck. */
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

/** When a page of a log was last asked for, as Postgres has it. */
async function lastReading(databaseUrl: string): Promise<string | null | undefined> {
  const [row] = await query<{ at: string | null }>(
    databaseUrl,
    `SELECT max(query_start)::text AS at FROM pg_stat_activity
     WHERE datname = current_database() AND query LIKE 'SELECT %FROM messages%' AND pid <> pg_backend_pid()`,
  );
  return row?.at;
}
