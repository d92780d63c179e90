import type { CreateBroker } from '../broker/broker.js';
import type { Limits } from '../config/load.js';
import { withDeadline } from '../deadline.js';
import { ChatError } from '../errors.js';
import { debugLog, type Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import type { Tracer } from '../tracer.js';
import type { Entry } from '../store/entry.js';
import type { Epoch } from '../store/epoch.js';
import type { Log } from '../store/log.js';
import type { Revocation, Revocations } from '../store/revocations.js';
import type { EndReason } from './subscribers.js';
import { Feed } from './feed.js';
import { createHeadPoll } from './head-poll.js';
import { createPeers } from './peers.js';
import type { FlushQueue } from './flush-queue.js';
import type { MovedMarker } from './peer-messages.js';
import type { InvitingRule } from './user-events.js';
import { UserSessions, type UserSession } from './user-sessions.js';

/**
 * How long a room without sessions stays active: clients that reconnect find it open, and its last users have been told to
 * be offline (GRACE_MS of presence.ts).
 */
const LINGER_MS = 11_000;

/** The rooms with sessions on this node, each with its feed. */
export interface Hub {
  /** The identity of the log, as this node knows it. */
  readonly epoch: string;
  /** Whether this node receives its own heartbeats through the broker. */
  readonly brokerIsUp: boolean;
  /** The number of open rooms. */
  readonly roomCount: number;
  /** The number of other nodes that are heard. */
  readonly peerCount: number;
  /** The sessions of version 2 on this node. */
  readonly userSessions: UserSessions;
  /** The room's feed, if it is active. */
  active(roomId: number): Feed | undefined;
  /**
   * Opens a room, unless it is open; undefined if there is no such room.
   * @throws {ChatError} UNAVAILABLE if the store does not answer in time; the next call opens the room anew
   */
  open(roomId: number): Promise<Feed | undefined>;
  /**
   * Delivers entries that this node has appended outside of a feed, here and on the peers.
   * @returns resolves when they are delivered here, if they wait behind a gap
   */
  publish(roomId: number, entries: readonly Entry[]): Promise<void> | void;
  /** Tells of the first entries of a room, which nobody has open. */
  created(roomId: number, entries: readonly Entry[]): void;
  /** Has the feeds of a room, here and on the peers, read on up to the last of some entries that this node has stored. */
  announceStored(roomId: number, entries: readonly Pick<Entry, 'seq' | 'kind'>[]): void;
  /** Ends the feed of a deleted room, here and on the peers. */
  publishDeletion(roomId: number): void;
  /**
   * Tells the sessions of users and entities, here and on the peers, of rules of a room that invite them: of those of an
   * entity, its members from the rule's level on.
   */
  invite(roomId: number, rules: readonly InvitingRule[]): void;
  /** Tells a user's sessions that a read marker was moved, here but for the one that moved it, and on the peers. */
  markerMoved(marker: MovedMarker, origin?: UserSession): void;
  /** Tells the peers that the tokens of a user are revoked. */
  publishRevocation(revocation: Revocation): void;
  /** The users who are online in a room, as far as the peers say so in time. */
  online(roomId: number): Promise<Pick<ReadonlySet<string>, 'has'>>;
  close(): Promise<void>;
}

export function createHub({
  log,
  epoch,
  revocations,
  flushQueue,
  createBroker,
  repairsGaps,
  limits,
  logger,
  observer,
  tracer,
  onStored,
}: {
  log: Log;
  epoch: Epoch;
  revocations: Pick<Revocations, 'take' | 'refresh'>;
  flushQueue: FlushQueue;
  createBroker: CreateBroker;
  repairsGaps: boolean;
  limits: Pick<Limits, 'storeTimeoutMs' | 'pollIntervalMs' | 'pollIntervalBrokerDownMs'>;
  logger: Logger;
  observer?: Observer | undefined;
  tracer?: Tracer | undefined;
  /** This node has stored something in a room: entries, a read marker, its deletion. */
  onStored?: ((roomId: number) => void) | undefined;
}): Hub {
  /** A read that never answers must not block the reads after it. */
  const feedLog: Log = {
    ...log,
    read: (roomId, range) => withDeadline(limits.storeTimeoutMs, () => log.read(roomId, range)),
    state: (roomId) => withDeadline(limits.storeTimeoutMs, () => log.state(roomId)),
    horizon: (roomId) => withDeadline(limits.storeTimeoutMs, () => log.horizon(roomId)),
  };
  const feeds = new Map<number, Feed>();
  const debug = debugLog(logger);
  const opening = new Map<number, Promise<Feed | undefined>>();
  const userSessions = new UserSessions();
  /** Of the presence in any room. */
  let version = 0;
  const peers = createPeers({
    createBroker,
    installation: epoch.uuid,
    logger,
    observer,
    handlers: {
      entries: (roomId, entries) => feeds.get(roomId)?.take(entries),
      head: (roomId, head) => feeds.get(roomId)?.headAnnounced(head),
      positionOf: (roomId) => feeds.get(roomId)?.position,
      deleted(roomId) {
        const feed = feeds.get(roomId);
        if (feed !== undefined) drop(feed, 'ROOM_DELETED');
      },
      epochChanged: () => void poll.compare(),
      markerMoved: tellMarker,
      invited(roomId, rule) {
        userSessions.tellInvited(roomId, rule);
      },
      revoked: revocations.take,
      typing: (roomId, userUUIDs, rulesHead) =>
        feeds.get(roomId)?.typedElsewhere(userUUIDs, rulesHead),
      hintsOf: (roomId) => feeds.get(roomId)?.hints,
      allHints: () => Array.from(feeds.values(), ({ hints }) => hints),
    },
  });
  const poll = createHeadPoll({
    log,
    epoch,
    revocations,
    activeFeeds,
    receivesAll: () => peers.receivesAll,
    onDeleted(feed) {
      if (feeds.get(feed.roomId) === feed) drop(feed, 'ROOM_DELETED');
    },
    limits,
    logger,
    observer,
  });

  epoch.onChange(() => {
    for (const feed of feeds.values()) drop(feed, 'LOG_RESET');
    peers.moveTo(epoch.uuid);
  });

  async function openFeed(roomId: number): Promise<Feed | undefined> {
    const feed = new Feed({
      roomId,
      log: feedLog,
      debug,
      observer,
      tracer,
      flushQueue,
      repairsGaps,
      publish: (entries) => {
        // A feed that was closed with messages in flight may have a successor.
        const current = feeds.get(roomId);
        if (current !== feed) current?.take(entries);
        onStored?.(roomId);
        peers.publish(roomId, entries);
      },
      publishHints: (hints) => {
        peers.publishHints(roomId, { ...hints, rulesHead: feed.rulesHead });
      },
      nextVersion: () => (version += 1),
      onOldSeqs: () => poll.compare(),
      onReadFailure: poll.readFailed,
      onLost: () => {
        if (feeds.get(roomId) === feed) drop(feed, 'LOG_RESET');
      },
    });
    feeds.set(roomId, feed);
    try {
      const state = await withDeadline(limits.storeTimeoutMs, async () => {
        // Subscribes before it reads, so that no entry falls between the two.
        await peers.join(roomId);
        return log.state(roomId);
      }).catch((error: unknown) => {
        poll.readFailed(error);
        throw error;
      });
      if (state !== undefined && feeds.get(roomId) === feed) {
        feed.activate(state);
        debug?.({ room: roomId, head: state.head }, 'feed opened');
        return feed;
      }
      // A feed that was closed or deleted meanwhile is not returned either.
      if (state !== undefined && feed.endedBy !== 'ROOM_DELETED') {
        throw new ChatError('UNAVAILABLE', {
          detail: 'the room was closed while it was being opened',
        });
      }
    } catch (error) {
      forget(feed);
      throw error;
    }
    forget(feed);
    return undefined;
  }

  function active(roomId: number): Feed | undefined {
    if (opening.has(roomId)) return undefined;
    const feed = feeds.get(roomId);
    feed?.touch();
    return feed;
  }

  /** Unsubscribes in the background: opening the room anew does not wait for it. */
  function forget(feed: Feed): void {
    if (feeds.get(feed.roomId) !== feed) return;
    feeds.delete(feed.roomId);
    feed.close();
    // One whose opening failed was not logged as opened either.
    if (!opening.has(feed.roomId)) debug?.({ room: feed.roomId }, 'feed closed');
    peers.leave(feed.roomId).catch((error: unknown) => {
      logger.warn({ err: error, room: feed.roomId }, 'unsubscribe failed');
    });
  }

  function drop(feed: Feed, reason: EndReason): void {
    feed.end(reason);
    forget(feed);
  }

  function tellMarker(marker: MovedMarker, except?: UserSession): void {
    userSessions.tellMarker(marker, except);
    const { roomId, userUUID, upto, isBack } = marker;
    if (!isBack) feeds.get(roomId)?.readBy(userUUID, upto);
  }

  function countStored(roomId: number, entries: readonly Entry[]): void {
    if (observer !== undefined) for (const { kind } of entries) observer.appended(kind);
    if (tracer !== undefined) tracePublished(tracer, roomId, entries);
  }

  /** The active feeds. Closes those without sessions for LINGER_MS. */
  function activeFeeds(): Feed[] {
    const before = performance.now() - LINGER_MS;
    const active = [...feeds.values()].filter((feed) => !opening.has(feed.roomId));
    return active.filter((feed) => {
      const isIdle = feed.idleSince !== undefined && feed.idleSince < before;
      if (isIdle) forget(feed);
      return !isIdle;
    });
  }

  return {
    get epoch() {
      return epoch.uuid;
    },

    get brokerIsUp() {
      return peers.isUp;
    },

    get roomCount() {
      return feeds.size;
    },

    get peerCount() {
      return peers.count;
    },

    userSessions,

    active,

    open(roomId) {
      const inProgress = opening.get(roomId);
      if (inProgress !== undefined) return inProgress;
      const feed = active(roomId);
      if (feed !== undefined) return Promise.resolve(feed);
      const attempt = openFeed(roomId).finally(() => {
        opening.delete(roomId);
      });
      opening.set(roomId, attempt);
      return attempt;
    },

    created(roomId, entries) {
      countStored(roomId, entries);
      onStored?.(roomId);
    },

    publish(roomId, entries) {
      countStored(roomId, entries);
      const taken = feeds.get(roomId)?.takeOwn(entries);
      onStored?.(roomId);
      peers.publishToAll(roomId, { entries });
      return taken;
    },

    announceStored(roomId, entries) {
      const head = entries.at(-1)?.seq;
      if (head === undefined) return;
      if (observer !== undefined) for (const { kind } of entries) observer.appended(kind);
      feeds.get(roomId)?.headAnnounced(head);
      peers.publishToAll(roomId, { head });
    },

    publishDeletion(roomId) {
      const feed = feeds.get(roomId);
      if (feed !== undefined) drop(feed, 'ROOM_DELETED');
      peers.publishToAll(roomId, { deleted: true });
      onStored?.(roomId);
    },

    invite(roomId, rules) {
      if (rules.length === 0) return;
      for (const rule of rules) userSessions.tellInvited(roomId, rule);
      peers.userEvents.tellInvitations(roomId, rules);
    },

    markerMoved(marker, origin) {
      tellMarker(marker, origin);
      onStored?.(marker.roomId);
      peers.userEvents.tellMarker(marker);
    },

    publishRevocation: peers.userEvents.tellRevocation,

    online(roomId) {
      const feed = active(roomId);
      return feed === undefined ? peers.online(roomId) : Promise.resolve(feed.hints.presence);
    },

    async close() {
      for (const feed of feeds.values()) feed.close();
      feeds.clear();
      await Promise.all([peers.close(), poll.close()]);
    },
  };
}

/** Of what is stored by other statements than messages are, only the date is known. */
function tracePublished(tracer: Tracer, roomId: number, entries: readonly Entry[]): void {
  const to = performance.now();
  for (const { seq, kind, createdAt } of entries) {
    const from = Math.min(to, Date.parse(createdAt) - performance.timeOrigin);
    tracer.appended({ roomId, seq }, kind, { from, to });
  }
}
