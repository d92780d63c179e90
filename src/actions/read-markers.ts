import { forbidden, type Caller } from '../access/permissions.js';
import { noSuchRoom } from '../errors.js';
import type { Hub } from '../feeds/hub.js';
import type { UserSession } from '../feeds/user-sessions.js';
import type { NotifyLevel, ReadMarkers } from '../store/read-markers.js';

/** How far a user has read. */
export interface ReadRange {
  /** Seq of the last entry that was read; beyond the head it means the head. */
  readonly upto: number;
  /** Whether the marker goes exactly there, also backwards: "mark as unread". */
  readonly isBack: boolean;
}

export interface ReadMarkerActions {
  /**
   * The seq at which the caller's read marker in a room is, 0 if they may not read the room; and the seq up to which
   * the room's log is gone.
   * @throws {ChatError} UNAVAILABLE
   */
  find(caller: Caller, roomId: number): Promise<{ read: number; horizon: number }>;
  /**
   * Moves the caller's read marker in a room, never below the entry since which they may read. Their other sessions are
   * told, on all nodes.
   * @param origin the session that asked for it
   * @returns the seq at which it is now
   * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `r`; UNAVAILABLE
   */
  move(caller: Caller, roomId: number, range: ReadRange, origin?: UserSession): Promise<number>;
  /**
   * Sets which messages of a room the caller wants to be notified of. It is for whoever notifies: nothing else changes.
   * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `r`; UNAVAILABLE
   */
  notify(caller: Caller, roomId: number, level: NotifyLevel): Promise<void>;
}

export function createReadMarkerActions({
  readMarkers,
  hub,
}: {
  readMarkers: ReadMarkers;
  hub: Pick<Hub, 'markerMoved'>;
}): ReadMarkerActions {
  return {
    async find(caller, roomId) {
      const { upto = 0, horizon = 0 } = (await readMarkers.find(caller, roomId)) ?? {};
      return { read: upto, horizon };
    },

    async move(caller, roomId, { upto: wanted, isBack }, origin) {
      const marker = await readMarkers.move(caller, roomId, wanted, isBack);
      if (marker === undefined) throw noSuchRoom();
      if (!marker.mayRead) throw forbidden('r');
      const { upto } = marker;
      if (marker.isMoved) {
        hub.markerMoved({ roomId, userUUID: caller.userUUID, upto, isBack }, origin);
      }
      return upto;
    },

    async notify(caller, roomId, level) {
      const mayRead = await readMarkers.notify(caller, roomId, level);
      if (mayRead === undefined) throw noSuchRoom();
      if (!mayRead) throw forbidden('r');
    },
  };
}
