import { DataTypes, type Model, type ModelStatic, type Sequelize } from 'sequelize';

export type RoomType = 'group' | 'user2user';

/** A row of `rooms`. */
export interface RoomRow {
  id: number;
  uuid: string;
  name: string;
  type: RoomType;
  entity_owner: string;
  level_admin: number;
  max_entity_rules: number;
  /** Seq of the room's last entry, 0 before the first. */
  head: number;
  /** Seq of the last rule entry that changed rights. */
  rules_head: number;
  /** Number of its rules, written under its lock: it may have thousands, which nobody wants to count. */
  rule_count: number;
  createdAt: Date;
  updatedAt: Date;
}

export type RoomDraft = Pick<
  RoomRow,
  'uuid' | 'name' | 'type' | 'entity_owner' | 'level_admin' | 'max_entity_rules'
>;

type NewRoom = RoomDraft & Pick<RoomRow, 'rule_count'>;

export type RoomModel = ModelStatic<Model<RoomRow, NewRoom>>;

export function defineRoom(sequelize: Sequelize): RoomModel {
  return sequelize.define<Model<RoomRow, NewRoom>>(
    'room',
    {
      id: { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true },
      uuid: { type: DataTypes.UUID, allowNull: false },
      name: { type: DataTypes.STRING(100), allowNull: false },
      type: { type: DataTypes.STRING(16), allowNull: false },
      entity_owner: { type: DataTypes.UUID, allowNull: false },
      level_admin: { type: DataTypes.INTEGER, allowNull: false },
      max_entity_rules: { type: DataTypes.INTEGER, allowNull: false },
      head: { type: DataTypes.BIGINT, allowNull: false, defaultValue: 0 },
      rules_head: { type: DataTypes.BIGINT, allowNull: false, defaultValue: 0 },
      rule_count: { type: DataTypes.INTEGER, allowNull: false },
      createdAt: DataTypes.DATE,
      updatedAt: DataTypes.DATE,
    },
    { tableName: 'rooms' },
  );
}
