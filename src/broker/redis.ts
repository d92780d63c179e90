import { Redis } from 'ioredis';
import type { Logger } from '../logger.js';
import type { Broker, OnMessage } from './broker.js';

/** Reconnect attempts begin fast and stay frequent: a node without Redis polls the database meanwhile. */
const RETRY_STEP_MS = 50;
const RETRY_MAX_MS = 1_000;
/** A command unanswered for so long means that Redis hangs. */
const COMMAND_TIMEOUT_MS = 1_000;
/** What may wait to be sent; more is dropped. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
/** How often each connection is asked whether it still answers. */
const PING_INTERVAL_MS = 1_000;

/**
 * The broker over Redis pub/sub, on two connections however many sockets the node has: a subscribed
 * connection may publish nothing.
 * @param options.prefix keeps chats that share one Redis apart: pub/sub knows no database numbers
 */
export function createRedisBroker(options: {
  url: string;
  prefix: string;
  logger: Logger;
  onMessage: OnMessage;
}): Broker {
  const { url, logger, onMessage } = options;
  const prefix = `${options.prefix}:`;
  const settings = {
    retryStrategy: (attempt: number) => Math.min(attempt * RETRY_STEP_MS, RETRY_MAX_MS),
    // What can't be sent now is dropped or made up for, never queued.
    enableOfflineQueue: false,
    maxRetriesPerRequest: null,
    commandTimeout: COMMAND_TIMEOUT_MS,
  };
  const publisher = new Redis(url, settings);
  // The set below is the truth about subscriptions, and is restored before onReconnect is called.
  const subscriber = new Redis(url, { ...settings, autoResubscribe: false });
  const channels = new Set<string>();
  const reconnected = new Set<() => void>();
  let restored = false;

  for (const [name, connection] of Object.entries({ publisher, subscriber })) {
    connection.on('error', (error) => {
      logger.warn({ err: error, connection: name }, 'broker');
    });
  }
  publisher.on('ready', tellIfUp);
  subscriber.on('message', (channel: string, message: string) => {
    onMessage(channel.slice(prefix.length), message);
  });
  subscriber.on('close', () => {
    restored = false;
  });
  subscriber.on('ready', () => {
    restore().catch((error: unknown) => {
      logger.warn({ err: error }, 'subscriptions could not be restored');
      // A fresh connection tries again.
      subscriber.disconnect(true);
    });
  });

  const pings = setInterval(() => {
    for (const connection of [publisher, subscriber]) {
      if (connection.status !== 'ready') continue;
      connection.ping().catch((error: unknown) => {
        logger.warn({ err: error }, 'the broker does not answer');
        // A connection that hangs is down: `isUp` says so, and a new one tries again. Not by `disconnect`, which waits
        // two seconds for the other side to close it as well.
        if (connection.status === 'ready') connection.stream.destroy();
      });
    }
  }, PING_INTERVAL_MS);

  async function restore(): Promise<void> {
    if (channels.size > 0)
      await subscriber.subscribe(...[...channels].map((name) => prefix + name));
    restored = true;
    tellIfUp();
  }

  function isUp(): boolean {
    return restored && publisher.status === 'ready';
  }

  /** Whichever of the two connections came last. */
  function tellIfUp(): void {
    if (!isUp()) return;
    for (const listener of reconnected) listener();
  }

  return {
    get isUp() {
      return isUp();
    },
    publish(channel, message) {
      const { status, stream } = publisher;
      // A Redis that hangs takes nothing more: what waits for it must not grow with every message.
      if (status !== 'ready' || stream.writableLength > MAX_UNSENT_BYTES) return;
      // What is published together, that of a batch, leaves as one write.
      if (stream.writableCorked === 0) {
        stream.cork();
        process.nextTick(() => {
          stream.uncork();
        });
      }
      publisher.publish(prefix + channel, message).catch((error: unknown) => {
        logger.debug({ err: error, channel }, 'not published');
      });
    },
    async subscribe(channel) {
      channels.add(channel);
      if (subscriber.status !== 'ready') return;
      try {
        await subscriber.subscribe(prefix + channel);
      } catch (error) {
        // The reconnect that follows subscribes to all there are.
        logger.warn({ err: error, channel }, 'not subscribed');
        subscriber.disconnect(true);
      }
    },
    async unsubscribe(channel) {
      channels.delete(channel);
      if (subscriber.status !== 'ready') return;
      try {
        await subscriber.unsubscribe(prefix + channel);
      } catch (error) {
        logger.debug({ err: error, channel }, 'not unsubscribed');
      }
    },
    onReconnect(listener) {
      reconnected.add(listener);
    },
    async ping() {
      // The subscriber is asked every second anyway: `restored` says what it answered.
      await publisher.ping();
      if (!restored) throw new Error('the subscribing connection is down');
    },
    close() {
      clearInterval(pings);
      for (const connection of [publisher, subscriber]) connection.disconnect();
      return Promise.resolve();
    },
  };
}
