import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';

/**
 * Entries about messages, and reactions, of one transaction, which has the lock of their room meanwhile: as many as an
 * append stores at most. One message may have any number of them.
 */
const ROWS_AT_ONCE = 1_000;

/** Deletes reactions to the messages $2. */
const FORGET_REACTIONS = `WITH gone AS (
    DELETE FROM reactions WHERE room_id = $1 AND ctid = ANY (ARRAY(
      SELECT found.place FROM unnest($2::bigint[]) AS message (seq) CROSS JOIN LATERAL (
        SELECT ctid AS place FROM reactions WHERE room_id = $1 AND target = message.seq LIMIT ${ROWS_AT_ONCE}
      ) AS found LIMIT ${ROWS_AT_ONCE}
    )) RETURNING 1
  )
  SELECT count(*) AS rows FROM gone`;

/** Empties entries beyond $3 about the messages $2. Each is met once, as the index has none that is empty. */
const EMPTY_ENTRIES = `WITH emptied AS (
    UPDATE messages SET content = '' WHERE room_id = $1 AND seq = ANY (ARRAY(
      SELECT found.seq FROM unnest($2::bigint[]) AS message (seq) CROSS JOIN LATERAL (
        SELECT seq FROM messages
        WHERE room_id = $1 AND target = message.seq AND content <> '' AND seq > $3 LIMIT ${ROWS_AT_ONCE}
      ) AS found LIMIT ${ROWS_AT_ONCE}
    )) RETURNING 1
  )
  SELECT count(*) AS rows FROM emptied`;

/**
 * Forgets a part of what others have said about messages that go: deletes the reactions to them, then empties the entries
 * beyond `beyond` that are about them. So a message has such an entry for as long as it has a reaction.
 * @param transaction has the lock of the room
 * @returns whether nothing is left
 */
export async function forgetAbout(
  sequelize: Sequelize,
  roomId: number,
  { seqs, beyond = 0 }: { readonly seqs: readonly number[]; readonly beyond?: number },
  transaction: Transaction,
): Promise<boolean> {
  const options = { type: QueryTypes.SELECT, transaction } as const;
  const [gone] = await sequelize.query<{ rows: number }>(FORGET_REACTIONS, {
    bind: [roomId, seqs],
    ...options,
  });
  if ((gone?.rows ?? 0) >= ROWS_AT_ONCE) return false;
  const [emptied] = await sequelize.query<{ rows: number }>(EMPTY_ENTRIES, {
    bind: [roomId, seqs, beyond],
    ...options,
  });
  return (emptied?.rows ?? 0) < ROWS_AT_ONCE;
}

/** The SQL of whether something that others have said about the message `m` is not forgotten yet. */
export const IS_TALKED_ABOUT = `(SELECT true FROM messages AS about
    WHERE about.room_id = m.room_id AND about.target = m.seq AND about.content <> '' LIMIT 1) IS TRUE`;
