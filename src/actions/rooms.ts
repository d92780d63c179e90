import {
  forbidden,
  isInvitation,
  requireAdmin,
  requireLevel,
  requireNoBlock,
  requireOwnEntity,
  requireServer,
  type Caller,
  type RoomAccess,
  type Rule,
} from '../access/permissions.js';
import { NIL_UUID } from '../access/token.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { Hub } from '../feeds/hub.js';
import { MAX_INTEGER } from '../protocol/values.js';
import type { Entry, RoomSettings } from '../store/entry.js';
import type { Room } from '../store/models/room.js';
import type { RoomFilter as OwnRoomFilter, RoomList, RoomSummary } from '../store/room-list.js';
import type { RoomChange } from '../store/room-settings.js';
import type { ListedRoom, Rooms, RuleWithRoom } from '../store/rooms.js';
import type { Rules } from '../store/rules.js';
import { ruleToPut, type WantedRule } from './members.js';

/**
 * The `levelOnEntity` that creating a room takes, as in the proof of concept, and the level from which the members of
 * its entity enter a new group room.
 */
const CREATOR_LEVEL = 100;

/** Two users, who both may write. */
const DIRECT_RULES = 2;

/** The rules of a room that does not say how many it may have. */
export const DEFAULT_MAX_RULES = 10;

/** One that is deleted again and again is not waited for. */
const MOST_ATTEMPTS = 5;

/** A room as its creator wants it. */
export type NewRoom = Pick<Room, 'name' | 'type' | 'levelAdmin' | 'maxEntityRules'>;

/** A room as an application wants it, whether it exists or not. What is left out stays, or has its default. */
export type WantedRoom = Pick<Room, 'name' | 'type'> &
  Partial<RoomSettings> & {
    /** Of a room that the application's server makes; by default the caller's entity. A room that exists has the same. */
    readonly entityOwner?: string | undefined;
    readonly rules: readonly WantedRule[];
  };

/** A room that was found, changed or created. */
export interface PutRoom {
  readonly room: Room;
  readonly created: boolean;
}

/** Which rooms `list` returns. */
export interface RoomFilter {
  /** Only rooms whose listed rule is, or is not, accepted; undefined: all. */
  readonly accepted?: boolean | undefined;
  readonly limit: number;
  readonly offset: number;
}

export interface RoomActions {
  /**
   * The id of a room by its uuid.
   * @throws {ChatError} NOT_FOUND, UNAVAILABLE
   */
  idOf(uuid: string): Promise<number>;
  /**
   * Creates a room that belongs to the caller's entity, with the caller as its admin.
   * @throws {ChatError} FORBIDDEN, UNAVAILABLE
   */
  create(caller: Caller, wanted: NewRoom): Promise<Room>;
  /**
   * Makes or changes the room with this uuid, and puts rules; others stay. The same again changes nothing.
   * @throws {ChatError} FORBIDDEN, also if the room belongs to another entity, or `entityOwner` is given by a user;
   * INVALID if it is of another type than wanted, or does not belong to `entityOwner`;
   * OUTRANKED, TOO_MANY_RULES, ROOM_FULL, UNAVAILABLE
   */
  put(caller: Caller, uuid: string, wanted: WantedRoom): Promise<PutRoom>;
  /**
   * Makes or finds the one direct room of the caller and another user, in which both may write and nobody is an admin. A
   * rule that one of them has given up is restored.
   * @throws {ChatError} FORBIDDEN, also if one of them blocks the other; INVALID, UNAVAILABLE
   */
  openDirect(caller: Caller, userUUID: string): Promise<PutRoom>;
  /**
   * Changes a room.
   * @throws {ChatError} NOT_FOUND, FORBIDDEN, UNAVAILABLE
   */
  change(caller: Caller, roomId: number, settings: Partial<RoomSettings>): Promise<Room>;
  /**
   * A page of the rooms that the caller may read or is invited to, the one with the newest message first.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} UNAVAILABLE
   */
  listOwn(caller: Caller, filter: OwnRoomFilter, gone: AbortSignal): Promise<RoomSummary[]>;
  /**
   * One of these rooms.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} NOT_FOUND, FORBIDDEN, UNAVAILABLE
   */
  get(caller: Caller, roomId: number, gone: AbortSignal): Promise<RoomSummary>;
  /**
   * The rooms in which the caller has a rule, each with that rule, the newest room first.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} UNAVAILABLE
   */
  list(caller: Caller, filter: RoomFilter, gone: AbortSignal): Promise<RuleWithRoom[]>;
  /**
   * The rooms that the caller may read, and the group rooms of their entity, by id; a page may be empty.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} UNAVAILABLE, by any page
   */
  listAll(
    caller: Caller,
    gone: AbortSignal,
  ): AsyncGenerator<readonly ListedRoom[], void, undefined>;
  /**
   * Deletes a room with its rules and log. Resolves when the log is deleted, long after sessions have lost the room.
   * @throws {ChatError} NOT_FOUND, FORBIDDEN, UNAVAILABLE
   */
  remove(caller: Caller, roomId: number): Promise<void>;
}

