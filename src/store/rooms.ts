import { randomUUID } from 'node:crypto';
import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller, RoomAccess, Rule } from '../access/permissions.js';
import { noSuchRoom } from '../errors.js';
import type { Logger } from '../logger.js';
import { requireNoBlockBetween } from './blocks.js';
import { loadRoom, lockRoom, type LoadedRoom, type LogPlace } from './lock-room.js';
import { appendLocked } from './append.js';
import { ruleContent, type Entry } from './entry.js';
import { MAX_INTEGER } from '../protocol/values.js';
import type { FairLimit } from './fair-limit.js';
import type { Room, RoomDraft, RoomModel } from './models/room.js';
import type { RuleModel, RuleRow } from './models/rule.js';
import { deleteRoom, purgeLog } from './purge.js';
import { plain } from './prepared.js';
import { MAY_READ, NOT_BANNED, RULES_OF_CALLER } from './readable.js';
import { StatementBatches } from './statement-batches.js';
import {
  createRoomChange,
  findRoom,
  type ChangedRoom,
  type RoomChange,
  type UniqueKey,
} from './room-settings.js';

/** A room whose dates Postgres has written as JSON has them: here that takes longer than all other work on a room. */
export type ListedRoom = Omit<Room, 'data' | 'createdAt' | 'updatedAt'> & {
  readonly createdAt: string;
  readonly updatedAt: string;
};

/** One of the caller's rules, with the fields of its room. */
export type RuleWithRoom = Omit<RuleRow, 'since' | 'unblocked'> &
  Pick<Room, 'id' | 'uuid' | 'name' | 'type' | 'levelAdmin' | 'entityOwner'>;

/** A room to be created. */
export type NewRoom = Omit<RoomDraft, 'uuid' | 'firstUser' | 'secondUser'>;

/** Gets the first entries of a room when it is stored. */
type Created = (entries: readonly Entry[]) => void;

/** A room with the end of its log, and with the rules that decide a caller's permissions. */
export type RoomWithRules = RoomAccess<RuleRow> &
  LogPlace &
  Pick<LoadedRoom, 'horizon' | 'isBeingErased'>;

export interface Rooms {
  /**
   * Creates a room with its first rules, which are the first entries of its log.
   * @throws {ChatError} FORBIDDEN if it is a user2user room, and one of the users blocks the other
   */
  create(draft: NewRoom, rules: readonly Rule[], emitter: string, created?: Created): Promise<Room>;
  /**
   * Finds the room of a key, or creates it as `create` does. Of several calls at once, on any nodes, one creates it.
   * @param make called if no room is found
   */
  findOrCreate(
    key: UniqueKey,
    emitter: string,
    make: () => { draft: NewRoom; rules: readonly Rule[] },
    created?: Created,
  ): Promise<{ room: Room; created: boolean }>;
  /** Changes a room and some of its rules, as `createRoomChange` says. */
  change(roomId: number, caller: Caller, change: RoomChange): Promise<ChangedRoom>;
  /**
   * The id of a room by its uuid; undefined if there is no such room. Those that are asked for in the same moment share a
   * query. Never kept for long: an application may delete a
   * room and make another one with its uuid, and a log that went back gives ids again.
   */
  idOf(uuid: string): Promise<number | undefined>;
  /** The room for one caller; undefined if there is no such room. */
  accessFor(caller: Caller, roomId: number, gone?: AbortSignal): Promise<RoomWithRules | undefined>;
  /**
   * The rooms in which the caller has a rule, newest first, each once with that rule: the caller's own, else their
   * entity's if it counts for them.
   * @param gone aborted when the client is gone: then nothing more is read
   */
  rulesOf(
    caller: Caller,
    filter: { accepted?: boolean | undefined; limit: number; offset: number },
    gone?: AbortSignal,
  ): Promise<RuleWithRoom[]>;
  /**
   * Rooms that the caller may read, and the group rooms of their entity, in the order of ids, in pages that may be
   * empty. To a server, all rooms.
   * @param gone aborted when the client is gone: then nothing more is read
   */
  visibleTo(
    caller: Caller,
    gone?: AbortSignal,
  ): AsyncGenerator<readonly ListedRoom[], void, undefined>;
  /**
   * Deletes a room with its rules and log. If deleting the log fails, the room is gone all the same, and the log is
   * deleted later (`startPurging`).
   * @param authorize throws if the caller may not; called twice, before the room is locked and under its lock
   * @param removed called when the room is gone, before its log is deleted, which may take long
   * @throws {ChatError} NOT_FOUND if there is no such room; UNAVAILABLE if it is locked for too long; errors of
   * `authorize`
   */
  remove(
    roomId: number,
    caller: Caller,
    authorize: (room: RoomAccess) => void,
    removed?: () => void,
  ): Promise<void>;
}

