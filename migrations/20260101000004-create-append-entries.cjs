'use strict';

// Appends a batch of entries to the logs of their rooms:
//
//   room_ids[r], ...      the rooms of the batch: the rule entry up to which the emitters were checked (null: they
//                         were checked inside this transaction), how many entries, and which of them is the last
//                         rule (0: none)
//   entry_rooms[i], ...   the entries: the index r of the room, and the entry's place among the room's, from 1
//                         (entry_refs is null where no entry has a ref)
//
// Returns a row a room (its index, and in seq the head before the batch), whose outcome is
//   stored  its entries are numbered head + place
//   stale   it has a rule newer than those checked: nothing of it was stored
//   again   an emitter had sent one of its refs before: nothing of it was stored
//   gone    there is no such room
// and a row an entry whose ref is known: outcome known, the entry's index, and seq and created_at as stored.
//
// In PL/pgSQL rather than one statement, because each statement of a function has a snapshot of its own
// (READ COMMITTED): the second one sees what was committed while the first waited for the rooms' locks.
//
// Planned once a connection: planning takes as long as storing many messages. Such a plan is made while the
// tables may still be empty, and must be right when they have grown: index lookups, and nothing else.
const up = `
CREATE OR REPLACE FUNCTION append_entries(
  room_ids integer[], room_rules_heads bigint[], room_counts integer[], room_last_rules integer[],
  entry_rooms integer[], entry_places integer[], entry_kinds text[], entry_emitters uuid[],
  entry_contents text[], entry_refs text[], entry_targets bigint[]
) RETURNS TABLE (room integer, entry integer, outcome text, seq bigint, created_at timestamptz)
LANGUAGE plpgsql
-- A room whose lock is kept by somebody who hangs must not keep a lane, and with it other rooms, for ever.
SET lock_timeout = '4s'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  moment timestamptz(3);
  repeated integer[] := '{}';
  heads bigint[];
  outcomes text[];
  -- Without nulls and of fixed width: subscripts are found at once.
  is_stored boolean[];
BEGIN
  -- The row of a room is the lock of its log. In the order of ids, so that two batches never wait for
  -- each other.
  PERFORM 1 FROM rooms WHERE id = ANY (room_ids) ORDER BY id FOR NO KEY UPDATE;
  -- After the locks, so that entries of a room are dated in their order.
  moment := clock_timestamp();

  IF entry_refs IS NOT NULL THEN
    RETURN QUERY
    SELECT e.room, e.ord::integer, 'known', known.seq, known."createdAt"
    FROM unnest(entry_rooms, entry_emitters, entry_refs) WITH ORDINALITY AS e (room, emitter, ref, ord)
    CROSS JOIN LATERAL (
      SELECT seq, "createdAt" FROM messages
      WHERE room_id = room_ids[e.room] AND emitter = e.emitter AND ref = e.ref LIMIT 1
    ) AS known;
    IF FOUND THEN
      SELECT array_agg(e.room) INTO repeated
      FROM unnest(entry_rooms, entry_emitters, entry_refs) AS e (room, emitter, ref)
      WHERE EXISTS (
        SELECT 1 FROM messages
        WHERE room_id = room_ids[e.room] AND emitter = e.emitter AND ref = e.ref);
    END IF;
  END IF;

  SELECT array_agg(judged.head ORDER BY ord), array_agg(judged.outcome ORDER BY ord),
    array_agg(judged.outcome = 'stored' ORDER BY ord)
  INTO heads, outcomes, is_stored
  FROM (
    SELECT r.ord, coalesce(found.head, 0) AS head,
      CASE
        WHEN found.head IS NULL THEN 'gone'
        WHEN found.rules_head > r.rules_head THEN 'stale'
        WHEN r.ord = ANY (repeated) THEN 'again'
        ELSE 'stored'
      END AS outcome
    FROM unnest(room_ids, room_rules_heads) WITH ORDINALITY AS r (id, rules_head, ord)
    LEFT JOIN LATERAL (SELECT head, rules_head FROM rooms WHERE id = r.id LIMIT 1) AS found ON true
  ) AS judged;

  INSERT INTO messages
    (room_id, seq, kind, emitter, content, ref, target, "createdAt", "updatedAt")
  SELECT room_ids[e.room], heads[e.room] + e.place, e.kind, e.emitter, e.content, e.ref, e.target,
    moment, moment
  FROM unnest(
    entry_rooms, entry_places, entry_kinds, entry_emitters, entry_contents, entry_refs, entry_targets
  ) AS e (room, place, kind, emitter, content, ref, target)
  WHERE is_stored[e.room];

  UPDATE rooms SET
    head = rooms.head + r.entries,
    rules_head = CASE WHEN r.last_rule > 0 THEN rooms.head + r.last_rule ELSE rooms.rules_head END
  FROM unnest(room_ids, room_counts, room_last_rules) WITH ORDINALITY AS r (id, entries, last_rule, ord)
  WHERE rooms.id = r.id AND is_stored[r.ord];

  RETURN QUERY
  SELECT r.ord::integer, NULL::integer, r.outcome, heads[r.ord], moment::timestamptz
  FROM unnest(outcomes) WITH ORDINALITY AS r (outcome, ord);
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
