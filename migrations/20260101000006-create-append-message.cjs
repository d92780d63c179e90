'use strict';

// Appends one message, as append_batch appends a batch of one, in less time: without arrays, and without a lookup of
// its own for the ref. Gives
//   outcome  stored | known: the emitter had sent the ref before | stale: the room has a rule newer than those
//            checked | gone: there is no such room
//   seq      the message's number, of stored and known; moment: when that was stored
// It fails with lock_not_available (55P03) where the room's lock is not to be had.
//
// In PL/pgSQL, and planned once a connection, for the reasons given with append_batch.
const up = `
CREATE OR REPLACE FUNCTION append_message(
  message_room integer, checked_rules_head bigint, message_emitter uuid, message_content text, message_ref text,
  OUT outcome text, OUT seq bigint, OUT moment timestamptz
)
LANGUAGE plpgsql
SET lock_timeout = '2s'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  number bigint;
BEGIN
  -- The lock of the room's log.
  UPDATE rooms SET head = head + 1 WHERE id = message_room AND rules_head <= checked_rules_head
  RETURNING head INTO number;
  IF number IS NULL THEN
    outcome := CASE WHEN EXISTS (SELECT FROM rooms WHERE id = message_room) THEN 'stale' ELSE 'gone' END;
    RETURN;
  END IF;
  -- Behind the lock, so that entries of a room are dated in their order.
  moment := date_trunc('milliseconds', clock_timestamp());

  IF message_ref IS NULL THEN
    INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
    VALUES (message_room, number, 'message', message_emitter, message_content, moment, moment);
  ELSE
    INSERT INTO messages (room_id, seq, kind, emitter, content, ref, "createdAt", "updatedAt")
    VALUES (message_room, number, 'message', message_emitter, message_content, message_ref, moment, moment)
    ON CONFLICT (room_id, emitter, ref) WHERE ref IS NOT NULL DO NOTHING;
    IF NOT FOUND THEN
      -- Nobody has seen the number: the lock is held until the commit.
      UPDATE rooms SET head = head - 1 WHERE id = message_room;
      SELECT 'known', messages.seq, messages."createdAt" INTO outcome, seq, moment
      FROM messages WHERE room_id = message_room AND emitter = message_emitter AND ref = message_ref;
      RETURN;
    END IF;
  END IF;
  outcome := 'stored';
  seq := number;
END
$$`;

// Not called any more: a plain statement does the same in less time. It stays for nodes of the version before that run
// on beside this one.
module.exports = {
  async up(queryInterface) {
    await queryInterface.sequelize.query(up);
  },

  async down(queryInterface) {
    await queryInterface.sequelize.query('DROP FUNCTION append_message');
  },
};
