import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { RoomAccess } from '../access/permissions.js';
import { rulesByUuid } from './entries.js';
import type { RuleModel } from './models/rule.js';

/**
 * A room's rules, and what else permissions depend on; undefined where there is no such room. The room stays
 * locked until the transaction ends: its row is the lock of its log, as in append_batch.
 */
export async function loadAccess(
  sequelize: Sequelize,
  ruleModel: RuleModel,
  roomId: number,
  transaction: Transaction,
): Promise<RoomAccess | undefined> {
  const [room] = await sequelize.query<Omit<RoomAccess, 'rules'>>(
    `SELECT type, entity_owner, level_admin, max_entity_rules FROM rooms WHERE id = $1
     FOR NO KEY UPDATE`,
    { bind: [roomId], type: QueryTypes.SELECT, transaction },
  );
  if (room === undefined) return undefined;
  const rules = await ruleModel.findAll({
    where: { room_id: roomId },
    transaction,
  });
  return { ...room, rules: rulesByUuid(rules.map((rule) => rule.get())) };
}
