'use strict';

// The log's epoch (src/store/epoch.ts): one row. The uuid names this log; the other columns identify the database in
// which it was last written.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('log_epoch', {
      // Always 1: the table's only row.
      id: { type: Sequelize.INTEGER, primaryKey: true, defaultValue: 1 },
      uuid: { type: Sequelize.UUID, allowNull: false },
      system_identifier: { type: Sequelize.TEXT, allowNull: false },
      timeline: { type: Sequelize.INTEGER, allowNull: false },
      database_oid: { type: Sequelize.BIGINT, allowNull: false },
      // Raised by each node without Redis at each of its checks (src/store/lone-node.ts).
      lone_looks: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('log_epoch');
  },
};
