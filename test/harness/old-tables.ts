/** SQL of the tables as the migrations of the proof of concept leave them. */
export const OLD_TABLES = `
  CREATE EXTENSION "uuid-ossp";
  CREATE TABLE "SequelizeMeta" (name varchar(255) PRIMARY KEY);
  INSERT INTO "SequelizeMeta" VALUES ('20210528234148-create-room.js');
  CREATE TABLE "Rooms" (
    id serial PRIMARY KEY, uuid uuid NOT NULL DEFAULT uuid_generate_v4(), name varchar(255) NOT NULL,
    level_admin integer NOT NULL, type varchar(255), "createdAt" timestamptz NOT NULL, "updatedAt" timestamptz NOT NULL,
    entity_owner uuid, max_entity_rules integer NOT NULL DEFAULT 10);
  CREATE TABLE "Messages" (
    id serial PRIMARY KEY, room_id integer NOT NULL REFERENCES "Rooms" (id) ON DELETE CASCADE, emitter uuid,
    content varchar(255), "createdAt" timestamptz NOT NULL, "updatedAt" timestamptz NOT NULL);
  CREATE TABLE "Room_permissions" (
    room_id integer NOT NULL REFERENCES "Rooms" (id) ON DELETE CASCADE, "entity_UUID" uuid NOT NULL,
    level integer NOT NULL, permissions varchar(255) NOT NULL, "createdAt" timestamptz NOT NULL,
    "updatedAt" timestamptz NOT NULL, accepted boolean NOT NULL DEFAULT false,
    kind varchar(255) NOT NULL DEFAULT 'false', PRIMARY KEY (room_id, "entity_UUID"));`;
