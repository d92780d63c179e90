import type { Broker, CreateBroker } from '../broker/broker.js';
import type { Limits } from '../config.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { Entry } from '../store/entries.js';
import type { Epoch } from '../store/epoch.js';
import type { Log } from '../store/log.js';
import type { EndReason } from './audience.js';
import { Feed } from './feed.js';
import { createNeighbours } from './neighbours.js';
import type { Turn } from './turn.js';

/** How long a room that nobody looks at stays active: clients that reconnect find it warm. */
const LINGER_MS = 5_000;
/** How often nodes ask each other again: one that was killed is told nothing more. */
const RENEW_INTERVAL_MS = 30_000;

/** The rooms that sessions of this node look at, each with its feed. */
export interface Hub {
  readonly broker: Broker;
  /** The room's feed, active; undefined where there is no such room. Rejects where the store does. */
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
  limits: Pick<Limits, 'pollIntervalMs' | 'pollIntervalBrokerDownMs'>;
  logger: Logger;
}): Hub {
  const feeds = new Map<number, Feed>();
  const opening = new Map<number, Promise<Feed | undefined>>();
  const neighbours = createNeighbours({
    createBroker,
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
  const { broker } = neighbours;
  let timer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  let polledAt = 0;
  let renewedAt = performance.now();

  broker.onReconnect(() => {
    // What was said meanwhile was lost, greetings too.
    for (const roomId of feeds.keys()) neighbours.greet(roomId);
    void poll();
  });
  epoch.onChange(() => {
    for (const feed of feeds.values()) drop(feed, 'LOG_RESET');
  });
  schedulePoll();

  async function open(roomId: number): Promise<Feed | undefined> {
    const feed = new Feed({
      roomId,
      log,
      turn,
      logger,
      repairsGaps,
      publish: (entries) => {
        // A feed that was forgotten while its messages were on their way has a successor, maybe.
        const current = feeds.get(roomId);
        if (current !== feed) current?.take(entries);
        neighbours.tell(roomId, entries);
      },
      onOldNumbers: () => void poll(),
    });
    feeds.set(roomId, feed);
    try {
      // Subscribed first, read then: nothing falls in between.
      await neighbours.join(roomId);
      const state = await log.state(roomId);
      if (state !== undefined && feeds.get(roomId) === feed) {
        feed.activate(state);
        return feed;
      }
      // Not even a feed that was closed or deleted meanwhile is handed out.
      if (state !== undefined && feed.endedBy !== 'ROOM_DELETED') {
        throw new ChatError('UNAVAILABLE', { detail: 'the room begins anew' });
      }
    } catch (error) {
      await forget(feed);
      throw error;
    }
    await forget(feed);
    return undefined;
  }

  async function forget(feed: Feed): Promise<void> {
    if (feeds.get(feed.roomId) !== feed) return;
    feeds.delete(feed.roomId);
    await neighbours.leave(feed.roomId);
  }

  function forgetInBackground(feed: Feed): void {
    forget(feed).catch((error: unknown) => {
      logger.warn({ err: error, room: feed.roomId }, 'not unsubscribed');
    });
  }

  function drop(feed: Feed, reason: EndReason): void {
    feed.end(reason);
    forgetInBackground(feed);
  }

  /** Looks often whether a comparison is due: the broker may go down at any time. */
  function schedulePoll(): void {
    const interval = Math.min(limits.pollIntervalMs, limits.pollIntervalBrokerDownMs);
    timer = setInterval(() => {
      const isDue = !broker.isUp || performance.now() - polledAt >= limits.pollIntervalMs;
      if (isDue) void poll();
    }, interval);
  }

  /** Compares the heads of all active rooms with the log, in one query, one comparison at a time. */
  function poll(): Promise<void> {
    polling ??= compareHeads()
      .catch((error: unknown) => {
        logger.warn({ err: error }, 'heads could not be compared');
      })
      .finally(() => {
        polling = undefined;
      });
    return polling;
  }

  async function compareHeads(): Promise<void> {
    const now = performance.now();
    polledAt = now;
    if (now - renewedAt >= RENEW_INTERVAL_MS) {
      renewedAt = now;
      neighbours.renew();
    }
    for (const feed of feeds.values()) {
      const isIdle = feed.idleSince !== undefined && now - feed.idleSince > LINGER_MS;
      if (isIdle && !opening.has(feed.roomId)) forgetInBackground(feed);
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
      // Somebody may write who does not know of this node.
      if (head > feed.number && broker.isUp) neighbours.remind(feed.roomId);
      feed.headIs(head);
      feed.goOn();
    }
  }

  return {
    broker,

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
      neighbours.tellAll(roomId, { entries });
    },

    announceDeletion(roomId) {
      const feed = feeds.get(roomId);
      if (feed !== undefined) drop(feed, 'ROOM_DELETED');
      neighbours.tellAll(roomId, { deleted: true });
    },

    async close() {
      clearInterval(timer);
      feeds.clear();
      await Promise.all([broker.close(), polling]);
    },
  };
}
