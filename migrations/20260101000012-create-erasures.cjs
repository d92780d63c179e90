'use strict';

// Users whose messages and reactions are to be erased, or are (src/store/erasures.ts): one row a user, of the last time that
// it was asked for.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('erasures', {
      user_uuid: { type: Sequelize.UUID, primaryKey: true },
      // Who asked: the emitter of the entries.
      emitter: { type: Sequelize.UUID, allowNull: false },
      // What was stored until then is erased.
      requestedAt: { type: 'timestamp(3) with time zone', allowNull: false },
      // It was asked for again meanwhile: then it begins anew at its end.
      againAt: { type: 'timestamp(3) with time zone' },
      finishedAt: { type: 'timestamp(3) with time zone' },
      // The place in the log of all rooms up to which nothing is left.
      room_id: { type: Sequelize.INTEGER, allowNull: false },
      seq: { type: Sequelize.BIGINT, allowNull: false },
      // Whether something of that room is erased, and its entry not appended yet.
      is_owed: { type: Sequelize.BOOLEAN, allowNull: false },
      // What was erased so far.
      rooms: { type: Sequelize.INTEGER, allowNull: false },
      messages: { type: Sequelize.BIGINT, allowNull: false },
      reactions: { type: Sequelize.BIGINT, allowNull: false },
    });
    // Each node looks for these every few seconds.
    await queryInterface.sequelize.query(
      `CREATE INDEX IF NOT EXISTS erasures_due ON erasures ("requestedAt") WHERE "finishedAt" IS NULL`,
    );
  },

  async down(queryInterface) {
    await queryInterface.dropTable('erasures');
  },
};
