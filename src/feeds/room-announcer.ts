import type { PeerMessage } from './peer-messages.js';
import type { PeerRegistry } from './peer-registry.js';

/** Rooms per announcement, about 16 KB, and the pause before the next one, in which other messages pass. */
const ROOMS_PER_ANNOUNCEMENT = 1_000;
const ROOMS_PAUSE_MS = 10;
/**
 * After an outage of Redis all nodes are asked at once: each waits a random time up to this before it announces its
 * rooms.
 */
const MAX_DELAY_MS = 2_000;

/** An open room, the position of its feed, and the version of its presence. */
export type RoomMark = [roomId: number, head: number, version: number];

/** Announces the open rooms of this node to peers that request them. Peers are given by their names. */
export interface RoomAnnouncer {
  /** Announces one room, together with the others that are announced to the peer in this turn of the event loop. */
  announce(peer: string, roomId: number): void;
  /** Announces all rooms, after a random delay, to all peers that have requested them by then. */
  announceAll(peer: string): void;
  /** Drops all requests for all rooms. */
  stop(): void;
}

export function createRoomAnnouncer({
  registry,
  markOf,
  send,
}: {
  /** The open rooms of this node. */
  registry: Pick<PeerRegistry, 'rooms' | 'has'>;
  /** What is announced of a room. */
  markOf: (roomId: number) => RoomMark;
  send: (peers: readonly string[], message: PeerMessage) => void;
}): RoomAnnouncer {
  /** The rooms that are announced at the end of this turn of the event loop, by peer. */
  const single = new Map<string, number[]>();
  /** Peers that have requested all rooms, and the announcement in progress, with the rooms that are left. */
  const requesters = new Set<string>();
  let inProgress: { readonly to: readonly string[]; readonly left: number[] } | undefined;
  let timer: NodeJS.Timeout | undefined;

  function sendSingle(): void {
    for (const [peer, rooms] of single) send([peer], { rooms: rooms.map(markOf) });
    single.clear();
  }

  function startLater(): void {
    timer = setTimeout(sendPage, Math.random() * MAX_DELAY_MS);
  }

  function sendPage(): void {
    const begins = inProgress === undefined;
    inProgress ??= { to: [...requesters], left: [...registry.rooms] };
    if (begins) requesters.clear();
    const page = inProgress.left
      .splice(-ROOMS_PER_ANNOUNCEMENT)
      .filter((roomId) => registry.has(roomId))
      .map(markOf);
    const ends = inProgress.left.length === 0;
    send(inProgress.to, { rooms: page, ...(begins && { begins }), ...(ends && { ends }) });
    timer = undefined;
    if (!ends) {
      timer = setTimeout(sendPage, ROOMS_PAUSE_MS);
      return;
    }
    inProgress = undefined;
    if (requesters.size > 0) startLater();
  }

  return {
    announce(peer, roomId) {
      if (single.size === 0) setImmediate(sendSingle);
      const others = single.get(peer);
      if (others === undefined) single.set(peer, [roomId]);
      else others.push(roomId);
    },

    announceAll(peer) {
      requesters.add(peer);
      if (timer === undefined) startLater();
    },

    stop() {
      clearTimeout(timer);
      timer = undefined;
      inProgress = undefined;
      requesters.clear();
    },
  };
}