type VisibleRow = ListedRoom & { readonly isVisible: boolean };

/** The answer of one query of `rulesOf`. */
interface Listed {
  /** Number of rooms that it passed, and the id of the last of them; null if there was none. */
  readonly passed: number;
  readonly endedBy: number | null;
  /** Number of them that match, and those of them that were asked for. */
  readonly count: number;
  readonly rules: readonly (Omit<RuleWithRoom, 'createdAt' | 'updatedAt'> & {
    /** ISO 8601, as Postgres writes it. */
    readonly createdAt: string;
    readonly updatedAt: string;
  })[];
}

/** As `Date.toJSON` writes it. */
const ISO_8601 = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';

/** Candidates of one query of `visibleTo`; store.ts has how long a probe waits while such pages are read. */
const VISIBLE_PAGE = 500;
/** UUIDs of one query of `idOf`, as many as entries of one (group-commit.ts). */
const MAX_UUIDS = 1_000;
/** Rooms that one query of `rulesOf` passes, however few of them match: a few milliseconds. */
const LISTED_PAGE = 1_000;

/**
 * The rooms with ids below $4 in which a rule of the caller or their entity counts, accepted or not ($5; null: both).
 * This is `countingRules` of access/permissions.ts in SQL; a test holds the two equal.
 */
const LISTED = `WITH candidate AS (
    (SELECT room_id FROM room_permissions WHERE "entity_UUID" = $1 AND room_id < $4::bigint
     ORDER BY room_id DESC LIMIT ${LISTED_PAGE})
    UNION
    (SELECT room_id FROM room_permissions WHERE "entity_UUID" = $2 AND room_id < $4::bigint
     ORDER BY room_id DESC LIMIT ${LISTED_PAGE})
    ORDER BY room_id DESC LIMIT ${LISTED_PAGE}
  ), listed AS (
    SELECT r.id, r.uuid, r.name, r.type, r.level_admin AS "levelAdmin", r.entity_owner AS "entityOwner",
      p.room_id AS "roomId", p."entity_UUID" AS "entityUUID", p.level, p.permissions, p.accepted,
      p."createdAt", p."updatedAt"
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
  SELECT (SELECT count(*) FROM candidate) AS passed, (SELECT min(room_id) FROM candidate) AS "endedBy",
    (SELECT count(*) FROM listed) AS count,
    (SELECT coalesce(json_agg(page), '[]')
     FROM (SELECT * FROM listed ORDER BY id DESC LIMIT $6 OFFSET $7) AS page) AS rules`;

/** The columns of a `ListedRoom`, of a room `r`. */
const LISTED_COLUMNS = `r.id, r.uuid, r.name, r.type, r.level_admin AS "levelAdmin", r.entity_owner AS "entityOwner",
    r.max_entity_rules AS "maxEntityRules",
    to_char(r."createdAt" AT TIME ZONE 'UTC', '${ISO_8601}') AS "createdAt",
    to_char(r."updatedAt" AT TIME ZONE 'UTC', '${ISO_8601}') AS "updatedAt"`;

