import { randomUUID } from 'node:crypto';
import { query } from './database.js';

/**
 * Puts so many messages of 36 characters or a few less into a room's log, behind what is there, past every
 * node: one that has the room active reads them all.
 * @returns numbers of the first and the last one
 */
export async function fillRoom(
  databaseUrl: string,
  roomId: number,
  count: number,
): Promise<{ first: number; last: number }> {
  const [row] = await query<{ last: string }>(
    databaseUrl,
    `WITH filled AS (UPDATE rooms SET head = head + $2 WHERE id = $1 RETURNING head),
     inserted AS (
       INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT $1, head - $2 + place, 'message', $3, 'a message of usual length: ' || place, now(), now()
       FROM filled, generate_series(1, $2) AS place)
     SELECT head AS last FROM filled`,
    [roomId, count, randomUUID()],
  );
  // As autovacuum has done in a log that grew by and by.
  await query(databaseUrl, 'ANALYZE messages');
  const last = Number(row?.last);
  return { first: last - count + 1, last };
}
