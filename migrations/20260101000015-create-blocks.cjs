'use strict';

// Who has blocked whom: what a block does to the rules of their rooms is in src/store/rules.ts.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('blocks', {
      blocker: { type: Sequelize.UUID, primaryKey: true },
      blocked: { type: Sequelize.UUID, primaryKey: true },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('blocks');
  },
};
