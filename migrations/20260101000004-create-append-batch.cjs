'use strict';

// Appends a batch of entries to the logs of their rooms (called by src/store/append.ts). Arrays are parallel: r counts
// rooms, i counts entries, both from 1.
//
//   room_ids[r]           a room of the batch
//   room_rules_heads[r]   seq of the change of rights up to which its emitters were checked; null: they were checked in
//                         the transaction that calls this function
//   room_rules_dates[r]   date of that entry; null: the log has none
//   room_counts[r]        number of its entries that get a seq
//   room_last_rules[r]    place of the last of them that changes rights; 0: none
//   entry_rooms[i]        the index r of an entry's room
//   entry_places[i]       its place among the room's entries that get a seq, from 1; 0: a second copy of a ref that is
//                         in the batch already, which is not stored
//   entry_kinds[i], ...   its columns; entry_refs and entry_targets are null if no entry has one
//   entry_extras[i]       its columns that most entries lack, as JSON: data, reply_to, replaced, and mentions as Postgres
//                         writes arrays; null if it lacks all of them, and no array if no entry has one
//   is_patient            whether to wait for rooms that another transaction has locked
//
// Returns
//   moment         the date of all entries
//   heads[r]       the room's head before the batch: an entry's seq is head + place; null if nothing of it was stored
//   outcomes[r]    why nothing of the room was stored; null if something was (no array if all rooms have a head):
//                    stale   rights were changed after its emitters were checked, or its log went back: it ends before
//                            the change that they were checked under, or has an entry of another date in its place
//                    busy    another transaction holds the room's lock
//                    gone    there is no such room
//                    known   nothing of it was to be stored
// and, null unless some of the refs were stored before,
//   known_seqs[i]  seq of the entry that was stored with this emitter and ref; null if there is none
//   known_same[i]  whether it is of the same kind, and says the same, unless it was edited or deleted since, or
//                  one of the two was replaced
// and, null unless some reply_to is no message of its room,
//   orphans[i]     whether this entry's is not
// and, null unless some entries were left out for these reasons,
//   places[i]      the entry's place when those are left out; 0 for them
//
// In PL/pgSQL rather than one statement, because each statement of a function has its own snapshot (READ COMMITTED):
// the later ones see what other transactions committed while the first waited for the rooms' locks.
//
// Planned once a connection, because planning takes as long as storing many messages. The plan may be made while the
// tables are empty and must still be right once they have grown: hence index lookups only.
const up = `
CREATE OR REPLACE FUNCTION append_batch(
  room_ids integer[], room_rules_heads bigint[], room_rules_dates timestamptz[],
  room_counts integer[], room_last_rules integer[],
  entry_rooms integer[], entry_places integer[], entry_kinds text[], entry_emitters uuid[],
  entry_contents text[], entry_refs text[], entry_targets bigint[], entry_extras text[], is_patient boolean,
  OUT moment timestamptz, OUT heads bigint[], OUT outcomes text[],
  OUT known_seqs bigint[], OUT known_same boolean[], OUT orphans boolean[], OUT places integer[]
)
LANGUAGE plpgsql
-- 2 s as LOCK_TIMEOUT_MS of src/store/connect.ts: a transaction that hangs with one room's lock must not keep the other
-- rooms of a batch waiting for longer.
SET lock_timeout = '2s'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  has_known boolean := false;
  has_orphans boolean := false;
  -- The rooms that could be locked; null if all were.
  locked integer[];
  room integer;
  room_head bigint;
BEGIN
  -- A room's row is the lock of its log. Rows are locked in the order of ids, so two batches never wait for each other;
  -- a room that is alone and without refs is locked by its update below.
  IF cardinality(room_ids) > 1 OR entry_refs IS NOT NULL THEN
    IF NOT is_patient THEN
      -- 100 ms leave another node's commit time to end; meanwhile the rooms locked so far are kept from all others.
      PERFORM set_config('lock_timeout', '100ms', true);
    END IF;
    BEGIN
      PERFORM 1 FROM rooms WHERE id = ANY (room_ids) ORDER BY id FOR NO KEY UPDATE;
    EXCEPTION WHEN lock_not_available THEN
      -- Another transaction hangs with one of them: go on with the rest.
      SELECT coalesce(array_agg(id), '{}') INTO locked FROM (
        SELECT id FROM rooms WHERE id = ANY (room_ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) AS free;
    END;
  END IF;

  IF entry_refs IS NOT NULL THEN
    SELECT array_agg(known.seq ORDER BY e.ord), array_agg(known.is_same ORDER BY e.ord), count(known.seq) > 0
    INTO known_seqs, known_same, has_known
    FROM unnest(entry_rooms, entry_kinds, entry_emitters, entry_refs, entry_contents, entry_extras) WITH ORDINALITY
      AS e (room, kind, emitter, ref, content, extras, ord)
    LEFT JOIN LATERAL (
      SELECT seq, kind = e.kind AND (text_seq IS NOT NULL OR deleted_by IS NOT NULL OR replaced IS TRUE
        OR e.extras::json ->> 'replaced' IS NOT NULL OR (
          content = e.content
          AND data IS NOT DISTINCT FROM e.extras::json ->> 'data'
          AND reply_to IS NOT DISTINCT FROM (e.extras::json ->> 'reply_to')::bigint
          AND mentions IS NOT DISTINCT FROM (e.extras::json ->> 'mentions')::uuid[])) AS is_same
      FROM messages
      WHERE room_id = room_ids[e.room] AND emitter = e.emitter AND ref = e.ref LIMIT 1
    ) AS known ON true;
    IF NOT has_known THEN
      known_seqs := NULL;
      known_same := NULL;
    END IF;
  END IF;
  IF entry_extras IS NOT NULL THEN
    SELECT array_agg(e.is_orphan ORDER BY e.ord), bool_or(e.is_orphan) INTO orphans, has_orphans
    FROM (
      SELECT reply.ord, reply.to_seq IS NOT NULL AND found.seq IS NULL AS is_orphan
      FROM (
        SELECT room, (extras::json ->> 'reply_to')::bigint AS to_seq, ord
        FROM unnest(entry_rooms, entry_extras) WITH ORDINALITY AS e (room, extras, ord)
      ) AS reply
      LEFT JOIN LATERAL (
        SELECT seq FROM messages
        WHERE room_id = room_ids[reply.room] AND seq = reply.to_seq AND kind = 'message' LIMIT 1
      ) AS found ON true
    ) AS e;
    IF NOT has_orphans THEN
      orphans := NULL;
    END IF;
  END IF;
  IF has_known OR has_orphans THEN
    SELECT array_agg(e.place ORDER BY e.ord) INTO places
    FROM (
      SELECT ord,
        CASE WHEN is_new THEN count(*) FILTER (WHERE is_new) OVER (PARTITION BY room ORDER BY ord) ELSE 0 END
          AS place
      FROM (
        SELECT room, ord, place > 0 AND known_seq IS NULL AND is_orphan IS NOT TRUE AS is_new
        FROM unnest(entry_rooms, entry_places, known_seqs, orphans) WITH ORDINALITY
          AS e (room, place, known_seq, is_orphan, ord)
      ) AS judged
    ) AS e;
    SELECT array_agg(counted.entries ORDER BY counted.ord), array_agg(counted.last_rule ORDER BY counted.ord)
    INTO room_counts, room_last_rules
    FROM (
      SELECT e.room AS ord, max(e.place) AS entries,
        coalesce(max(e.place) FILTER (WHERE e.place_before <= room_last_rules[e.room]), 0) AS last_rule
      FROM unnest(entry_rooms, entry_places, places) AS e (room, place_before, place)
      GROUP BY e.room
    ) AS counted;
    entry_places := places;
  END IF;

  heads := array_fill(NULL::bigint, ARRAY[cardinality(room_ids)]);
  FOR room, room_head IN
    UPDATE rooms SET
      head = rooms.head + r.entries,
      rules_head = CASE WHEN r.last_rule > 0 THEN rooms.head + r.last_rule ELSE rooms.rules_head END
    FROM unnest(room_ids, room_rules_heads, room_rules_dates, room_counts, room_last_rules) WITH ORDINALITY
      AS r (id, rules_head, rules_date, entries, last_rule, ord)
    WHERE rooms.id = r.id AND (r.rules_head BETWEEN rooms.rules_head AND rooms.head) IS NOT FALSE AND r.entries > 0
      AND (rooms.rules_head = r.rules_head AND rooms.rules_date = r.rules_date OR (
        -- In the order of the key, which no other index has.
        SELECT seq <> r.rules_head OR "createdAt" = r.rules_date FROM messages
        WHERE room_id = r.id AND seq >= r.rules_head ORDER BY seq LIMIT 1) IS NOT FALSE)
      AND (locked IS NULL OR rooms.id = ANY (locked))
    RETURNING r.ord, rooms.head - r.entries
  LOOP
    heads[room] := room_head;
  END LOOP;
  -- Read under the locks, so that dates follow the order of seqs.
  moment := date_trunc('milliseconds', clock_timestamp());
  IF 0 < ANY (room_last_rules) THEN
    UPDATE rooms SET rules_date = moment
    FROM unnest(room_ids, room_last_rules, heads) AS r (id, last_rule, head)
    WHERE rooms.id = r.id AND r.last_rule > 0 AND r.head IS NOT NULL;
  END IF;

  INSERT INTO messages
    (room_id, seq, kind, emitter, content, ref, target, data, reply_to, mentions, replaced, "createdAt", "updatedAt")
  SELECT room_ids[e.room], heads[e.room] + e.place, e.kind, e.emitter, e.content, e.ref, e.target,
    e.extras::json ->> 'data', (e.extras::json ->> 'reply_to')::bigint, (e.extras::json ->> 'mentions')::uuid[],
    (e.extras::json ->> 'replaced')::boolean, moment, moment
  FROM unnest(
    entry_rooms, entry_places, entry_kinds, entry_emitters, entry_contents, entry_refs, entry_targets, entry_extras
  ) AS e (room, place, kind, emitter, content, ref, target, extras)
  WHERE heads[e.room] IS NOT NULL AND e.place > 0;

  IF array_position(heads, NULL) IS NOT NULL THEN
    SELECT array_agg(
      CASE
        WHEN heads[r.ord] IS NOT NULL THEN NULL
        WHEN found.rules_head IS NULL THEN 'gone'
        WHEN r.id <> ALL (locked) THEN 'busy'
        WHEN r.entries = 0 AND (r.rules_head BETWEEN found.rules_head AND found.head) IS NOT FALSE
          AND (found.rules_date = r.rules_date) IS NOT FALSE THEN 'known'
        ELSE 'stale'
      END ORDER BY r.ord)
    INTO outcomes
    FROM unnest(room_ids, room_rules_heads, room_rules_dates, room_counts) WITH ORDINALITY
      AS r (id, rules_head, rules_date, entries, ord)
    LEFT JOIN LATERAL (
      SELECT head, rules_head, (
        SELECT CASE WHEN seq = r.rules_head THEN "createdAt" END FROM messages
        WHERE room_id = r.id AND seq >= r.rules_head ORDER BY seq LIMIT 1) AS rules_date
      FROM rooms WHERE id = r.id LIMIT 1) AS found ON true;
  END IF;
END
$$`;

module.exports = {
  async up(queryInterface) {
    await queryInterface.sequelize.query(up);
  },

  async down(queryInterface) {
    await queryInterface.sequelize.query('DROP FUNCTION append_batch');
  },
};
