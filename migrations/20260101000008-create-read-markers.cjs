'use strict';

// How far each user has read each room, and what they want to be notified of.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('read_markers', {
      room_id: {
        type: Sequelize.INTEGER,
        primaryKey: true,
        references: { model: 'rooms', key: 'id' },
        onDelete: 'CASCADE',
      },
      user_uuid: { type: Sequelize.UUID, primaryKey: true },
      // Seq of the last entry that counts as read.
      upto: { type: Sequelize.BIGINT, allowNull: false },
      // Which messages the user wants to be notified of: all, mentions or none; null: they have not said.
      notify: { type: Sequelize.STRING(8) },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('read_markers');
  },
};
