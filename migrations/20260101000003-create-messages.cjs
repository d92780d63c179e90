'use strict';

// The log of all rooms. No foreign key to rooms: entries are inserted under the lock of their room's row, so a check
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
      target: { type: Sequelize.BIGINT },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    await queryInterface.sequelize.query(
      `CREATE UNIQUE INDEX IF NOT EXISTS messages_ref ON messages (room_id, emitter, ref)
       WHERE ref IS NOT NULL`,
    );
    await queryInterface.sequelize.query(
      'CREATE INDEX IF NOT EXISTS messages_created_at ON messages (room_id, "createdAt", seq)',
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('messages');
  },
};
