import { randomUUID } from 'node:crypto';
import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller, RoomAccess, Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import { loadRoom, lockRoom } from './lock-room.js';
import { appendEntries } from './append.js';
import { ruleContent } from './entry.js';
import type { FairLimit } from './fair-limit.js';
import type { RoomDraft, RoomModel, RoomRow } from './models/room.js';
import type { RuleModel, RuleRow } from './models/rule.js';
import { deleteRoom, purgeLog } from './purge.js';
import { plain } from './prepared.js';

type RoomDated<Instant> = Omit<
  RoomRow,
  'head' | 'rules_head' | 'rule_count' | 'createdAt' | 'updatedAt'
> & { readonly createdAt: Instant; readonly updatedAt: Instant };

/** A room as clients see it. */
export type Room = RoomDated<Date>;

/** The same, with dates as JSON has them: to make these here would take longer than all else that is done for a room. */
export type RoomAsJson = RoomDated<string>;

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
    gone?: AbortSignal,
  ): Promise<(RoomAccess & { readonly head: number }) | undefined>;
  /**
   * The rooms in which the caller has a rule, each once, with that rule: their own, else their entity's where it counts
   * for them. The newest room comes first.
   * @param gone aborted when nobody wants them any more: then nothing is read
   */
  rulesOf(
    caller: Caller,
    filter: { accepted?: boolean | undefined; limit: number; offset: number },
    gone?: AbortSignal,
  ): Promise<RuleWithRoom[]>;
  /**
   * Rooms that the caller may read, and the group rooms of their entity, by id; so many at a time, and maybe none.
   * @param gone aborted when nobody wants them any more: then nothing is read
   */
  visibleTo(
    caller: Caller,
    gone?: AbortSignal,
  ): AsyncGenerator<readonly RoomAsJson[], void, undefined>;
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

type VisibleRow = RoomAsJson & { readonly is_visible: boolean };

/** What a query of `rulesOf` found. */
interface Listed {
  /** How many rooms it passed, and the id of the last one; null if there was none. */
  readonly passed: number;
  readonly ended_by: number | null;
  /** How many of them are to be listed, and those that are asked for. */
  readonly count: number;
  readonly rules: readonly (Omit<RuleWithRoom, 'createdAt' | 'updatedAt'> & {
    /** ISO 8601, as Postgres writes it. */
    readonly createdAt: string;
    readonly updatedAt: string;
  })[];
}

/** As `Date.toJSON` writes it. */
const ISO_8601 = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';

/** Rooms that are asked about in one query of `visibleTo`. */
const PAGE = 500;
/** Rooms that one query of `rulesOf` passes, however few of them it lists. */
const PASSED = 1_000;
/** The largest id that there can be: Postgres' `integer`. */
const LAST_ID = 2_147_483_647;

/**
 * Of the rooms below $4 in which a caller or their entity has a rule, those with a rule that counts, and is accepted or
 * not ($5): the rules of access/permissions.ts (`countingRules`), in SQL. A test holds the two equal.
 */
const LISTED = `WITH candidate AS (
    (SELECT room_id FROM room_permissions WHERE "entity_UUID" = $1 AND room_id < $4::bigint
     ORDER BY room_id DESC LIMIT ${PASSED})
    UNION
    (SELECT room_id FROM room_permissions WHERE "entity_UUID" = $2 AND room_id < $4::bigint
     ORDER BY room_id DESC LIMIT ${PASSED})
    ORDER BY room_id DESC LIMIT ${PASSED}
  ), listed AS (
    SELECT r.id, r.uuid, r.name, r.type, r.level_admin, r.entity_owner,
      p.room_id, p."entity_UUID", p.level, p.permissions, p.accepted, p."createdAt", p."updatedAt"
    FROM candidate
    -- By LIMIT, so that each is looked up by its key, whatever the planner thinks of how many there are.
    CROSS JOIN LATERAL (
      SELECT * FROM room_permissions
      WHERE room_id = candidate.room_id AND "entity_UUID" IN ($1, $2)
      ORDER BY "entity_UUID" <> $1 LIMIT 1
    ) AS p
    CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = candidate.room_id LIMIT 1) AS r
    WHERE ($5::boolean IS NULL OR p.accepted = $5) AND (p."entity_UUID" = $1
      OR (r.type = 'group' AND p.level <= $3::float8 AND p.permissions NOT LIKE '%b%'))
  )
  SELECT (SELECT count(*) FROM candidate) AS passed, (SELECT min(room_id) FROM candidate) AS ended_by,
    (SELECT count(*) FROM listed) AS count,
    (SELECT coalesce(json_agg(page), '[]')
     FROM (SELECT * FROM listed ORDER BY room_id DESC LIMIT $6 OFFSET $7) AS page) AS rules`;

