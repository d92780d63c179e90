import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Broker, CreateBroker } from '../broker/broker.js';
import type { Limits } from '../config.js';
import type { Logger } from '../logger.js';
import type { Entry } from '../store/entries.js';
import type { Log } from '../store/log.js';
import { ENTRY_KINDS } from '../store/models/message.js';
import { Feed } from './feed.js';
import type { Turn } from './turn.js';

/** How long a room that nobody looks at stays active: clients that reconnect find it warm. */
const LINGER_MS = 5_000;

const CHANNEL = /^room:(\d+)$/;

/** What one node tells the others about a room, as `<node> <JSON of this>`. */
const newsSchema = z.object({
  entries: z
    .array(
      z.object({
        room_id: z.number(),
        seq: z.number().int(),
        kind: z.enum(ENTRY_KINDS),
        emitter: z.string(),
        content: z.string(),
        ref: z.string().nullable(),
        createdAt: z.string(),
      }),
    )
    .optional(),
  deleted: z.literal(true).optional(),
});

type News = z.infer<typeof newsSchema>;

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
  turn,
  createBroker,
  repairsGaps,
  limits,
  logger,
}: {
  log: Log;
  turn: Turn;
  createBroker: CreateBroker;
  repairsGaps: boolean;
  limits: Pick<Limits, 'pollIntervalMs' | 'pollIntervalBrokerDownMs'>;
  logger: Logger;
}): Hub {
  const node = randomUUID();
  const feeds = new Map<number, Feed>();
  const opening = new Map<number, Promise<Feed | undefined>>();
  const broker = createBroker(receive);
  let timer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  let polledAt = 0;

  broker.onReconnect(() => {
    void poll();
  });
  schedulePoll();

  function publish(roomId: number, news: News): void {
    broker.publish(channelOf(roomId), `${node} ${JSON.stringify(news)}`);
  }

  function receive(channel: string, message: string): void {
    // What this node published it has already.
    if (message.startsWith(node)) return;
    const roomId = Number(CHANNEL.exec(channel)?.[1]);
    const feed = feeds.get(roomId);
    if (feed === undefined) return;
    const news = parseNews(message);
    if (news === undefined) logger.warn({ channel }, 'a message of the broker is not ours');
    else if (news.deleted) drop(feed);
    else feed.take(news.entries ?? []);
  }

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
        publish(roomId, { entries: [...entries] });
      },
    });
    feeds.set(roomId, feed);
    try {
      // Subscribed first, read then: nothing falls in between.
      await broker.subscribe(channelOf(roomId));
      const state = await log.state(roomId);
      // Not even a feed that was closed or deleted meanwhile is handed out.
      if (state !== undefined && feeds.get(roomId) === feed) {
        feed.activate(state);
        return feed;
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
    await broker.unsubscribe(channelOf(feed.roomId));
  }

  function forgetInBackground(feed: Feed): void {
    forget(feed).catch((error: unknown) => {
      logger.warn({ err: error, room: feed.roomId }, 'not unsubscribed');
    });
  }

  function drop(feed: Feed): void {
    feed.deleted();
    forgetInBackground(feed);
  }

  /** Looks often whether a comparison is due: the broker may go down at any time. */
  function schedulePoll(): void {
    const interval = Math.min(limits.pollIntervalMs, limits.pollIntervalBrokerDownMs);
    timer = setInterval(() => {
      const isDue = !broker.isUp || Date.now() - polledAt >= limits.pollIntervalMs;
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
    const now = Date.now();
    polledAt = now;
    for (const feed of feeds.values()) {
      const isIdle = feed.idleSince !== undefined && now - feed.idleSince > LINGER_MS;
      if (isIdle && !opening.has(feed.roomId)) forgetInBackground(feed);
    }
    const active = [...feeds.values()].filter((feed) => !opening.has(feed.roomId));
    if (active.length === 0) return;
    const heads = await log.heads(active.map((feed) => feed.roomId));
    for (const feed of active) {
      const head = heads.get(feed.roomId);
      if (head !== undefined) feed.headIs(head);
      else if (feeds.get(feed.roomId) === feed) drop(feed);
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
      feeds.get(roomId)?.take(entries);
      publish(roomId, { entries: [...entries] });
    },

    announceDeletion(roomId) {
      const feed = feeds.get(roomId);
      if (feed !== undefined) drop(feed);
      publish(roomId, { deleted: true });
    },

    async close() {
      clearInterval(timer);
      await polling;
      feeds.clear();
      await broker.close();
    },
  };
}

function channelOf(roomId: number): string {
  return `room:${roomId}`;
}

/** Undefined where the message is none of ours, or of a node that speaks otherwise: the poll makes up for it. */
function parseNews(message: string): News | undefined {
  try {
    return newsSchema.safeParse(JSON.parse(message.slice(message.indexOf(' ') + 1))).data;
  } catch {
    return undefined;
  }
}
