import { DataTypes, type Model, type ModelStatic, type Sequelize } from 'sequelize';

/** What an entry of a room's log is. */
export const ENTRY_KINDS = ['message', 'rule'] as const;

export type EntryKind = (typeof ENTRY_KINDS)[number];

/** A row of `messages`: an entry of a room's log. */
export interface MessageRow {
  room_id: number;
  /** The entry's number: 1, 2, 3, ... in its room. */
  seq: number;
  kind: EntryKind;
  /** The user who said or did it. */
  emitter: string;
  /** The message's text; of a rule, the rule as JSON. */
  content: string;
  /** The sender's own name for the entry. */
  ref: string | null;
  /** The entry that this one is about. */
  target: number | null;
  createdAt: Date;
  updatedAt: Date;
}

export type MessageModel = ModelStatic<Model<MessageRow>>;

export function defineMessage(sequelize: Sequelize): MessageModel {
  return sequelize.define<Model<MessageRow>>(
    'message',
    {
      room_id: { type: DataTypes.INTEGER, primaryKey: true },
      seq: { type: DataTypes.BIGINT, primaryKey: true },
      kind: { type: DataTypes.STRING(16), allowNull: false },
      emitter: { type: DataTypes.UUID, allowNull: false },
      content: { type: DataTypes.TEXT, allowNull: false },
      ref: { type: DataTypes.STRING(64) },
      target: { type: DataTypes.BIGINT },
      createdAt: DataTypes.DATE,
      updatedAt: DataTypes.DATE,
    },
    { tableName: 'messages' },
  );
}
