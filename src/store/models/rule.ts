import { DataTypes, type Model, type ModelStatic, type Sequelize } from 'sequelize';
import type { Rule } from '../../access/permissions.js';

/** A row of `room_permissions`. */
export interface RuleRow extends Rule {
  room_id: number;
  createdAt: Date;
  updatedAt: Date;
}

export type RuleModel = ModelStatic<Model<RuleRow, Rule & { room_id: number }>>;

export function defineRule(sequelize: Sequelize): RuleModel {
  return sequelize.define<Model<RuleRow, Rule & { room_id: number }>>(
    'rule',
    {
      room_id: { type: DataTypes.INTEGER, primaryKey: true },
      entity_UUID: { type: DataTypes.UUID, primaryKey: true },
      level: { type: DataTypes.INTEGER, allowNull: false },
      permissions: { type: DataTypes.STRING(4), allowNull: false },
      accepted: { type: DataTypes.BOOLEAN, allowNull: false },
      createdAt: DataTypes.DATE,
      updatedAt: DataTypes.DATE,
    },
    { tableName: 'room_permissions' },
  );
}
