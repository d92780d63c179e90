import { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { addressOf } from '../broker/redis-address.js';
import type { Sentinels } from '../config/service-urls.js';
import type { Logger } from '../logger.js';

/** Redis usually answers within a millisecond; a request does not wait longer for it. */
const COMMAND_TIMEOUT_MS = 200;
/** After a failure, this node counts by itself for so long: a Redis that hangs delays few requests. */
const DOWN_MS = 1_000;
const RETRY_MS = 1_000;
const CONNECT_TIMEOUT_MS = 3_000;

/** What is left of a rate when something was counted. */
export interface Left {
  readonly isExceeded: boolean;
  /** How many more are allowed. */
  readonly remaining: number;
  /** Milliseconds until as many as at first are allowed again. */
  readonly resetMs: number;
}

/** Ends a connection, unless its answer was only not read yet, as this process was held up: timers run before reads. */
function endIfSilent(stream: Redis['stream']): void {
  const { bytesRead } = stream;
  setImmediate(() => {
    if (stream.bytesRead === bytesRead) stream.destroy();
  });
}

/** Counts one for a key; never rejects. */
export type Rate = (key: string) => Promise<Left>;

/** The rates of an installation: its nodes count together, by Redis, as long as that answers. */
export interface Rates {
  /** At most `most` of a key in a window of whole `seconds`, which begins with the first of them. */
  create(name: string, most: number, seconds: number): Rate;
  close(): void;
}

/** @param redis undefined: this node counts by itself */
export function createRates({
  redis,
  logger,
}: {
  readonly redis:
    | {
        readonly url: string;
        readonly sentinels: Sentinels | undefined;
        readonly prefix: string;
        /** Keeps installations that share a Redis apart, as in the names of channels. */
        readonly epoch: { readonly uuid: string };
      }
    | undefined;
  readonly logger: Logger;
}): Rates {
  const connection =
    redis &&
    new Redis({
      ...addressOf(redis.url, redis.sentinels),
      retryStrategy: () => RETRY_MS,
      enableOfflineQueue: false,
      // As of the broker: a replica takes no writes.
      enableReadyCheck: redis.sentinels !== undefined,
      maxRetriesPerRequest: 0,
      commandTimeout: COMMAND_TIMEOUT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
    });
  // The broker, which is connected to the same Redis, logs an outage.
  connection?.on('error', () => undefined);
  let downUntil = 0;
  let wasRefused = false;

  /** Not `insuranceLimiter`, by which each request would wait for a Redis that hangs. */
  function failed(error: unknown): void {
    downUntil = performance.now() + DOWN_MS;
    if (!(error instanceof Error) || error.name !== 'ReplyError') {
      // Its link may be half open, which TCP notices after a quarter of an hour; ioredis opens a new one.
      if (connection?.status === 'ready') endIfSilent(connection.stream);
    } else if (!wasRefused) {
      wasRefused = true;
      logger.warn({ err: error }, 'redis refuses to count requests: each node counts by itself');
    }
  }

  return {
    create(name, most, seconds) {
      const options = { points: most, duration: seconds };
      const own = new RateLimiterMemory(options);
      const common =
        redis &&
        connection &&
        new RateLimiterRedis({
          ...options,
          keyPrefix: redis.prefix,
          storeClient: connection,
          rejectIfRedisNotReady: true,
        });
      return async (key) => {
        if (common !== undefined && performance.now() >= downUntil) {
          try {
            return await count(common, `${redis?.epoch.uuid}:${name}:${key}`, seconds);
          } catch (error) {
            failed(error);
          }
        }
        return count(own, key, seconds);
      };
    },

    close() {
      connection?.disconnect();
    },
  };
}

async function count(
  limiter: RateLimiterMemory | RateLimiterRedis,
  key: string,
  seconds: number,
): Promise<Left> {
  try {
    return leftOf(await limiter.consume(key), seconds, false);
  } catch (error) {
    if (error instanceof RateLimiterRes) return leftOf(error, seconds, true);
    throw error;
  }
}

function leftOf(
  { remainingPoints: remaining, msBeforeNext }: RateLimiterRes,
  seconds: number,
  isExceeded: boolean,
): Left {
  // The end of the window is a date, which is further away once the clock was set back.
  const resetMs = Math.min(Math.max(1, msBeforeNext), 1_000 * seconds);
  return { isExceeded, remaining, resetMs };
}
