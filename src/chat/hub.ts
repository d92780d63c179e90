import type { CreateBroker } from '../broker/broker.js';
import type { Limits } from '../config.js';
import { withDeadline } from '../deadline.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { Entry } from '../store/entries.js';
import type { Epoch } from '../store/epoch.js';
import type { Log } from '../store/log.js';
import type { EndReason } from './audience.js';
import { Feed } from './feed.js';
import { createPeers } from './peers.js';
import type { Turn } from './turn.js';

/** How long a room that nobody looks at stays active: clients that reconnect find it warm. */
const LINGER_MS = 5_000;

/** The rooms that sessions of this node look at, each with its feed. */
export interface Hub {
  /** Whether this node hears its own messages through the broker. */
  readonly brokerIsUp: boolean;
  /**
   * The room's feed, active; undefined where there is no such room.
   * @throws {ChatError} UNAVAILABLE where the store does not answer in time; the next who asks opens the room anew
   */
  enter(roomId: number): Promise<Feed | undefined>;
  /** Entries that were appended on this node, not by a feed: for the sessions here, and the other nodes. */
  announce(roomId: number, entries: readonly Entry[]): void;
  announceDeletion(roomId: number): void;
  close(): Promise<void>;
}

export function createHub({
  log,
  epoch,
  turn,
  createBroker,
  repairsGaps,
  limits,
  logger,
}: {
  log: Log;
  epoch: Epoch;
  turn: Turn;
  createBroker: CreateBroker;
  repairsGaps: boolean;
  limits: Pick<Limits, 'storeTimeoutMs' | 'pollIntervalMs' | 'pollIntervalBrokerDownMs'>;
  logger: Logger;
}): Hub {
  /** A reading that never comes back must keep nobody who asks after it. */
  const feedLog: Log = {
    ...log,
    read: (roomId, range) => withDeadline(limits.storeTimeoutMs, () => log.read(roomId, range)),
  };
  const feeds = new Map<number, Feed>();
  const opening = new Map<number, Promise<Feed | undefined>>();
  const peers = createPeers({
    createBroker,
    installation: epoch.uuid,
    logger,
    handlers: {
      entries: (roomId, entries) => feeds.get(roomId)?.take(entries),
      number: (roomId, number) => feeds.get(roomId)?.headIs(number),
      numberOf: (roomId) => feeds.get(roomId)?.number,
      deleted(roomId) {
        const feed = feeds.get(roomId);
        if (feed !== undefined) drop(feed, 'ROOM_DELETED');
      },
    },
  });
  let timer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  let polledAt = -Infinity;
  /** What could not be read since a comparison succeeded. */
  let failedReads = 0;

  epoch.onChange(() => {
    for (const feed of feeds.values()) drop(feed, 'LOG_RESET');
    peers.moveTo(epoch.uuid);
  });
  schedulePoll();

  async function open(roomId: number): Promise<Feed | undefined> {
    const feed = new Feed({
      roomId,
      log: feedLog,
      turn,
      repairsGaps,
      publish: (entries) => {
        // A feed that was forgotten while its messages were on their way has a successor, maybe.
        const current = feeds.get(roomId);
        if (current !== feed) current?.take(entries);
        peers.publish(roomId, entries);
      },
      onOldNumbers: () => void poll(),
      onReadFailure: readFailed,
    });
    feeds.set(roomId, feed);
    try {
      const state = await withDeadline(limits.storeTimeoutMs, async () => {
        // Subscribed first, read then: nothing falls in between.
        await peers.join(roomId);
        return log.state(roomId);
      });
      if (state !== undefined && feeds.get(roomId) === feed) {
        feed.activate(state);
        return feed;
      }
      // Not even a feed that was closed or deleted meanwhile is handed out.
      if (state !== undefined && feed.endedBy !== 'ROOM_DELETED') {
        throw new ChatError('UNAVAILABLE', { detail: 'the room begins anew' });
      }
    } catch (error) {
      forget(feed);
      throw error;
    }
    forget(feed);
    return undefined;
  }

  /** Unsubscribed in the background: nobody who opens the room anew waits for that. */
  function forget(feed: Feed): void {
    if (feeds.get(feed.roomId) !== feed) return;
    feeds.delete(feed.roomId);
    peers.leave(feed.roomId).catch((error: unknown) => {
      logger.warn({ err: error, room: feed.roomId }, 'not unsubscribed');
    });
  }

  function drop(feed: Feed, reason: EndReason): void {
    feed.end(reason);
    forget(feed);
  }

  /** Looks often whether a comparison is due: something may be lost at any time. */
  function schedulePoll(): void {
    const interval = Math.min(limits.pollIntervalMs, limits.pollIntervalBrokerDownMs);
    timer = setInterval(() => {
      const isDue = !peers.hearsAll || performance.now() - polledAt >= limits.pollIntervalMs;
      if (isDue) void poll();
    }, interval);
  }

  /** Compares the heads of all active rooms with the log, in one query, one comparison at a time. */
  function poll(): Promise<void> {
    polling ??= withDeadline(limits.storeTimeoutMs, compareHeads)
      .then(readAgain, (error: unknown) => {
        readFailed(error);
      })
      .finally(() => {
        polling = undefined;
      });
    return polling;
  }

  /** A line an outage; what could not be read is read with the next comparison, as soon as the timer looks. */
  function readFailed(error: unknown): void {
    if (failedReads === 0) logger.warn({ err: error }, 'the log could not be read');
    failedReads += 1;
    polledAt = -Infinity;
  }

  function readAgain(): void {
    if (failedReads > 0) logger.info({ failedReads }, 'the log is read again');
    failedReads = 0;
  }

  async function compareHeads(): Promise<void> {
    const now = performance.now();
    polledAt = now;
    for (const feed of feeds.values()) {
      const isIdle = feed.idleSince !== undefined && now - feed.idleSince > LINGER_MS;
      if (isIdle && !opening.has(feed.roomId)) forget(feed);
    }
    await epoch.confirm();
    const active = [...feeds.values()].filter((feed) => !opening.has(feed.roomId));
    if (active.length === 0) return;
    // Before the query: what is appended meanwhile may be beyond its snapshot.
    const numbers = new Map(active.map((feed) => [feed.roomId, feed.number]));
    const heads = await log.heads([...numbers.keys()]);
    for (const feed of active) {
      const head = heads.get(feed.roomId);
      const number = numbers.get(feed.roomId) ?? 0;
      if (head !== undefined && head < number) {
        logger.error({ room: feed.roomId, head, number }, 'the head of a room is below its feed');
        await epoch.renew();
        return;
      }
      if (head === undefined) {
        if (feeds.get(feed.roomId) === feed) drop(feed, 'ROOM_DELETED');
        continue;
      }
      feed.headIs(head);
      feed.goOn();
    }
  }

  return {
    get brokerIsUp() {
      return peers.isUp;
    },

    enter(roomId) {
      const inProgress = opening.get(roomId);
      if (inProgress !== undefined) return inProgress;
      const feed = feeds.get(roomId);
      if (feed !== undefined) {
        feed.touch();
        return Promise.resolve(feed);
      }
      const attempt = open(roomId).finally(() => {
        opening.delete(roomId);
      });
      opening.set(roomId, attempt);
      return attempt;
    },

    announce(roomId, entries) {
      feeds.get(roomId)?.takeOwn(entries);
      peers.publishToAll(roomId, { entries });
    },

    announceDeletion(roomId) {
      const feed = feeds.get(roomId);
      if (feed !== undefined) drop(feed, 'ROOM_DELETED');
      peers.publishToAll(roomId, { deleted: true });
    },

    async close() {
      clearInterval(timer);
      feeds.clear();
      await Promise.all([peers.close(), polling]);
    },
  };
}
