'use strict';

module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('room_permissions', {
      room_id: {
        type: Sequelize.INTEGER,
        primaryKey: true,
        references: { model: 'rooms', key: 'id' },
        onDelete: 'CASCADE',
      },
      entity_UUID: { type: Sequelize.UUID, primaryKey: true },
      level: { type: Sequelize.INTEGER, allowNull: false },
      permissions: { type: Sequelize.STRING(4), allowNull: false },
      accepted: { type: Sequelize.BOOLEAN, allowNull: false, defaultValue: false },
      // What `permissions` are again once nobody in the room blocks the user any more; null if nobody does.
      unblocked: { type: Sequelize.STRING(4) },
      // Seq of the entry that added the rule; changes keep it.
      since: { type: Sequelize.BIGINT, allowNull: false, defaultValue: 0 },
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      updatedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    // For the list of a user's rooms, which looks rules up by UUID.
    await queryInterface.sequelize.query(
      'CREATE INDEX IF NOT EXISTS room_permissions_entity ON room_permissions ("entity_UUID", room_id)',
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('room_permissions');
  },
};