export function createRoomActions({
  rooms,
  roomList,
  rules,
  hub,
  directRoomLevel,
}: {
  rooms: Rooms;
  roomList: RoomList;
  rules: Rules;
  hub: Pick<Hub, 'created' | 'invite' | 'publish' | 'publishDeletion'>;
  /** The `levelOnEntity` that opening a direct room takes. */
  directRoomLevel: number;
}): RoomActions {
  function publish(roomId: number, entries: readonly Entry[]): void {
    if (entries.length > 0) void hub.publish(roomId, entries);
  }

  function created(entries: readonly Entry[]): void {
    const [first] = entries;
    if (first !== undefined) hub.created(first.roomId, entries);
  }

  async function change(caller: Caller, roomId: number, wanted: RoomChange): Promise<Room> {
    const { room, entries, inviting } = await rooms.change(roomId, caller, wanted);
    publish(roomId, entries);
    hub.invite(roomId, inviting);
    return room;
  }

  /** @throws {ChatError} as `RoomActions.put`; NOT_FOUND if the room is deleted meanwhile */
  async function put(
    caller: Caller,
    uuid: string,
    { type, entityOwner, rules: wantedRules, ...settings }: WantedRoom,
  ): Promise<PutRoom> {
    requireLevel(caller, CREATOR_LEVEL);
    if (entityOwner !== undefined) requireServer(caller);
    let rules: readonly Rule[] = [];
    function make() {
      const draft = {
        levelAdmin: CREATOR_LEVEL,
        maxEntityRules: DEFAULT_MAX_RULES,
        ...settings,
        type,
        entityOwner: entityOwner ?? caller.entityUUID,
      };
      rules = rulesOfNew(caller, draft, wantedRules);
      return { draft, rules };
    }
    const found = await rooms.findOrCreate({ uuid }, caller.userUUID, make, created);
    if (found.created) {
      hub.invite(found.room.id, othersInvited(rules));
      return found;
    }
    const room = await change(caller, found.room.id, {
      settings,
      rules: wantedRules.map((wanted) => ({
        target: wanted.entityUUID,
        decide: (room) => ruleToPut(caller, room, wanted),
      })),
      authorize(room) {
        requireMayPutRoom(caller, room, { type, entityOwner });
      },
    });
    return { room, created: false };
  }

  return {
    async idOf(uuid) {
      const id = await rooms.idOf(uuid);
      if (id !== undefined) return id;
      throw noSuchRoom();
    },

    async create(caller, wanted) {
      requireLevel(caller, CREATOR_LEVEL);
      const room = { ...wanted, entityOwner: caller.entityUUID };
      return rooms.create(room, firstRules(caller, room), caller.userUUID, created);
    },

    put: (caller, uuid, wanted) => unlessDeleted(() => put(caller, uuid, wanted)),

    async openDirect(caller, userUUID) {
      requireLevel(caller, directRoomLevel);
      if (caller.userUUID === NIL_UUID) {
        throw new ChatError('FORBIDDEN', { detail: 'a direct room is of two users: name one' });
      }
      if (userUUID === caller.userUUID) throw invalid('userUUID', 'must be that of another user');
      const [first = '', second = ''] = [caller.userUUID, userUUID].toSorted();
      const wanted = [caller.userUUID, userUUID].map((uuid): Rule => ({
        entityUUID: uuid,
        level: 0,
        permissions: 'rw',
        // Opening is consent.
        accepted: uuid === caller.userUUID,
      }));
      return unlessDeleted(async () => {
        const draft = {
          name: '',
          type: 'user2user',
          entityOwner: caller.entityUUID,
          // No level makes an admin of a user2user room.
          levelAdmin: 0,
          maxEntityRules: DIRECT_RULES,
        } as const;
        const found = await rooms.findOrCreate(
          { pair: [first, second] },
          caller.userUUID,
          () => ({ draft, rules: wanted }),
          created,
        );
        const { id } = found.room;
        if (found.created) {
          hub.invite(id, othersInvited(wanted));
          return found;
        }
        for (const rule of wanted) {
          const changed = await rules.change(id, caller, rule.entityUUID, (room) => {
            requireNoBlock(room);
            const before = room.rules.get(rule.entityUUID);
            return before === undefined || rule.accepted ? rule : before;
          });
          if (changed.entry !== undefined) publish(id, [changed.entry]);
          if (isInvitation(changed.rule, changed.before)) hub.invite(id, [changed.rule]);
        }
        return found;
      });
    },

    change: (caller, roomId, settings) =>
      change(caller, roomId, {
        settings,
        rules: [],
        authorize(room) {
          requireAdmin(caller, room);
        },
      }),

    listOwn: (caller, filter, gone) => roomList.page(caller, filter, gone),

    async get(caller, roomId, gone) {
      const room = await roomList.one(caller, roomId, gone);
      if (room !== undefined) return room;
      if ((await rooms.accessFor(caller, roomId, gone)) !== undefined) throw forbidden('r');
      throw noSuchRoom();
    },

    list: (caller, filter, gone) => rooms.rulesOf(caller, filter, gone),

    listAll: (caller, gone) => rooms.visibleTo(caller, gone),

    remove(caller, roomId) {
      return rooms.remove(
        roomId,
        caller,
        (room) => {
          requireAdmin(caller, room);
        },
        () => {
          hub.publishDeletion(roomId);
        },
      );
    },
  };
}

