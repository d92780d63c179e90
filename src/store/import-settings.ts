import type { Sequelize } from 'sequelize';
import type { Rule } from '../access/permissions.js';
import type { RoomSettings } from './entry.js';
import type { Room } from './models/room.js';
import type { RoomUser } from './room-export.js';
import { createRoomChange, type ChangedRoom } from './room-settings.js';

/** Rules of one transaction, and users of one statement. */
const AT_ONCE = 500;

/** A rule, and the seq since which its user or entity has it; if that is undefined, what was imported counts as read. */
export interface ImportedRule {
  readonly rule: Rule;
  readonly since: number | undefined;
}

/** The settings of a room, its rules and its users, as they are to be after an import, with numbers of the room. */
export interface ImportedSettings {
  readonly settings: RoomSettings;
  readonly rules: readonly ImportedRule[];
  readonly users: readonly RoomUser[];
}

/**
 * Changes the settings, and adds or changes rules, as entries of the log by the organisation that owns the room; before
 * that, stores the names, the read markers and the levels of notification of users. A name or a level that is known already
 * stays, and so does a marker that is further on.
 * @returns the changes, in their order
 */
export async function importSettings(
  sequelize: Sequelize,
  { id, entityOwner }: Room,
  { settings, rules, users }: ImportedSettings,
): Promise<ChangedRoom[]> {
  for (let from = 0; from < users.length; from += AT_ONCE) {
    await storeUsers(sequelize, id, users.slice(from, from + AT_ONCE));
  }
  const change = createRoomChange({ sequelize });
  const changes: ChangedRoom[] = [];
  const caller = {
    userUUID: entityOwner,
    entityUUID: entityOwner,
    levelOnEntity: 0,
    isServer: false,
  };
  for (let from = 0; from === 0 || from < rules.length; from += AT_ONCE) {
    const some = rules.slice(from, from + AT_ONCE);
    const changed = await change(id, caller, {
      settings,
      rules: some.map(({ rule }) => ({ target: rule.entityUUID, decide: () => rule })),
      authorize: () => undefined,
    });
    changes.push(changed);
    const dated = some.filter(({ since }) => since !== undefined);
    await sequelize.query(
      `UPDATE room_permissions AS r SET since = t.since FROM unnest($2::uuid[], $3::bigint[]) AS t (uuid, since)
       WHERE r.room_id = $1 AND r."entity_UUID" = t.uuid`,
      { bind: [id, dated.map(({ rule }) => rule.entityUUID), dated.map(({ since }) => since)] },
    );
  }
  return changes;
}

async function storeUsers(
  sequelize: Sequelize,
  roomId: number,
  users: readonly RoomUser[],
): Promise<void> {
  // Of the oldest date, so that any token may tell something newer. So is a user of whom no token has told a name.
  await sequelize.query(
    `INSERT INTO user_profiles (uuid, name, picture, "updatedAt")
     SELECT uuid, name, picture, to_timestamp(0) FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t (uuid, name, picture)
     WHERE name IS NOT NULL OR picture IS NOT NULL ORDER BY uuid
     ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, picture = excluded.picture
     WHERE user_profiles."updatedAt" = excluded."updatedAt" AND num_nonnulls(user_profiles.name, user_profiles.picture) = 0`,
    {
      bind: [
        users.map(({ userUUID }) => userUUID),
        users.map(({ name }) => name),
        users.map(({ picture }) => picture),
      ],
    },
  );
  const readers = users.filter(({ upto, notify }) => upto !== null || notify !== null);
  await sequelize.query(
    `INSERT INTO read_markers (room_id, user_uuid, upto, notify)
     SELECT $1::int, uuid, coalesce(upto, 0), notify FROM unnest($2::uuid[], $3::bigint[], $4::text[]) AS t (uuid, upto, notify)
     ORDER BY uuid
     ON CONFLICT (room_id, user_uuid) DO UPDATE SET upto = greatest(read_markers.upto, excluded.upto),
       notify = coalesce(read_markers.notify, excluded.notify)`,
    {
      bind: [
        roomId,
        readers.map(({ userUUID }) => userUUID),
        readers.map(({ upto }) => upto),
        readers.map(({ notify }) => notify),
      ],
    },
  );
}
