'use strict';

// How far the events of each room were posted to WEBHOOK_URL (src/store/webhook-cursors.ts). The log itself is what is to
// be posted. Nothing is written here while there is no WEBHOOK_URL.
module.exports = {
  async up(queryInterface, Sequelize) {
    // One row: entries that are older are never posted.
    await queryInterface.createTable('webhook_start', {
      id: { type: Sequelize.INTEGER, primaryKey: true },
      begunAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
    // No foreign key to rooms: that a room was deleted is told, too.
    await queryInterface.createTable('webhook_cursors', {
      room_id: { type: Sequelize.INTEGER, primaryKey: true },
      room_uuid: { type: Sequelize.UUID, allowNull: false },
      // Seq of the last entry that was posted, or given up.
      upto: { type: Sequelize.BIGINT, allowNull: false },
      // Failed attempts at the next event.
      attempts: { type: Sequelize.INTEGER, allowNull: false, defaultValue: 0 },
      // Seq of the first entry that was given up since an event was posted.
      hole_from: { type: Sequelize.BIGINT },
      // From when on a node may post the next event; null: nothing is known to be left. A node that does has it moved to
      // the end of its lease, so that another one goes on if it is killed.
      dueAt: { type: 'timestamp(3) with time zone' },
      // Counts leases: a node whose lease has ended may not move the cursor any more.
      lease: { type: Sequelize.INTEGER, allowNull: false, defaultValue: 0 },
    });
    await queryInterface.sequelize.query(
      'CREATE INDEX IF NOT EXISTS webhook_cursors_due ON webhook_cursors ("dueAt") WHERE "dueAt" IS NOT NULL',
    );
    // Read markers that were moved and not posted yet.
    await queryInterface.createTable('webhook_reads', {
      room_id: {
        type: Sequelize.INTEGER,
        primaryKey: true,
        references: { model: 'rooms', key: 'id' },
        onDelete: 'CASCADE',
      },
      user_uuid: { type: Sequelize.UUID, primaryKey: true },
      upto: { type: Sequelize.BIGINT, allowNull: false },
      movedAt: { type: 'timestamp(3) with time zone', allowNull: false },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('webhook_reads');
    await queryInterface.dropTable('webhook_cursors');
    await queryInterface.dropTable('webhook_start');
  },
};
