import { Redis } from 'ioredis';
import type { Sentinels } from '../config/service-urls.js';
import type { Logger } from '../logger.js';
import type { Broker, OnMessage } from './broker.js';
import { addressOf } from './redis-address.js';

/**
 * Reconnect attempts begin fast and stay frequent: a node without Redis polls the database meanwhile. The times here
 * are trade-offs: Redis usually answers within a millisecond.
 */
const RETRY_STEP_MS = 50;
const RETRY_MAX_MS = 1_000;
/** Redis hangs if it has not answered a command after this time. */
const COMMAND_TIMEOUT_MS = 1_000;
/**
 * A connection to a host that answers nothing is given up after this time, not after the minutes of TCP. The time is
 * enough for one lost SYN, which is sent again after 1 s (RFC 6298).
 */
const CONNECT_TIMEOUT_MS = 3_000;
/** Bytes that may wait to be sent: some 10,000 messages of 400 bytes. Others are dropped; peers read Postgres. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
/** The interval at which each connection is checked by a PING. */
const PING_INTERVAL_MS = 1_000;
/**
 * Channels of one SUBSCRIBE, and commands in flight: few enough that Redis answers each command within
 * COMMAND_TIMEOUT_MS.
 */
const CHANNELS_AT_ONCE = 1_000;
const COMMANDS_AT_ONCE = 4;

/**
 * The broker over Redis pub/sub, on two connections, so that received messages do not wait behind published ones.
 * @param options.prefix keeps chats that share one Redis apart: pub/sub ignores the number of the database
 */
