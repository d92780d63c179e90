import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Caller, CountedAccess } from '../access/permissions.js';
import { lockNewPairs } from './lock-pair.js';
import type { RuleRow } from './models/rule.js';

/** The end of a room's log at one moment. */
export interface LogPlace {
  /** Seq of the room's last entry. */
  readonly head: number;
  /** The uuid of the log. */
  readonly epoch: string;
}

/**
 * A room at one moment, for questions about permissions. Its owner may change it, to decide several changes in a row.
 */
export interface LoadedRoom extends CountedAccess, LogPlace {
  /** Seq up to which its log is gone (retention.ts). */
  readonly horizon: number;
  /** Whether messages were erased of which no entry says so yet (erasures.ts). */
  readonly isBeingErased: boolean;
  ruleCount: number;
  /** By UUID, those that were asked for and exist. */
  readonly rules: Map<string, RuleRow>;
  readonly blocked: ReadonlySet<string>;
}

interface RoomQueryRow extends Omit<LoadedRoom, 'rules' | 'blocked'> {
  readonly blocked: readonly string[];
  readonly rules: readonly (Omit<RuleRow, 'createdAt' | 'updatedAt'> & {
    /** ISO 8601, as Postgres writes it. */
    readonly createdAt: string;
    readonly updatedAt: string;
  })[];
}

/**
 * Loads a room with the rules of some callers and of some other UUIDs, as it may have thousands of others.
 * @param targets UUIDs
 * @returns undefined if there is no such room
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
    `SELECT head, horizon, (SELECT uuid FROM log_epoch) AS epoch, type, entity_owner AS "entityOwner", level_admin AS "levelAdmin",
       max_entity_rules AS "maxEntityRules", rule_count AS "ruleCount",
       EXISTS (SELECT FROM erasures WHERE room_id = rooms.id AND is_owed AND "finishedAt" IS NULL) AS "isBeingErased",
       CASE WHEN first_user IS NOT NULL THEN json_build_array(first_user, second_user) END AS pair,
       (SELECT coalesce(json_agg(rule), '[]') FROM (
          SELECT room_id AS "roomId", "entity_UUID" AS "entityUUID", level, permissions, accepted, unblocked, since,
            "createdAt", "updatedAt"
          FROM room_permissions WHERE room_id = rooms.id AND "entity_UUID" = ANY ($2::uuid[])) AS rule
       ) AS rules,
       (SELECT coalesce(json_agg(DISTINCT b.blocked), '[]')
        FROM (SELECT $3::uuid[] || ARRAY[first_user, second_user] || ARRAY(
            SELECT "entity_UUID" FROM room_permissions WHERE room_id = rooms.id) AS uuids WHERE type = 'user2user'
          ) AS users
        JOIN blocks AS b ON b.blocker = ANY (users.uuids) AND b.blocked = ANY (users.uuids)
       ) AS blocked
     FROM rooms WHERE id = $1`,
    {
      bind: [roomId, [...new Set([...uuids, ...targets])], [...targets]],
      type: QueryTypes.SELECT,
      ...(transaction && { transaction }),
    },
  );
  if (row === undefined) return undefined;
  const rules = row.rules.map((rule): [string, RuleRow] => [
    rule.entityUUID,
    { ...rule, createdAt: new Date(rule.createdAt), updatedAt: new Date(rule.updatedAt) },
  ]);
  return { ...row, rules: new Map(rules), blocked: new Set(row.blocked) };
}

/**
 * Locks a room until the transaction ends, then loads it. The room's row is the lock of its log, as in append_batch.
 * The lock has a statement of its own, because a statement that waited for a lock sees other tables as they were
 * before.
 * @throws {ChatError} UNAVAILABLE if another transaction holds the lock for too long
 */
export async function lockRoom(
  sequelize: Sequelize,
  roomId: number,
  callers: readonly Caller[],
  targets: readonly string[],
  transaction: Transaction,
): Promise<LoadedRoom | undefined> {
  const [locked] = await sequelize.query<{ hasUnknownPair: boolean }>(
    `SELECT type = 'user2user' AND first_user IS NULL AS "hasUnknownPair" FROM rooms WHERE id = $1 FOR NO KEY UPDATE`,
    { bind: [roomId], type: QueryTypes.SELECT, transaction },
  );
  // A block that is being made knows nothing of a rule that is being added; a direct room it finds by its users.
  if (locked?.hasUnknownPair === true && targets.length > 0) {
    await lockNewPairs(sequelize, roomId, targets, transaction);
  }
  return loadRoom(sequelize, roomId, callers, targets, transaction);
}
