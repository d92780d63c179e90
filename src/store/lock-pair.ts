import type { Sequelize, Transaction } from 'sequelize';

/** Makes the keys of the advisory locks of pairs: an arbitrary number, the same in every process. */
const LOCK_SEED = 7_777_015;

/** Until the transaction ends, nobody else opens a room of the two, lets one into a room of the other, blocks or unblocks. */
export async function lockPair(
  sequelize: Sequelize,
  one: string,
  other: string,
  transaction: Transaction,
): Promise<void> {
  await sequelize.query('SELECT pg_advisory_xact_lock(hashtextextended($1, $2))', {
    bind: [[one, other].toSorted().join(' '), LOCK_SEED],
    transaction,
  });
}

/** Likewise each member of a locked room with each of the UUIDs that have no rule in it. */
export async function lockNewPairs(
  sequelize: Sequelize,
  roomId: number,
  uuids: readonly string[],
  transaction: Transaction,
): Promise<void> {
  await sequelize.query(
    `SELECT pg_advisory_xact_lock(hashtextextended(pair, $3)) FROM (
       SELECT DISTINCT concat_ws(' ', least(member, added), greatest(member, added)) AS pair
       FROM unnest($2::uuid[]) AS added
       CROSS JOIN (SELECT "entity_UUID" AS member FROM room_permissions WHERE room_id = $1) AS members
       WHERE NOT EXISTS (SELECT FROM room_permissions WHERE room_id = $1 AND "entity_UUID" = added)
       ORDER BY pair
     ) AS pairs`,
    { bind: [roomId, uuids, LOCK_SEED], transaction },
  );
}
