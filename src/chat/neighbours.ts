import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Broker, CreateBroker } from '../broker/broker.js';
import type { Logger } from '../logger.js';
import type { Entry } from '../store/entries.js';
import { ENTRY_KINDS } from '../store/models/message.js';

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
  /** It looks at the room, and has it up to this number. */
  here: z.number().int().optional(),
  /** It wants to know who else is there. */
  asks: z.literal(true).optional(),
  /** It looks no longer. */
  gone: z.literal(true).optional(),
});

type News = z.infer<typeof newsSchema>;

/** What a node does about the news of its rooms. */
export interface NewsHandlers {
  entries(roomId: number, entries: readonly Entry[]): void;
  deleted(roomId: number): void;
  /** Another node has the room up to this number. */
  number(roomId: number, number: number): void;
  /** The number up to which this node has a room; undefined where it does not look at it. */
  numberOf(roomId: number): number | undefined;
}

/**
 * The other nodes, room by room. A message is published only where another node looks at its room: nodes greet
 * each other as they begin to look, when the broker is back, where one finds that it was not told, and by `renew`. A
 * greeting that is lost makes messages late, by the hub's poll, and never lost.
 */
export interface Neighbours {
  readonly broker: Broker;
  /** Resolves when this node hears of the room from now on. */
  join(roomId: number): Promise<void>;
  leave(roomId: number): Promise<void>;
  /** Says that this node looks at the room, and asks who else does. */
  greet(roomId: number): void;
  /** Says only that this node looks at the room. */
  remind(roomId: number): void;
  /** Tells of messages, where anybody else looks at the room. */
  tell(roomId: number, entries: readonly Entry[]): void;
  /** Tells of what must not be late, whoever is known to look. */
  tellAll(roomId: number, news: { entries: readonly Entry[] } | { deleted: true }): void;
  /** Asks all rooms again who else is there, and forgets who has not answered since the last time. */
  renew(): void;
}

export function createNeighbours({
  createBroker,
  handlers,
  logger,
}: {
  createBroker: CreateBroker;
  handlers: NewsHandlers;
  logger: Logger;
}): Neighbours {
  const node = randomUUID();
  /** The rooms that this node looks at, with the other nodes that do, and whether they said so since `renew`. */
  const neighbours = new Map<number, Map<string, boolean>>();
  const broker = createBroker(receive);

  function publish(roomId: number, news: News): void {
    broker.publish(channelOf(roomId), `${node} ${JSON.stringify(news)}`);
  }

  function receive(channel: string, message: string): void {
    // What this node published it has already.
    if (message.startsWith(node)) return;
    const roomId = Number(CHANNEL.exec(channel)?.[1]);
    const others = neighbours.get(roomId);
    if (others === undefined) return;
    const news = parseNews(message);
    if (news === undefined) {
      logger.warn({ channel }, 'a message of the broker is not ours');
      return;
    }
    const sender = message.slice(0, message.indexOf(' '));
    if (news.gone) others.delete(sender);
    if (news.here !== undefined) {
      takeGreeting(roomId, news.here, { asks: news.asks ?? false, isNew: !others.has(sender) });
      others.set(sender, true);
    }
    if (news.entries !== undefined) handlers.entries(roomId, news.entries);
    if (news.deleted) handlers.deleted(roomId);
  }

  function takeGreeting(
    roomId: number,
    number: number,
    { asks, isNew }: { asks: boolean; isNew: boolean },
  ): void {
    const here = handlers.numberOf(roomId) ?? 0;
    // Who was not known here may have missed what was stored since it asked, as it was not told.
    if (asks || (isNew && number < here)) publish(roomId, { here });
    handlers.number(roomId, number);
  }

  function greet(roomId: number): void {
    publish(roomId, { here: handlers.numberOf(roomId) ?? 0, asks: true });
  }

  return {
    broker,

    greet(roomId) {
      if (neighbours.has(roomId)) greet(roomId);
    },

    async join(roomId) {
      neighbours.set(roomId, new Map());
      await broker.subscribe(channelOf(roomId));
      // It may have been left meanwhile.
      if (neighbours.has(roomId)) greet(roomId);
    },

    async leave(roomId) {
      neighbours.delete(roomId);
      publish(roomId, { gone: true });
      await broker.unsubscribe(channelOf(roomId));
    },

    remind(roomId) {
      publish(roomId, { here: handlers.numberOf(roomId) ?? 0 });
    },

    tell(roomId, entries) {
      // A room that is not looked at here any more may be looked at anywhere.
      if (neighbours.get(roomId)?.size !== 0) publish(roomId, { entries: [...entries] });
    },

    tellAll(roomId, news) {
      publish(roomId, 'entries' in news ? { entries: [...news.entries] } : news);
    },

    renew() {
      for (const [roomId, others] of neighbours) {
        if (others.size === 0) continue;
        for (const [other, isFresh] of others) {
          if (isFresh) others.set(other, false);
          else others.delete(other);
        }
        greet(roomId);
      }
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
