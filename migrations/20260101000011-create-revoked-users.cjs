'use strict';

// Users whose tokens were revoked: those issued until then are refused. One row a user, the newest revocation.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('revoked_users', {
      user_uuid: { type: Sequelize.UUID, primaryKey: true },
      revokedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    // Each node looks for the newest ones, every few seconds.
    await queryInterface.sequelize.query(
      'CREATE INDEX IF NOT EXISTS revoked_users_revoked_at ON revoked_users ("revokedAt")',
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('revoked_users');
  },
};
