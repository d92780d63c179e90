'use strict';

// What tokens have told of their users. Nothing refers to it: a user of a rule or a message may have told nothing. An
// application that shares its database with this server often has a table `users` of its own.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('user_profiles', {
      uuid: { type: Sequelize.UUID, primaryKey: true },
      name: { type: Sequelize.STRING(100) },
      picture: { type: Sequelize.TEXT },
      // When the application signed the token that told it: an older token changes nothing.
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('user_profiles');
  },
};
