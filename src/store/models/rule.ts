import { DataTypes, type Model, type ModelStatic, type Sequelize } from 'sequelize';
import type { Rule } from '../../access/permissions.js';

/** A row of `room_permissions`. */
export interface RuleRow extends Rule {
  roomId: number;
  createdAt: Date;
  updatedAt: Date;
}

export type RuleModel = ModelStatic<Model<RuleRow, Rule & { roomId: number }>>;

export function defineRule(sequelize: Sequelize): RuleModel {
  return sequelize.define<Model<RuleRow, Rule & { roomId: number }>>(
    'rule',
    {
      roomId: { type: DataTypes.INTEGER, primaryKey: true, field: 'room_id' },
      entityUUID: { type: DataTypes.UUID, primaryKey: true, field: 'entity_UUID' },
      level: { type: DataTypes.INTEGER, allowNull: false },
      permissions: { type: DataTypes.STRING(4), allowNull: false },
      accepted: { type: DataTypes.BOOLEAN, allowNull: false },
      createdAt: DataTypes.DATE,
      updatedAt: DataTypes.DATE,
    },
    { tableName: 'room_permissions' },
  );
}
