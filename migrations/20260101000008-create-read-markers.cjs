'use strict';

// How far each user has read each room.
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
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('read_markers');
  },
};
