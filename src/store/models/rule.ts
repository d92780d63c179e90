import { DataTypes, type Model, type ModelStatic, type Sequelize } from 'sequelize';
import type { Rule } from '../../access/permissions.js';

/** A row of `room_permissions`. */
export interface RuleRow extends Rule {
  roomId: number;
  /** Seq of the entry that added the rule; changes keep it. */
  since: number;
  createdAt: Date;
  updatedAt: Date;
}

type NewRule = Omit<RuleRow, 'createdAt' | 'updatedAt'>;

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
      since: { type: DataTypes.BIGINT, allowNull: false },
      createdAt: DataTypes.DATE,
      updatedAt: DataTypes.DATE,
    },
    { tableName: 'room_permissions' },
  );
}
