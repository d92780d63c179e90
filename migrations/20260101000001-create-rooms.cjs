'use strict';

// Each step can be repeated (IF NOT EXISTS, OR REPLACE): a process killed between a step and its record
// in the table of migrations leaves nothing that the next start trips over.
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
      // The number of the room's last entry, and of its last rule entry.
      head: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      rules_head: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      // How many rules it has.
      rule_count: { type: Sequelize.INTEGER, allowNull: false, defaultValue: 0 },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    // Groups only: an entity may own any number of other rooms, which only their members see. By `id + 0`, an order that
    // the primary key has not: else Postgres may pass all rooms by that, hoping to meet the entity's soon.
    await queryInterface.sequelize.query(
      `CREATE INDEX IF NOT EXISTS rooms_entity_owner ON rooms (entity_owner, (id + 0)) WHERE type = 'group'`,
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('rooms');
  },
};
