'use strict';

// Which log this is (src/store/epoch.ts): one row. The uuid stands for the log's whole past; the other columns are
// those of the database in which it was written last.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('log_epoch', {
      // The only row there can be.
      id: { type: Sequelize.INTEGER, primaryKey: true, defaultValue: 1 },
      uuid: { type: Sequelize.UUID, allowNull: false },
      system_identifier: { type: Sequelize.TEXT, allowNull: false },
      timeline: { type: Sequelize.INTEGER, allowNull: false },
      database_oid: { type: Sequelize.BIGINT, allowNull: false },
      // Counts the looks of nodes without Redis (src/store/lone-node.ts).
      lone_looks: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('log_epoch');
  },
};