/** All rooms with ids above $1: a server may see them. */
const ALL = `SELECT ${LISTED_COLUMNS}, true AS "isVisible"
  FROM rooms AS r WHERE id > $1 ORDER BY id LIMIT ${VISIBLE_PAGE}`;

/**
 * Candidates with ids above $4, and whether the caller may see them: those that they may read, and the groups of their
 * entity. Each of the three sources of candidates is read by its index, a page at most.
 */
const VISIBLE = `SELECT ${LISTED_COLUMNS}, ${MAY_READ} OR (r.type = 'group' AND r.entity_owner = $2 AND ${NOT_BANNED}) AS "isVisible"
  FROM (
    (SELECT room_id AS id FROM room_permissions WHERE "entity_UUID" = $1 AND room_id > $4
     ORDER BY room_id LIMIT ${VISIBLE_PAGE})
    UNION
    (SELECT room_id FROM room_permissions WHERE "entity_UUID" = $2 AND room_id > $4
     ORDER BY room_id LIMIT ${VISIBLE_PAGE})
    UNION
    (SELECT id FROM rooms WHERE entity_owner = $2 AND type = 'group' AND id + 0 > $4
     ORDER BY id + 0 LIMIT ${VISIBLE_PAGE})
    ORDER BY id LIMIT ${VISIBLE_PAGE}
  ) AS candidate
  -- By LIMIT, so that each is looked up by its key, whatever the planner thinks of how many there are.
  CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = candidate.id LIMIT 1) AS r
  ${RULES_OF_CALLER}
  ORDER BY r.id`;

