'use strict';

// Messages that users have reported to the application, until it closes the report.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('reports', {
      id: { type: Sequelize.INTEGER, primaryKey: true, autoIncrement: true },
      room_id: {
        type: Sequelize.INTEGER,
        allowNull: false,
        references: { model: 'rooms', key: 'id' },
        onDelete: 'CASCADE',
      },
      // Of the message.
      seq: { type: Sequelize.BIGINT, allowNull: false },
      reporter: { type: Sequelize.UUID, allowNull: false },
      reason: { type: Sequelize.TEXT },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    // A user reports a message once.
    await queryInterface.sequelize.query(
      `CREATE UNIQUE INDEX IF NOT EXISTS reports_message ON reports (room_id, seq, reporter)`,
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('reports');
  },
};
