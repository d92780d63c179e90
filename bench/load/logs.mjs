import { query } from '../services.mjs';

/**
 * Gives each room `each` messages of 100 bytes. Their words are not stored, neither now nor by a server that runs.
 *
 * @param {string} url
 * @param {number} each
 */
export async function fillLogs(url, each) {
  await query(
    url,
    `WITH stored AS (
       INSERT INTO search_positions SELECT id, head + ${each} FROM rooms
       ON CONFLICT (room_id) DO UPDATE SET upto = excluded.upto
     ), filled AS (
       INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT id, head + n, 'message', gen_random_uuid(), repeat('x', 100), now(), now()
       FROM generate_series(1, ${each}) AS n, rooms
     )
     UPDATE rooms SET head = head + ${each}`,
  );
  await query(url, 'VACUUM ANALYZE');
  await query(url, 'CHECKPOINT');
}
