'use strict';

// Deleted rooms whose entries are not all deleted yet (src/store/purge.ts).
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('deleted_rooms', {
      room_id: { type: Sequelize.INTEGER, primaryKey: true },
      // Seq of the last entry that is still there: the newest are deleted first.
      head: { type: Sequelize.BIGINT, allowNull: false },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('deleted_rooms');
  },
};
