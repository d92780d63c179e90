import { requireAdmin, type Caller, type Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Hub } from '../feeds/hub.js';
import { MAX_INTEGER } from '../protocol/values.js';
import type { Room, ListedRoom, Rooms, RuleWithRoom } from '../store/rooms.js';

/**
 * The `levelOnEntity` that creating a room takes, as in the proof of concept, and the level from which the members of
 * its entity enter a new group room.
 */
const CREATOR_LEVEL = 100;

/** A room as its creator wants it. */
export type NewRoom = Pick<Room, 'name' | 'type' | 'levelAdmin' | 'maxEntityRules'>;

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
  hub,
}: {
  rooms: Rooms;
  hub: Pick<Hub, 'publishDeletion'>;
}): RoomActions {
  return {
    async idOf(uuid) {
      const id = await rooms.idOf(uuid);
      if (id !== undefined) return id;
      throw new ChatError('NOT_FOUND', { detail: 'there is no such room' });
    },

    async create(caller, wanted) {
      if (caller.levelOnEntity < CREATOR_LEVEL) {
        throw new ChatError('FORBIDDEN', { detail: `this needs a level of ${CREATOR_LEVEL}` });
      }
      const room = { ...wanted, entityOwner: caller.entityUUID };
      return rooms.create(room, firstRules(caller, wanted.type), caller.userUUID);
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

/** The rules of a new room: its creator's, and in a group room that of their entity. */
function firstRules({ userUUID, entityUUID, levelOnEntity }: Caller, type: Room['type']): Rule[] {
  const creator: Rule = {
    entityUUID: userUUID,
    // A token may have a larger one than the column takes.
    level: Math.min(Math.floor(levelOnEntity), MAX_INTEGER),
    permissions: 'rwa',
    accepted: true,
  };
  if (type !== 'group' || entityUUID === userUUID) return [creator];
  const entity: Rule = {
    entityUUID,
    level: CREATOR_LEVEL,
    permissions: 'rw',
    accepted: true,
  };
  return [creator, entity];
}
