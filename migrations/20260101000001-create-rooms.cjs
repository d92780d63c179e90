'use strict';

// Each migration can run twice (IF NOT EXISTS, OR REPLACE): sequelize-cli records a migration after it has run, so a
// process that is killed in between leaves one that runs again.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('rooms', {
      id: { type: Sequelize.INTEGER, primaryKey: true, autoIncrement: true },
      uuid: { type: Sequelize.UUID, allowNull: false, unique: true },
      name: { type: Sequelize.STRING(100), allowNull: false },
      type: { type: Sequelize.STRING(16), allowNull: false },
      entity_owner: { type: Sequelize.UUID, allowNull: false },
      level_admin: { type: Sequelize.INTEGER, allowNull: false },
      max_entity_rules: { type: Sequelize.INTEGER, allowNull: false },
      // A JSON object of the application, as text.
      data: { type: Sequelize.TEXT },
      // The users of a direct room, the smaller UUID first.
      first_user: { type: Sequelize.UUID },
      second_user: { type: Sequelize.UUID },
      // Seq of the room's last entry, and of the last one that changed rights.
      head: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      rules_head: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      // Seq up to which the log is gone, because it is old: the entries beyond it have no gap.
      horizon: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      // The date of that entry, so that an append need not look at it.
      rules_date: { type: 'timestamp(3) with time zone' },
      // Number of the room's rows in room_permissions.
      rule_count: { type: Sequelize.INTEGER, allowNull: false, defaultValue: 0 },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    // Groups only: an entity sees the groups that it owns, but no user2user room. `id + 0` is an order that the primary
    // key does not give: with plain `id`, Postgres may walk the whole primary key in the hope to meet the entity's
    // rooms soon.
    await queryInterface.sequelize.query(
      `CREATE INDEX IF NOT EXISTS rooms_entity_owner ON rooms (entity_owner, (id + 0)) WHERE type = 'group'`,
    );
    // Two users have one direct room, also if both open it at once.
    await queryInterface.sequelize.query(
      `CREATE UNIQUE INDEX IF NOT EXISTS rooms_pair ON rooms (first_user, second_user)
       WHERE first_user IS NOT NULL`,
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('rooms');
  },
};
