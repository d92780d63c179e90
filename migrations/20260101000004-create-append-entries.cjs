'use strict';

// Appends a batch of entries to the logs of its rooms, in the order of the arrays.
//
//   checked_room[i], checked_rules_head[i]: a room of the batch, and the rule entry up to which its senders
//     were checked (null: they were checked inside this transaction)
//   entry_room[j], entry_kind[j], ...: the entries
//
// Returns a row an entry: its place `ord` in the arrays (from 1), and its `outcome`:
//   stored  numbered seq, at created_at
//   known   the emitter had sent this ref before: seq and created_at of that entry
//   stale   the room has a rule newer than those checked: nothing of this room was stored
//   gone    there is no such room
//
// In PL/pgSQL rather than one statement, because each statement of a function has a snapshot of its own
// (READ COMMITTED): the second one sees what was committed while the first waited for the rooms' locks.
const up = `
CREATE OR REPLACE FUNCTION append_entries(
  checked_room integer[], checked_rules_head bigint[],
  entry_room integer[], entry_kind text[], entry_emitter uuid[],
  entry_content text[], entry_ref text[], entry_target bigint[]
) RETURNS TABLE (ord bigint, outcome text, seq bigint, created_at timestamptz)
LANGUAGE plpgsql
-- A room whose lock is kept by somebody who hangs must not keep a lane, and with it other rooms, for ever.
SET lock_timeout = '4s'
AS $$
#variable_conflict use_column
DECLARE
  moment timestamptz(3);
BEGIN
  -- The row of a room is the lock of its log. In the order of ids, so that two batches never wait for
  -- each other.
  PERFORM 1 FROM rooms WHERE id = ANY (checked_room) ORDER BY id FOR NO KEY UPDATE;
  -- After the locks, so that entries of a room are dated in their order.
  moment := clock_timestamp();

  RETURN QUERY
  WITH room AS (
    SELECT r.id, r.head, coalesce(r.rules_head > c.rules_head, false) AS stale
    FROM unnest(checked_room, checked_rules_head) AS c (id, rules_head)
    JOIN rooms r ON r.id = c.id
  ), entry AS (
    SELECT e.*, room.head, room.stale, m.seq AS known_seq, m."createdAt" AS known_at,
      -- Of two copies in one batch, the first is the entry.
      first_value(e.ord) OVER (
        PARTITION BY e.room_id, e.emitter, coalesce(e.ref, e.ord::text), e.ref IS NULL ORDER BY e.ord
      ) AS first_ord
    FROM unnest(entry_room, entry_kind, entry_emitter, entry_content, entry_ref, entry_target)
      WITH ORDINALITY AS e (room_id, kind, emitter, content, ref, target, ord)
    LEFT JOIN room ON room.id = e.room_id
    LEFT JOIN messages m ON m.room_id = e.room_id AND m.emitter = e.emitter AND m.ref = e.ref
  ), fresh AS (
    SELECT entry.*, entry.head + row_number() OVER (PARTITION BY entry.room_id ORDER BY entry.ord) AS seq
    FROM entry
    WHERE NOT entry.stale AND entry.ord = entry.first_ord AND entry.known_seq IS NULL
  ), raised AS (
    UPDATE rooms SET
      head = grown.head,
      rules_head = coalesce(grown.rules_head, rooms.rules_head)
    FROM (
      SELECT room_id, max(seq) AS head, max(seq) FILTER (WHERE kind = 'rule') AS rules_head
      FROM fresh GROUP BY room_id
    ) AS grown
    WHERE rooms.id = grown.room_id
  ), inserted AS (
    INSERT INTO messages
      (room_id, seq, kind, emitter, content, ref, target, "createdAt", "updatedAt")
    SELECT fresh.room_id, fresh.seq, fresh.kind, fresh.emitter, fresh.content, fresh.ref, fresh.target,
      moment, moment
    FROM fresh
  )
  SELECT entry.ord,
    CASE
      WHEN entry.head IS NULL THEN 'gone'
      WHEN entry.stale THEN 'stale'
      WHEN fresh.ord = entry.ord THEN 'stored'
      ELSE 'known'
    END,
    coalesce(entry.known_seq, fresh.seq),
    coalesce(entry.known_at, moment)
  FROM entry
  LEFT JOIN fresh ON fresh.ord = entry.first_ord
  ORDER BY entry.ord;
END
$$`;

module.exports = {
  async up(queryInterface) {
    await queryInterface.sequelize.query(up);
  },

  async down(queryInterface) {
    await queryInterface.sequelize.query('DROP FUNCTION append_entries');
  },
};
