import { DataTypes, type Model, type ModelStatic, type Sequelize } from 'sequelize';
import type { Rule } from '../../access/permissions.js';

/** A row of `room_permissions`. */
export interface RuleRow extends Rule {
  roomId: number;
  /**
   * The permissions that the rule has again once nobody in the room blocks its user any more; null if nobody does.
   */
  unblocked: string | null;
  /** Seq of the entry that added the rule; changes keep it. */
  since: number;
  createdAt: Date;
  updatedAt: Date;
}

type NewRule = Omit<RuleRow, 'unblocked' | 'createdAt' | 'updatedAt'>;

export type RuleModel = ModelStatic<Model<RuleRow, NewRule>>;

export function defineRule(sequelize: Sequelize): RuleModel {
  return sequelize.define<Model<RuleRow, NewRule>>(
    'rule',
    {
      roomId: { type: DataTypes.INTEGER, primaryKey: true, field: 'room_id' },
      entityUUID: { type: DataTypes.UUID, primaryKey: true, field: 'entity_UUID' },
      level: { type: DataTypes.INTEGER, allowNull: false },
      permissions: { type: DataTypes.STRING(4), allowNull: false },
      accepted: { type: DataTypes.BOOLEAN, allowNull: false },
      unblocked: { type: DataTypes.STRING(4) },
      since: { type: DataTypes.BIGINT, allowNull: false },
      createdAt: DataTypes.DATE,
      updatedAt: DataTypes.DATE,
    },
    { tableName: 'room_permissions' },
  );
}