/**
 * The rooms beyond $4 that have to do with a caller, and whether they are visible: the rules of access/permissions.ts
 * (`may` with 'r'), in SQL. A test holds the two equal. Each way to a room is followed by its index as far as a page.
 */
const VISIBLE = `SELECT r.id, r.uuid, r.name, r.type, r.level_admin, r.entity_owner, r.max_entity_rules,
    to_char(r."createdAt" AT TIME ZONE 'UTC', '${ISO_8601}') AS "createdAt",
    to_char(r."updatedAt" AT TIME ZONE 'UTC', '${ISO_8601}') AS "updatedAt",
    coalesce(own.permissions NOT LIKE '%b%', true)
    AND (coalesce(own.permissions LIKE '%r%', false)
      OR (r.type = 'group' AND coalesce(entity.level <= $3::float8
        AND entity.permissions LIKE '%r%' AND entity.permissions NOT LIKE '%b%', false))
      OR (r.type = 'group' AND r.entity_owner = $2)) AS is_visible
  FROM (
    (SELECT room_id AS id FROM room_permissions WHERE "entity_UUID" = $1 AND room_id > $4
     ORDER BY room_id LIMIT ${PAGE})
    UNION
    (SELECT room_id FROM room_permissions WHERE "entity_UUID" = $2 AND room_id > $4
     ORDER BY room_id LIMIT ${PAGE})
    UNION
    (SELECT id FROM rooms WHERE entity_owner = $2 AND type = 'group' AND id + 0 > $4
     ORDER BY id + 0 LIMIT ${PAGE})
    ORDER BY id LIMIT ${PAGE}
  ) AS candidate
  -- By LIMIT, so that each is looked up by its key, whatever the planner thinks of how many there are.
  CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = candidate.id LIMIT 1) AS r
  LEFT JOIN LATERAL (
    SELECT permissions FROM room_permissions WHERE room_id = r.id AND "entity_UUID" = $1 LIMIT 1
  ) AS own ON true
  LEFT JOIN LATERAL (
    SELECT permissions, level FROM room_permissions WHERE room_id = r.id AND "entity_UUID" = $2 LIMIT 1
  ) AS entity ON true
  ORDER BY r.id`;

/** @param readers bounds the queries at a time that read by pages, by the caller's userUUID */
export function createRooms({
  sequelize,
  models,
  readers,
  logger,
}: {
  sequelize: Sequelize;
  models: { room: RoomModel; rule: RuleModel };
  readers: FairLimit<string>;
  logger: Logger;
}): Rooms {
  return {
    create(draft, rules, emitter) {
      return sequelize.transaction(async (transaction) => {
        const created = await models.room.create(
          { ...draft, uuid: randomUUID(), rule_count: rules.length },
          { transaction },
        );
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

    accessFor: (caller, roomId, gone) =>
      readers.run(caller.userUUID, () => loadRoom(sequelize, roomId, [caller]), gone),

    async rulesOf(caller, { accepted, limit, offset }, gone) {
      const { userUUID, entityUUID, levelOnEntity } = caller;
      const rules: RuleWithRoom[] = [];
      let left = offset;
      for (let before = LAST_ID + 1, more = true; more && rules.length < limit;) {
        const whose = [userUUID, entityUUID, levelOnEntity];
        const bind = [...whose, before, accepted ?? null, limit - rules.length, left];
        const [found] = await readers.run(
          userUUID,
          () => sequelize.query<Listed>(LISTED, { bind, type: QueryTypes.SELECT }),
          gone,
        );
        if (found === undefined || found.ended_by === null) break;
        for (const { createdAt, updatedAt, ...rule } of found.rules) {
          const dates = { createdAt: new Date(createdAt), updatedAt: new Date(updatedAt) };
          rules.push({ ...rule, ...dates });
        }
        left = Math.max(0, left - found.count);
        before = found.ended_by;
        more = found.passed === PASSED;
      }
      return rules;
    },

    async *visibleTo(caller, gone) {
      const { userUUID, entityUUID, levelOnEntity } = caller;
      for (let after = 0, more = true; more;) {
        const bind = [userUUID, entityUUID, levelOnEntity, after];
        const rows = await readers.run(
          userUUID,
          () => sequelize.query<VisibleRow>(VISIBLE, { bind, type: QueryTypes.SELECT }),
          gone,
        );
        yield rows.filter(({ is_visible }) => is_visible).map(toRoom);
        after = rows.at(-1)?.id ?? after;
        more = rows.length === PAGE;
      }
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

function toRoom<Instant>(row: RoomDated<Instant>): RoomDated<Instant> {
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
