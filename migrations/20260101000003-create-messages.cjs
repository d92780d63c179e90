'use strict';

// The log of all rooms. The text of a message stands in its own row alone: an edit changes it there, and a deletion
// leaves it nowhere. No foreign key to rooms: entries are inserted under the lock of their room's row, so a check
// for each row would find nothing and slow down every message. Every key begins with room_id, so the table can be
// partitioned or sharded by room.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('messages', {
      room_id: { type: Sequelize.INTEGER, primaryKey: true },
      seq: { type: Sequelize.BIGINT, primaryKey: true },
      kind: { type: Sequelize.STRING(16), allowNull: false },
      emitter: { type: Sequelize.UUID, allowNull: false },
      content: { type: Sequelize.TEXT, allowNull: false },
      ref: { type: Sequelize.STRING(64) },
      // Seq of the message that an edit, a deletion or a reaction is about.
      target: { type: Sequelize.BIGINT },
      // Of a message: seqs of the last entry that changed it, of the edit whose text it has, and of its deletion.
      rev: { type: Sequelize.BIGINT },
      text_seq: { type: Sequelize.BIGINT },
      deleted_by: { type: Sequelize.BIGINT },
      // A JSON object, as text: it is sent as it was stored.
      data: { type: Sequelize.TEXT },
      reply_to: { type: Sequelize.BIGINT },
      mentions: { type: Sequelize.ARRAY(Sequelize.UUID) },
      // Of a message or an edit: true if it does not say what its sender said. Null in all others.
      replaced: { type: Sequelize.BOOLEAN },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    // With the columns by which unread messages are counted, so that counting them reads the index alone.
    await queryInterface.sequelize.query(
      `ALTER TABLE messages DROP CONSTRAINT messages_pkey,
       ADD CONSTRAINT messages_pkey PRIMARY KEY (room_id, seq) INCLUDE (kind, emitter)`,
    );
    await queryInterface.sequelize.query(
      `CREATE UNIQUE INDEX IF NOT EXISTS messages_ref ON messages (room_id, emitter, ref)
       WHERE ref IS NOT NULL`,
    );
    // Of messages alone: among the newest entries of a room, thousands may be reactions.
    await queryInterface.sequelize.query(
      `CREATE INDEX IF NOT EXISTS messages_created_at ON messages (room_id, "createdAt", seq)
       WHERE kind = 'message'`,
    );
    // Of entries that say something about a message: what is emptied with its message is not met again.
    // The price: an edit of a text writes all indexes of its row anew.
    await queryInterface.sequelize.query(
      `CREATE INDEX IF NOT EXISTS messages_target ON messages (room_id, target)
       WHERE target IS NOT NULL AND content <> ''`,
    );
    // In the order in which a thread is read.
    await queryInterface.sequelize.query(
      `CREATE INDEX IF NOT EXISTS messages_reply_to ON messages (room_id, reply_to, seq)
       WHERE reply_to IS NOT NULL`,
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('messages');
  },
};
