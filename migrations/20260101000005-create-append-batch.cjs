'use strict';

// Appends a batch of entries to the logs of their rooms, as append_entries did, in fewer statements and with one
// row as its answer:
//
//   room_ids[r], ...      the rooms of the batch: the rule entry up to which the emitters were checked (null: they
//                         were checked inside this transaction), how many entries, and which of them is the last
//                         rule (0: none)
//   entry_rooms[i], ...   the entries: the index r of the room, and the entry's place among the room's, from 1
//                         (entry_refs is null where no entry has a ref)
//
// Gives, at one moment,
//   heads[r]       the head of the room before the batch: its entries are numbered head + place. Null where nothing
//                  of the room was stored; only then is there
//   outcomes[r]    stale   the room has a rule newer than those checked
//                  again   an emitter had sent one of its refs before
//                  busy    its lock was not to be had
//                  gone    there is no such room
//   known_*[k]     the entries whose ref is known: their index, and seq and createdAt as stored
//
// In PL/pgSQL rather than one statement, because each statement of a function has a snapshot of its own
// (READ COMMITTED): the later ones see what was committed while the first waited for the rooms' locks.
//
// Planned once a connection: planning takes as long as storing many messages. Such a plan is made while the
// tables may still be empty, and must be right when they have grown: index lookups, and nothing else.
const up = `
CREATE OR REPLACE FUNCTION append_batch(
  room_ids integer[], room_rules_heads bigint[], room_counts integer[], room_last_rules integer[],
  entry_rooms integer[], entry_places integer[], entry_kinds text[], entry_emitters uuid[],
  entry_contents text[], entry_refs text[], entry_targets bigint[],
  OUT moment timestamptz, OUT heads bigint[], OUT outcomes text[],
  OUT known_entries integer[], OUT known_seqs bigint[], OUT known_moments timestamptz[]
)
LANGUAGE plpgsql
-- A room whose lock is kept by somebody who hangs must not keep the other rooms of its batch for long.
SET lock_timeout = '2s'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  repeated integer[] := '{}';
  -- The rooms that could be locked; null where all were.
  locked integer[];
  room integer;
  room_head bigint;
BEGIN
  -- The row of a room is the lock of its log. In the order of ids, so that two batches never wait for each
  -- other; one room without refs is locked by its update.
  IF cardinality(room_ids) > 1 OR entry_refs IS NOT NULL THEN
    BEGIN
      PERFORM 1 FROM rooms WHERE id = ANY (room_ids) ORDER BY id FOR NO KEY UPDATE;
    EXCEPTION WHEN lock_not_available THEN
      -- Somebody who hangs has one of them: the others go on without it.
      SELECT coalesce(array_agg(id), '{}') INTO locked FROM (
        SELECT id FROM rooms WHERE id = ANY (room_ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) AS free;
    END;
  END IF;

  IF entry_refs IS NOT NULL THEN
    SELECT array_agg(e.ord), array_agg(known.seq), array_agg(known."createdAt"),
      coalesce(array_agg(e.room), '{}')
    INTO known_entries, known_seqs, known_moments, repeated
    FROM unnest(entry_rooms, entry_emitters, entry_refs) WITH ORDINALITY AS e (room, emitter, ref, ord)
    CROSS JOIN LATERAL (
      SELECT seq, "createdAt" FROM messages
      WHERE room_id = room_ids[e.room] AND emitter = e.emitter AND ref = e.ref LIMIT 1
    ) AS known;
  END IF;

  heads := array_fill(NULL::bigint, ARRAY[cardinality(room_ids)]);
  FOR room, room_head IN
    UPDATE rooms SET
      head = rooms.head + r.entries,
      rules_head = CASE WHEN r.last_rule > 0 THEN rooms.head + r.last_rule ELSE rooms.rules_head END
    FROM unnest(room_ids, room_rules_heads, room_counts, room_last_rules) WITH ORDINALITY
      AS r (id, rules_head, entries, last_rule, ord)
    WHERE rooms.id = r.id AND (rooms.rules_head > r.rules_head) IS NOT TRUE AND r.ord <> ALL (repeated)
      AND (locked IS NULL OR rooms.id = ANY (locked))
    RETURNING r.ord, rooms.head - r.entries
  LOOP
    heads[room] := room_head;
  END LOOP;
  -- Behind the locks, so that entries of a room are dated in their order.
  moment := date_trunc('milliseconds', clock_timestamp());

  INSERT INTO messages
    (room_id, seq, kind, emitter, content, ref, target, "createdAt", "updatedAt")
  SELECT room_ids[e.room], heads[e.room] + e.place, e.kind, e.emitter, e.content, e.ref, e.target,
    moment, moment
  FROM unnest(
    entry_rooms, entry_places, entry_kinds, entry_emitters, entry_contents, entry_refs, entry_targets
  ) AS e (room, place, kind, emitter, content, ref, target)
  WHERE heads[e.room] IS NOT NULL;

  IF array_position(heads, NULL) IS NOT NULL THEN
    SELECT array_agg(
      CASE
        WHEN heads[r.ord] IS NOT NULL THEN NULL
        WHEN found.rules_head IS NULL THEN 'gone'
        WHEN r.id <> ALL (locked) THEN 'busy'
        WHEN r.ord = ANY (repeated) AND (found.rules_head > r.rules_head) IS NOT TRUE THEN 'again'
        ELSE 'stale'
      END ORDER BY r.ord)
    INTO outcomes
    FROM unnest(room_ids, room_rules_heads) WITH ORDINALITY AS r (id, rules_head, ord)
    LEFT JOIN LATERAL (SELECT rules_head FROM rooms WHERE id = r.id LIMIT 1) AS found ON true;
  END IF;
END
$$`;

// append_entries stays, for nodes of the version before that run on beside this one.
module.exports = {
  async up(queryInterface) {
    await queryInterface.sequelize.query(up);
  },

  async down(queryInterface) {
    await queryInterface.sequelize.query('DROP FUNCTION append_batch');
  },
};