/** Finds or makes a room, again if it was deleted after it was found. */
async function unlessDeleted<Result>(findOrMake: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await findOrMake();
    } catch (error) {
      const isGone = error instanceof ChatError && error.code === 'NOT_FOUND';
      if (!isGone || attempt === MOST_ATTEMPTS) throw error;
    }
  }
}

/** The rules of a new room: its creator's, and in a group room that of its entity. The system needs none. */
function firstRules(
  { userUUID, levelOnEntity }: Caller,
  { type, entityOwner }: Pick<Room, 'type' | 'entityOwner'>,
): Rule[] {
  const creator: Rule = {
    entityUUID: userUUID,
    // A token may have a larger one than the column takes.
    level: Math.min(Math.floor(levelOnEntity), MAX_INTEGER),
    permissions: 'rwa',
    accepted: true,
  };
  const entity: Rule = {
    entityUUID: entityOwner,
    level: CREATOR_LEVEL,
    permissions: 'rw',
    accepted: true,
  };
  const rules = type === 'group' && entityOwner !== userUUID ? [creator, entity] : [creator];
  return rules.filter(({ entityUUID }) => entityUUID !== NIL_UUID);
}

/** Those rules of a new room that invite others than its creator and their entity, whose rules are accepted. */
function othersInvited(rules: readonly Rule[]): Rule[] {
  return rules.filter((rule) => !rule.accepted && isInvitation(rule));
}

/**
 * The rules of a new room that is to have some.
 * @throws {ChatError} FORBIDDEN, OUTRANKED, TOO_MANY_RULES, ROOM_FULL
 */
function rulesOfNew(
  caller: Caller,
  room: Omit<RoomAccess, 'rules'>,
  wanted: readonly WantedRule[],
): Rule[] {
  const rules = new Map(firstRules(caller, room).map((rule) => [rule.entityUUID, rule]));
  for (const rule of wanted) {
    const access = { ...room, rules, ruleCount: rules.size };
    rules.set(rule.entityUUID, ruleToPut(caller, access, rule));
  }
  return [...rules.values()];
}

/**
 * @throws {ChatError} FORBIDDEN if the room is another entity's, or the caller no admin; INVALID if it is of another type
 * or entity than wanted
 */
function requireMayPutRoom(
  caller: Caller,
  room: RoomAccess,
  { type, entityOwner = room.entityOwner }: Pick<WantedRoom, 'type' | 'entityOwner'>,
): void {
  requireOwnEntity(caller, room);
  requireAdmin(caller, room);
  if (room.type !== type) throw invalid('type', `must be ${room.type}, as the room is`);
  if (room.entityOwner !== entityOwner) {
    throw invalid('entity_owner', `must be ${room.entityOwner}, as the room's is`);
  }
}

function invalid(field: string, message: string): ChatError {
  return new ChatError('INVALID', { detail: `${field} ${message}`, errors: [{ field, message }] });
}
