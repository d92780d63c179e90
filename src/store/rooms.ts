import { randomUUID } from 'node:crypto';
import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller, RoomAccess, Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import { loadRoom, lockRoom } from './access.js';
import { appendEntries, ruleContent } from './entries.js';
import type { RoomDraft, RoomModel, RoomRow } from './models/room.js';
import type { RuleModel, RuleRow } from './models/rule.js';
import { deleteRoom, purgeLog } from './purge.js';
import { plain } from './statement.js';

/** A room as clients see it. */
export type Room = Omit<RoomRow, 'head' | 'rules_head'>;

/** One of the caller's rules, with the fields of its room. */
export type RuleWithRoom = RuleRow &
  Pick<Room, 'id' | 'uuid' | 'name' | 'type' | 'level_admin' | 'entity_owner'>;

export interface Rooms {
  /** Creates a room together with its first rules, as the first entries of its log. */
  create(room: Omit<RoomDraft, 'uuid'>, rules: readonly Rule[], emitter: string): Promise<Room>;
  /** What the caller's permissions in a room depend on, and its head then; undefined if there is no such room. */
  accessFor(
    caller: Caller,
    roomId: number,
  ): Promise<(RoomAccess & { readonly head: number }) | undefined>;
  /**
   * The rooms in which the caller has a rule, each once, with that rule: their own, else their entity's where it counts
   * for them. The newest room comes first.
   */
  rulesOf(
    caller: Caller,
    filter: { accepted?: boolean | undefined; limit: number; offset: number },
  ): Promise<RuleWithRoom[]>;
  /** Rooms that the caller may read, and the group rooms of their entity. */
  visibleTo(caller: Caller): Promise<Room[]>;
  /**
   * Deletes a room with its rules and log. `authorize` is asked before the room is locked and with the room locked;
   * `removed` is called when nobody can enter it any more, before its log is deleted, which may take long. If that
   * fails, it is deleted later (`startPurging`), and the room is removed all the same.
   * @throws {ChatError} NOT_FOUND where there is no such room; UNAVAILABLE if it is locked for long; and whatever
   * `authorize` throws
   */
  remove(
    roomId: number,
    caller: Caller,
    authorize: (room: RoomAccess) => void,
    removed?: () => void,
  ): Promise<void>;
}

export function createRooms({
  sequelize,
  models,
  logger,
}: {
  sequelize: Sequelize;
  models: { room: RoomModel; rule: RuleModel };
  logger: Logger;
}): Rooms {
  return {
    create(draft, rules, emitter) {
      return sequelize.transaction(async (transaction) => {
        const created = await models.room.create({ ...draft, uuid: randomUUID() }, { transaction });
        const room = toRoom(created.get());
        const room_id = room.id;
        await models.rule.bulkCreate(
          rules.map((rule) => ({ ...rule, room_id })),
          { transaction },
        );
        await appendEntries(
          plain(sequelize, transaction),
          rules.map((rule) => ({
            draft: { room_id, kind: 'rule', emitter, content: ruleContent(rule), ref: null },
            rulesHead: null,
          })),
        );
        return room;
      });
    },

    accessFor: (caller, roomId) => loadRoom(sequelize, roomId, [caller]),

    rulesOf({ userUUID, entityUUID, levelOnEntity }, { accepted, limit, offset }) {
      // The rules of access/permissions.ts (`countingRules`), in SQL: a test holds the two equal.
      return sequelize.query<RuleWithRoom>(
        `SELECT r.id, r.uuid, r.name, r.type, r.level_admin, r.entity_owner,
           p.room_id, p."entity_UUID", p.level, p.permissions, p.accepted, p."createdAt", p."updatedAt"
         FROM (
           (SELECT * FROM room_permissions
            WHERE "entity_UUID" = $1 AND ($4::boolean IS NULL OR accepted = $4)
            ORDER BY room_id DESC LIMIT $5::bigint + $6::bigint)
           UNION ALL
           -- Asked row by row, as far as the limit: an entity may have a rule in each of 100,000 rooms.
           (SELECT * FROM room_permissions entity
            WHERE "entity_UUID" = $2 AND $1::uuid <> $2::uuid AND ($4::boolean IS NULL OR accepted = $4)
              AND level <= $3::float8 AND permissions NOT LIKE '%b%'
              AND (SELECT type FROM rooms WHERE id = entity.room_id) = 'group'
              AND (SELECT level FROM room_permissions own
                   WHERE own.room_id = entity.room_id AND own."entity_UUID" = $1) IS NULL
            ORDER BY room_id DESC LIMIT $5::bigint + $6::bigint)
           ORDER BY room_id DESC LIMIT $5 OFFSET $6
         ) AS p
         CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = p.room_id LIMIT 1) AS r
         ORDER BY p.room_id DESC`,
        {
          bind: [userUUID, entityUUID, levelOnEntity, accepted ?? null, limit, offset],
          type: QueryTypes.SELECT,
        },
      );
    },

    visibleTo(caller) {
      // The rules of access/permissions.ts (`may` with 'r'), in SQL: a test holds the two equal.
      return sequelize.query<Room>(
        `SELECT r.id, r.uuid, r.name, r.type, r.level_admin, r.entity_owner, r.max_entity_rules,
           r."createdAt", r."updatedAt"
         FROM rooms r
         LEFT JOIN room_permissions own ON own.room_id = r.id AND own."entity_UUID" = $1
         LEFT JOIN room_permissions entity ON entity.room_id = r.id AND entity."entity_UUID" = $2
         WHERE r.id IN (
             SELECT room_id FROM room_permissions WHERE "entity_UUID" IN ($1, $2)
             UNION SELECT id FROM rooms WHERE entity_owner = $2 AND type = 'group')
           AND coalesce(own.permissions NOT LIKE '%b%', true)
           AND (own.permissions LIKE '%r%'
             OR (r.type = 'group' AND entity.level <= $3::float8
               AND entity.permissions LIKE '%r%' AND entity.permissions NOT LIKE '%b%')
             OR (r.type = 'group' AND r.entity_owner = $2))
         ORDER BY r.id`,
        {
          bind: [caller.userUUID, caller.entityUUID, caller.levelOnEntity],
          type: QueryTypes.SELECT,
        },
      );
    },

    async remove(roomId, caller, authorize, removed) {
      const found = await loadRoom(sequelize, roomId, [caller]);
      if (found === undefined) throw noSuchRoom();
      authorize(found);
      await sequelize.transaction(async (transaction) => {
        // Who waits for the room's lock meanwhile finds it gone, and appends nothing behind its deletion.
        const room = await lockRoom(sequelize, roomId, [caller], [], transaction);
        if (room === undefined) throw noSuchRoom();
        authorize(room);
        await deleteRoom(sequelize, roomId, transaction);
      });
      removed?.();
      // Not under the lock, for which messages of other rooms would wait: nobody reads a log without its room, and the
      // room's id is never used again. The room is gone, whatever comes of its log.
      await purgeLog(sequelize, roomId).catch((error: unknown) => {
        logger.warn({ err: error, room: roomId }, 'the log of a deleted room is deleted later');
      });
    },
  };
}

function noSuchRoom(): ChatError {
  return new ChatError('NOT_FOUND', { detail: 'there is no such room' });
}

function toRoom(row: RoomRow): Room {
  const { id, uuid, name, type, level_admin, entity_owner, max_entity_rules } = row;
  const { createdAt, updatedAt } = row;
  return {
    id,
    uuid,
    name,
    type,
    level_admin,
    entity_owner,
    max_entity_rules,
    createdAt,
    updatedAt,
  };
}