/** @param readers bounds the queries of pages that run at a time; its keys are users */
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
  /** @returns undefined if there is a room with the draft's uuid, or a direct room of its pair */
  async function insert(
    draft: RoomDraft,
    rules: readonly Rule[],
    emitter: string,
    created?: Created,
  ): Promise<Room | undefined> {
    const inserted = await sequelize.transaction(async (transaction) => {
      const [one, other] = draft.type === 'user2user' ? rules : [];
      if (one !== undefined && other !== undefined) {
        await requireNoBlockBetween(sequelize, one.entityUUID, other.entityUUID, transaction);
      }
      // If another transaction inserts the same room, this waits for its end.
      const [stored] = await models.room.bulkCreate([{ ...draft, ruleCount: rules.length }], {
        ignoreDuplicates: true,
        returning: true,
        transaction,
      });
      const row = stored?.get();
      // Sequelize has no id for a row that was not inserted.
      if (row?.id == null) return undefined;
      const { id, createdAt, updatedAt } = row;
      await models.rule.bulkCreate(
        // The rules are the first entries of the log, in their order.
        rules.map((rule, index) => ({ ...rule, roomId: id, since: index + 1 })),
        { transaction },
      );
      const entries = await appendLocked(
        plain(sequelize, transaction),
        rules.map((rule) => ({
          draft: { roomId: id, kind: 'member', emitter, content: ruleContent(rule), ref: null },
          rulesHead: null,
        })),
      );
      const { firstUser: _, secondUser: __, data = null, ...room } = draft;
      return { room: { ...room, data, id, createdAt, updatedAt }, entries };
    });
    if (inserted !== undefined) created?.(inserted.entries);
    return inserted?.room;
  }

  async function findIds(uuids: readonly string[]): Promise<(number | undefined)[]> {
    const rows = await sequelize.query<{ id: number; uuid: string }>(
      'SELECT id, uuid FROM rooms WHERE uuid = ANY ($1::uuid[])',
      { bind: [uuids], type: QueryTypes.SELECT },
    );
    const found = new Map(rows.map(({ id, uuid }) => [uuid, id]));
    return uuids.map((uuid) => found.get(uuid));
  }

  // A client joins up to ROOMS_PER_SOCKET rooms in one list, and after a restart thousands do so at once.
  const ids = new StatementBatches(findIds, (waiting) => Math.min(waiting.length, MAX_UUIDS));

  return {
    async create(draft, rules, emitter, created) {
      const room = await insert({ ...draft, uuid: randomUUID() }, rules, emitter, created);
      if (room === undefined) throw new Error('a new uuid was used before');
      return room;
    },

    async findOrCreate(key, emitter, make, created) {
      for (;;) {
        const found = await findRoom(sequelize, key);
        if (found !== undefined) return { room: found, created: false };
        const { draft, rules } = make();
        const room = await insert({ ...draft, ...columnsOf(key) }, rules, emitter, created);
        if (room !== undefined) return { room, created: true };
        // Another transaction has created it.
      }
    },

    change: createRoomChange({ sequelize }),

    idOf: (uuid) => ids.add(uuid),

    accessFor: (caller, roomId, gone) =>
      readers.run(caller.userUUID, () => loadRoom(sequelize, roomId, [caller]), gone),

    async rulesOf(caller, { accepted, limit, offset }, gone) {
      const { userUUID, entityUUID, levelOnEntity } = caller;
      const rules: RuleWithRoom[] = [];
      let left = offset;
      for (let before = MAX_INTEGER + 1, more = true; more && rules.length < limit;) {
        const whose = [userUUID, entityUUID, levelOnEntity];
        const bind = [...whose, before, accepted ?? null, limit - rules.length, left];
        const [found] = await readers.run(
          userUUID,
          () => sequelize.query<Listed>(LISTED, { bind, type: QueryTypes.SELECT }),
          gone,
        );
        if (found === undefined || found.endedBy === null) break;
        for (const { createdAt, updatedAt, ...rule } of found.rules) {
          const dates = { createdAt: new Date(createdAt), updatedAt: new Date(updatedAt) };
          rules.push({ ...rule, ...dates });
        }
        left = Math.max(0, left - found.count);
        before = found.endedBy;
        more = found.passed === LISTED_PAGE;
      }
      return rules;
    },

    async *visibleTo({ userUUID, entityUUID, levelOnEntity, isServer }, gone) {
      const sql = isServer ? ALL : VISIBLE;
      const whose = isServer ? [] : [userUUID, entityUUID, levelOnEntity];
      for (let after = 0, more = true; more;) {
        const bind = [...whose, after];
        const rows = await readers.run(
          userUUID,
          () => sequelize.query<VisibleRow>(sql, { bind, type: QueryTypes.SELECT }),
          gone,
        );
        yield rows.filter(({ isVisible }) => isVisible);
        after = rows.at(-1)?.id ?? after;
        more = rows.length === VISIBLE_PAGE;
      }
    },

    async remove(roomId, caller, authorize, removed) {
      const found = await loadRoom(sequelize, roomId, [caller]);
      if (found === undefined) throw noSuchRoom();
      authorize(found);
      await sequelize.transaction(async (transaction) => {
        // A transaction that waits for the room's lock meanwhile finds the room gone, and appends nothing.
        const room = await lockRoom(sequelize, roomId, [caller], [], transaction);
        if (room === undefined) throw noSuchRoom();
        authorize(room);
        await deleteRoom(sequelize, roomId, transaction);
      });
      removed?.();
      // After the transaction, as messages of other rooms may wait for its lock. Until then nobody reads the log: its
      // room is gone, and ids are never used again.
      await purgeLog(sequelize, roomId).catch((error: unknown) => {
        logger.warn({ err: error, room: roomId }, 'purging a deleted room failed, will retry');
      });
    },
  };
}

function columnsOf(key: UniqueKey): Pick<RoomDraft, 'uuid' | 'firstUser' | 'secondUser'> {
  if ('uuid' in key) return key;
  const [firstUser, secondUser] = key.pair;
  return { uuid: randomUUID(), firstUser, secondUser };
}
