import { DataTypes, type Model, type ModelStatic, type Sequelize } from 'sequelize';

export type RoomType = 'group' | 'user2user';

/** A row of `rooms`. */
export interface RoomRow {
  id: number;
  uuid: string;
  name: string;
  type: RoomType;
  entityOwner: string;
  levelAdmin: number;
  maxEntityRules: number;
  /** A JSON object of the application, as text; null if it gave none. */
  data: string | null;
  /** The users of a direct room, the smaller UUID first; null in any other room. */
  firstUser: string | null;
  secondUser: string | null;
  /** Seq of the room's last entry, 0 before the first. */
  head: number;
  /** Seq of the last entry that changed rights. */
  rulesHead: number;
  /** Date of that entry; null if there is none. */
  rulesDate: Date | null;
  /** Number of its rules, written under its lock: it may have thousands, which nobody wants to count. */
  ruleCount: number;
  createdAt: Date;
  updatedAt: Date;
}

/** A room without the state of its log. */
export type Room = Omit<
  RoomRow,
  'head' | 'rulesHead' | 'rulesDate' | 'ruleCount' | 'firstUser' | 'secondUser'
>;

export type RoomDraft = Pick<
  RoomRow,
  'uuid' | 'name' | 'type' | 'entityOwner' | 'levelAdmin' | 'maxEntityRules'
> &
  Partial<Pick<RoomRow, 'data' | 'firstUser' | 'secondUser'>>;

type NewRoom = RoomDraft & Pick<RoomRow, 'ruleCount'>;

export type RoomModel = ModelStatic<Model<RoomRow, NewRoom>>;

export function defineRoom(sequelize: Sequelize): RoomModel {
  return sequelize.define<Model<RoomRow, NewRoom>>(
    'room',
    {
      id: { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true },
      uuid: { type: DataTypes.UUID, allowNull: false },
      name: { type: DataTypes.STRING(100), allowNull: false },
      type: { type: DataTypes.STRING(16), allowNull: false },
      entityOwner: { type: DataTypes.UUID, allowNull: false, field: 'entity_owner' },
      levelAdmin: { type: DataTypes.INTEGER, allowNull: false, field: 'level_admin' },
      maxEntityRules: { type: DataTypes.INTEGER, allowNull: false, field: 'max_entity_rules' },
      data: { type: DataTypes.TEXT },
      firstUser: { type: DataTypes.UUID, field: 'first_user' },
      secondUser: { type: DataTypes.UUID, field: 'second_user' },
      head: { type: DataTypes.BIGINT, allowNull: false, defaultValue: 0 },
      rulesHead: { type: DataTypes.BIGINT, allowNull: false, defaultValue: 0, field: 'rules_head' },
      rulesDate: { type: DataTypes.DATE, field: 'rules_date' },
      ruleCount: { type: DataTypes.INTEGER, allowNull: false, field: 'rule_count' },
      createdAt: DataTypes.DATE,
      updatedAt: DataTypes.DATE,
    },
    { tableName: 'rooms' },
  );
}
