import { nodeOf } from './peer-registry.js';
import type { PeerMessage } from './peer-messages.js';
import type { PresenceDiff } from './presence.js';
import type { RoomHints } from './room-hints.js';

/**
 * Heartbeats of this node without a sign of a peer, 50 s, after which its users are offline: with the passes of rooms,
 * users of a node that was killed are gone within the minute that docs/PROTOCOL.md promises.
 */
const SILENT_MAX = 125;
/** Heartbeats for which the users of all peers stay online while the broker is down, 60 s. */
const FROZEN_MAX = 150;
/** How long an answer of a peer is waited for: as long as one of its heartbeats. */
const ANSWER_MS = 400;
/** Users a message, about 40 KB; one room may have more. */
const USERS_A_MESSAGE = 1_000;

/** A question that peers have not all answered. */
interface Search {
  readonly users: Set<string>;
  readonly unanswered: Set<string>;
  readonly found: Promise<ReadonlySet<string>>;
  end(): void;
}

/**
 * What nodes tell each other of who is online in the rooms that they have open. Each node tells its own users: the
 * differences as they happen, each with the version before and after it, and the version of a room whenever it announces
 * the room. A peer that has another version asks for all users. Peers are given by their names.
 */
export interface PresenceExchange {
  /** This node sends a heartbeat; without a broker that is up, it hears nobody. */
  beat(isUp: boolean): void;
  /** A peer has sent something. */
  heard(peer: string): void;
  /** A peer has announced a room, at a version of its presence. */
  announced(peer: string, roomId: number, version: number): void;
  differs(peer: string, roomId: number, diff: PresenceDiff): void;
  /** A peer asks for all users of rooms. */
  asked(peer: string, roomIds: readonly number[]): void;
  /** A peer has told all its users of rooms. */
  listed(peer: string, lists: NonNullable<PeerMessage['online']>): void;
  /** Asks peers for the users of a room that is not open here; one that does not answer in time is left out. */
  find(roomId: number, peers: readonly string[]): Promise<ReadonlySet<string>>;
  /** A peer has closed a room. */
  left(peer: string, roomId: number): void;
  /** A peer has shut down. */
  ended(peer: string): void;
}

export function createPresenceExchange({
  hintsOf,
  allHints,
  send,
}: {
  /** Those of a room that is open on this node. */
  hintsOf: (roomId: number) => RoomHints | undefined;
  allHints: () => Iterable<RoomHints>;
  send: (peer: string, message: PeerMessage) => void;
}): PresenceExchange {
  /** By node, the heartbeats of this node since it was heard. */
  const silent = new Map<string, number>();
  /** Heartbeats for which the broker has been down. */
  let down = 0;
  /** By peer, the rooms that it is asked for at the end of this turn of the event loop. */
  const asks = new Map<string, Set<number>>();

  /** By room. */
  const searches = new Map<number, Search>();

  function startSearch(roomId: number, peers: readonly string[]): Search {
    const users = new Set<string>();
    let resolve: (users: ReadonlySet<string>) => void = () => undefined;
    const found = new Promise<ReadonlySet<string>>((done) => {
      resolve = done;
    });
    const end = (): void => {
      clearTimeout(timer);
      searches.delete(roomId);
      resolve(users);
    };
    const timer = setTimeout(end, ANSWER_MS);
    for (const peer of peers) ask(peer, roomId);
    const search = { users, unanswered: new Set(peers.map(nodeOf)), found, end };
    searches.set(roomId, search);
    return search;
  }

  function answered(node: string, roomId: number, users: readonly string[]): void {
    const search = searches.get(roomId);
    if (search === undefined) return;
    for (const user of users) search.users.add(user);
    search.unanswered.delete(node);
    if (search.unanswered.size === 0) search.end();
  }

  function ask(peer: string, roomId: number): void {
    if (asks.size === 0) setImmediate(sendAsks);
    const rooms = asks.get(peer);
    if (rooms === undefined) asks.set(peer, new Set([roomId]));
    else rooms.add(roomId);
  }

  function sendAsks(): void {
    for (const [peer, rooms] of asks) send(peer, { asks: [...rooms] });
    asks.clear();
  }

  function gone(node: string, hasShutDown: boolean): void {
    silent.delete(node);
    for (const hints of allHints()) hints.peerGone(node, hasShutDown);
  }

  return {
    beat(isUp) {
      down = isUp ? 0 : down + 1;
      for (const [node, beats] of silent) {
        if (isUp) silent.set(node, beats + 1);
        if (beats >= SILENT_MAX || down >= FROZEN_MAX) gone(node, false);
      }
    },

    heard(peer) {
      silent.set(nodeOf(peer), 0);
    },

    announced(peer, roomId, version) {
      const hints = hintsOf(roomId);
      const node = nodeOf(peer);
      if (hints === undefined || hints.presence.versionOf(node) === version) return;
      if (version === 0) hints.replacePeer(node, 0, []);
      else ask(peer, roomId);
    },

    differs(peer, roomId, diff) {
      if (hintsOf(roomId)?.applyDiff(nodeOf(peer), diff) === false) ask(peer, roomId);
    },

    asked(peer, roomIds) {
      let online: NonNullable<PeerMessage['online']> = [];
      let users = 0;
      for (const roomId of roomIds) {
        const hints = hintsOf(roomId);
        // The list is that of the version.
        hints?.tellPeers();
        const presence = hints?.presence;
        const here = presence?.usersHere() ?? [];
        online.push([roomId, presence?.version ?? 0, here]);
        users += here.length;
        if (users < USERS_A_MESSAGE) continue;
        send(peer, { online });
        online = [];
        users = 0;
      }
      if (online.length > 0) send(peer, { online });
    },

    listed(peer, lists) {
      for (const [roomId, version, users] of lists) {
        hintsOf(roomId)?.replacePeer(nodeOf(peer), version, users);
        answered(nodeOf(peer), roomId, users);
      }
    },

    find(roomId, peers) {
      if (peers.length === 0) return Promise.resolve(new Set());
      return (searches.get(roomId) ?? startSearch(roomId, peers)).found;
    },

    left(peer, roomId) {
      hintsOf(roomId)?.peerGone(nodeOf(peer), false);
    },

    ended(peer) {
      gone(nodeOf(peer), true);
    },
  };
}
