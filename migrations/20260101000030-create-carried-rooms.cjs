'use strict';

// Rooms that were carried over from the tables of the proof of concept in the same database (src/store/proof-of-concept.ts):
// one that is deleted later must not come back.
module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.createTable('carried_rooms', {
      room_id: { type: Sequelize.INTEGER, primaryKey: true },
    });
    // Old rooms keep their ids: rooms that are created before these are carried over take others.
    await queryInterface.sequelize.query(`
      DO $$
      BEGIN
        IF to_regclass('"Room_permissions"') IS NOT NULL AND to_regclass('"Rooms"') IS NOT NULL THEN
          PERFORM setval(pg_get_serial_sequence('rooms', 'id'),
            greatest((SELECT max(id) FROM "Rooms"), (SELECT max(id) FROM rooms), 1));
        END IF;
      END
      $$`);
  },

  async down(queryInterface) {
    await queryInterface.dropTable('carried_rooms');
  },
};
