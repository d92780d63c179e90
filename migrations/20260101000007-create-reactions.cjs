'use strict';

// The last reaction of each user with each emoji to each message. Like the log, it has no foreign key to rooms: it is
// written under the lock of the room's row, and deleted with the log.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('reactions', {
      room_id: { type: Sequelize.INTEGER, primaryKey: true },
      target: { type: Sequelize.BIGINT, primaryKey: true },
      // The emoji without U+FE0F, so that it is the same one however a keyboard writes it.
      emoji_key: { type: Sequelize.TEXT, primaryKey: true },
      emitter: { type: Sequelize.UUID, primaryKey: true },
      // As it was written first, for all who have it on.
      emoji: { type: Sequelize.TEXT, allowNull: false },
      is_on: { type: Sequelize.BOOLEAN, allowNull: false },
      // Seq of the reaction.
      seq: { type: Sequelize.BIGINT, allowNull: false },
    });
    // For the reactions that a message shows: it may have had any number of others, which were taken off.
    await queryInterface.sequelize.query(
      'CREATE INDEX IF NOT EXISTS reactions_on ON reactions (room_id, target) WHERE is_on',
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('reactions');
  },
};
