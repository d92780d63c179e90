import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Caller, CountedAccess } from '../access/permissions.js';
import type { RuleRow } from './models/rule.js';

/** A room as it is at one moment, for questions about permissions. Whoever has it may change it. */
export interface LoadedRoom extends CountedAccess {
  /** Number of its last entry. */
  readonly head: number;
  ruleCount: number;
  /** Those that were asked for and are there. */
  readonly rules: Map<string, RuleRow>;
}

interface RoomQueryRow extends Omit<LoadedRoom, 'rules'> {
  readonly rules: readonly (Omit<RuleRow, 'createdAt' | 'updatedAt'> & {
    /** ISO 8601, as Postgres writes it. */
    readonly createdAt: string;
    readonly updatedAt: string;
  })[];
}

/**
 * A room with the rules of some callers, and those of `targets`, by key: it may have thousands. Undefined if there is no
 * such room.
 */
export async function loadRoom(
  sequelize: Sequelize,
  roomId: number,
  callers: readonly Caller[],
  targets: readonly string[] = [],
  transaction?: Transaction,
): Promise<LoadedRoom | undefined> {
  const uuids = callers.flatMap(({ userUUID, entityUUID }) => [userUUID, entityUUID]);
  const [row] = await sequelize.query<RoomQueryRow>(
    `SELECT head, type, entity_owner, level_admin, max_entity_rules, rule_count AS "ruleCount",
       (SELECT coalesce(json_agg(rule), '[]') FROM (
          SELECT room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt"
          FROM room_permissions WHERE room_id = rooms.id AND "entity_UUID" = ANY ($2::uuid[])) AS rule
       ) AS rules
     FROM rooms WHERE id = $1`,
    {
      bind: [roomId, [...new Set([...uuids, ...targets])]],
      type: QueryTypes.SELECT,
      ...(transaction && { transaction }),
    },
  );
  if (row === undefined) return undefined;
  const rules = row.rules.map((rule): [string, RuleRow] => [
    rule.entity_UUID,
    { ...rule, createdAt: new Date(rule.createdAt), updatedAt: new Date(rule.updatedAt) },
  ]);
  return { ...row, rules: new Map(rules) };
}

/**
 * Locks a room until the transaction ends, then loads it: its row is the lock of its log, as in append_batch. In a
 * statement of its own, as one that waited for a lock reads other tables as they were before it waited.
 * @throws {ChatError} UNAVAILABLE if the lock is not to be had in time
 */
export async function lockRoom(
  sequelize: Sequelize,
  roomId: number,
  callers: readonly Caller[],
  targets: readonly string[],
  transaction: Transaction,
): Promise<LoadedRoom | undefined> {
  await sequelize.query('SELECT 1 FROM rooms WHERE id = $1 FOR NO KEY UPDATE', {
    bind: [roomId],
    transaction,
  });
  return loadRoom(sequelize, roomId, callers, targets, transaction);
}