export function createRedisBroker(options: {
  url: string;
  /** Those that know the Redis that `url` names. */
  sentinels?: Sentinels | undefined;
  prefix: string;
  logger: Logger;
  onMessage: OnMessage;
}): Broker {
  const { logger, onMessage } = options;
  const prefix = `${options.prefix}:`;
  const settings = {
    ...addressOf(options.url, options.sentinels),
    retryStrategy: (attempt: number) => Math.min(attempt * RETRY_STEP_MS, RETRY_MAX_MS),
    // A command that can't be sent now is dropped or made up for, never queued and never sent again.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: null,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // INFO may be forbidden, and does not show whether pub/sub works. But a Sentinel may name a server that is the master no
    // more, which publishes to its own subscribers alone.
    enableReadyCheck: options.sentinels !== undefined,
    // The set below is the truth about subscriptions, and is restored before onReconnect is called.
    autoResubscribe: false,
  };
  const publisher = new Redis(settings);
  const subscriber = new Redis(settings);
  const channels = new Set<string>();
  /** Channels to subscribe to (true) or to unsubscribe from (false), collected in this turn of the event loop. */
  let changes = new Map<string, boolean>();
  let sendingChanges: Promise<void> | undefined;
  const onReconnect = new Set<() => void>();
  const onLoss = new Set<() => void>();
  let problem: unknown;
  /** Whether PING was answered as Redis does: ioredis ends the process if SUBSCRIBE is not. */
  let isRedis = false;
  let restored = false;
  let restoring: NodeJS.Timeout | undefined;

  for (const connection of [publisher, subscriber]) {
    connection.on('error', (error: unknown) => {
      problem = error;
    });
    connection.on('close', () => {
      reportLoss();
    });
  }
  publisher.on('ready', reportIfUp);
  subscriber.on('message', (channel: string, message: string) => {
    try {
      onMessage(channel.slice(prefix.length), message);
    } catch (error) {
      // An error that a listener throws would end the process.
      logger.error({ err: error, channel }, 'broker message handler failed');
    }
  });
  subscriber.on('close', () => {
    isRedis = false;
    restored = false;
    clearTimeout(restoring);
  });
  subscriber.on('ready', () => {
    const { stream } = subscriber;
    requireRedis(subscriber).then(
      () => {
        if (subscriber.stream !== stream || subscriber.status !== 'ready') return;
        isRedis = true;
        restoreSubscriptions();
      },
      (error: unknown) => {
        if (subscriber.stream !== stream || subscriber.status !== 'ready') return;
        reportLoss(error);
        // A new connection would be answered as well.
        restoring = setTimeout(() => stream.destroy(), RETRY_MAX_MS);
      },
    );
  });

  const pings = setInterval(() => {
    for (const connection of [publisher, subscriber]) {
      if (connection.status !== 'ready') continue;
      connection.ping().catch((error: unknown) => {
        // Redis refuses a PING, and so answers.
        if (isRefusal(error)) return;
        problem = error;
        // A connection that hangs counts as down, and ioredis opens a new one. Not by `disconnect`, which waits two
        // seconds for the other side to close the connection as well.
        if (connection.status === 'ready') connection.stream.destroy();
      });
    }
  }, PING_INTERVAL_MS);

  function reportLoss(error?: unknown): void {
    if (error !== undefined) problem = error;
    for (const listener of onLoss) listener();
  }

  function isUp(): boolean {
    return restored && publisher.status === 'ready';
  }

  /** Called when either connection is ready. */
  function reportIfUp(): void {
    if (!isUp()) return;
    for (const listener of onReconnect) listener();
  }

  function restoreSubscriptions(): void {
    const { stream } = subscriber;
    restored = false;
    subscribeAll(channels).then(
      () => {
        if (subscriber.stream !== stream || subscriber.status !== 'ready') return;
        restored = true;
        reportIfUp();
      },
      (error: unknown) => {
        if (subscriber.stream !== stream || subscriber.status !== 'ready') return;
        reportLoss(error);
        // A new connection would be refused as well.
        clearTimeout(restoring);
        restoring = setTimeout(restoreSubscriptions, RETRY_MAX_MS);
      },
    );
  }

  /** Subscribes to the channels that are still wanted; resolves when their messages arrive. */
  function subscribeAll(names: Iterable<string>): Promise<void> {
    const stillWanted = (name: string): boolean => channels.has(name);
    return inChunks(names, stillWanted, (chunk) => subscriber.subscribe(...chunk));
  }

  function unsubscribeAll(names: Iterable<string>): Promise<void> {
    const stillUnwanted = (name: string): boolean => !channels.has(name);
    return inChunks(names, stillUnwanted, (chunk) => subscriber.unsubscribe(...chunk));
  }

  async function inChunks(
    names: Iterable<string>,
    filter: (name: string) => boolean,
    send: (chunk: readonly string[]) => Promise<unknown>,
  ): Promise<void> {
    let chunk: string[] = [];
    let sent: Promise<unknown>[] = [];
    for (const name of names) {
      if (filter(name)) chunk.push(prefix + name);
      if (chunk.length < CHANNELS_AT_ONCE) continue;
      sent.push(send(chunk));
      chunk = [];
      if (sent.length < COMMANDS_AT_ONCE) continue;
      await Promise.all(sent);
      sent = [];
    }
    if (chunk.length > 0) sent.push(send(chunk));
    await Promise.all(sent);
  }

  /** Sends the changes of one turn in few commands: ten thousand clients may come back at once. */
  function change(channel: string, isWanted: boolean): Promise<void> {
    if (isWanted) channels.add(channel);
    else channels.delete(channel);
    if (!isRedis) return Promise.resolve();
    changes.set(channel, isWanted);
    sendingChanges ??= new Promise((resolve) => {
      setImmediate(() => {
        resolve(sendChanges());
      });
    });
    return sendingChanges;
  }

  async function sendChanges(): Promise<void> {
    const [wanted, unwanted]: [string[], string[]] = [[], []];
    for (const [channel, isWanted] of changes) (isWanted ? wanted : unwanted).push(channel);
    changes = new Map();
    sendingChanges = undefined;
    const { status, stream } = subscriber;
    if (status !== 'ready') return;
    // If this fails, the node receives messages that it ignores.
    const unsubscribed = unsubscribeAll(unwanted).catch((error: unknown) => {
      logger.debug({ err: error }, 'redis unsubscribe failed');
    });
    try {
      await subscribeAll(wanted);
    } catch (error) {
      // If the connection is another one by now, it subscribes to all channels anyway.
      if (subscriber.stream === stream && subscriber.status === 'ready') {
        reportLoss(error);
        restoreSubscriptions();
      }
    }
    await unsubscribed;
  }

  return {
    get isUp() {
      return isUp();
    },
    get problem() {
      return problem;
    },
    publish(channel, message) {
      const { status, stream } = publisher;
      // `onLoss` was called when the connection closed.
      if (status !== 'ready') return;
      // Redis hangs: the bytes that wait for it must not grow with every message.
      if (stream.writableLength > MAX_UNSENT_BYTES) {
        reportLoss();
        return;
      }
      // Messages that are published together, as those of a batch, leave in one write.
      if (stream.writableCorked === 0) {
        stream.cork();
        process.nextTick(() => {
          stream.uncork();
        });
      }
      publisher.publish(prefix + channel, message).catch((error: unknown) => {
        if (publisher.stream === stream) reportLoss(error);
      });
    },
    subscribe: (channel) => change(channel, true),
    unsubscribe: (channel) => change(channel, false),
    onReconnect(listener) {
      onReconnect.add(listener);
    },
    onLoss(listener) {
      onLoss.add(listener);
    },
    close() {
      clearInterval(pings);
      clearTimeout(restoring);
      onLoss.clear();
      onReconnect.clear();
      for (const connection of [publisher, subscriber]) connection.disconnect();
      return Promise.resolve();
    },
  };
}

/** @throws if what answers is no Redis; one that refuses PING is one */
async function requireRedis(connection: Redis): Promise<void> {
  const answer: unknown = await connection.ping().catch((error: unknown) => {
    if (isRefusal(error)) return 'PONG';
    throw error;
  });
  if (answer !== 'PONG') throw new Error('what answers at this address is no Redis');
}

/** Whether an error is an answer of Redis. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
