import { countingRules, requirePermission, type Caller } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { ReadMarkers } from '../store/read-markers.js';
import type { Rooms, RoomWithRules } from '../store/rooms.js';

/** How far a user has read. */
export interface ReadRange {
  /** Seq of the last entry that was read; beyond the head it means the head. */
  readonly upto: number;
  /** Whether the marker goes exactly there, also backwards: "mark as unread". */
  readonly isBack: boolean;
}

export interface ReadMarkerActions {
  /**
   * Moves the caller's read marker in a room, never below the entry since which they may read.
   * @returns the seq at which it is now
   * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `r`; UNAVAILABLE
   */
  move(caller: Caller, roomId: number, range: ReadRange): Promise<number>;
}

export function createReadMarkerActions({
  rooms,
  readMarkers,
}: {
  rooms: Pick<Rooms, 'accessFor'>;
  readMarkers: ReadMarkers;
}): ReadMarkerActions {
  return {
    async move(caller, roomId, { upto, isBack }) {
      const room = await rooms.accessFor(caller, roomId);
      if (room === undefined) {
        throw new ChatError('NOT_FOUND', { detail: 'there is no such room' });
      }
      requirePermission(caller, room, 'r');
      const since = readsSince(caller, room);
      const wanted = Math.max(since, Math.min(upto, room.head));
      return Math.max(since, await readMarkers.move(roomId, caller.userUUID, wanted, isBack));
    },
  };
}

/** The seq of the entry that added the rule by which the caller may read; the smaller one if there are two. */
function readsSince(caller: Caller, room: RoomWithRules): number {
  const { own, entity } = countingRules(caller, room);
  const letting = [own, entity].filter((rule) => rule?.permissions.includes('r'));
  return Math.min(...letting.map((rule) => rule?.since ?? 0));
}
