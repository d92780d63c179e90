import type { VerifyToken } from '../access/token.js';
import { ChatError, toChatError } from '../errors.js';
import { networkOf } from './client-address.js';
import type { Rate } from './rates.js';

/** What is counted of one network. */
interface Failures {
  count: number;
  /** When it is forgotten, by `performance.now()`. */
  until: number;
}

/** The addresses from which too many tokens failed. */
export interface FailedTokens {
  /** @throws {ChatError} RATELIMITED if no token of an address is taken now */
  check(address: string): void;
  /**
   * Verifies a token, and counts it if it fails.
   * @throws {ChatError} UNAUTHORIZED; RATELIMITED, without a look at the token
   */
  verify(token: string, address: string): ReturnType<VerifyToken>;
}

/** How many tokens of an address may fail. */
export interface FailedTokensLimit {
  readonly most: number;
  /** The window, in milliseconds, which begins with the first of them. */
  readonly windowMs: number;
  /** Counts those of all nodes, in the same window. */
  readonly rate: Rate;
}

/** @param limit undefined: any number may fail */
export function createFailedTokens({
  verify,
  limit,
}: {
  readonly verify: VerifyToken;
  readonly limit: FailedTokensLimit | undefined;
}): FailedTokens {
  if (limit === undefined) return { check: () => undefined, verify: (token) => verify(token) };
  const { most, windowMs, rate } = limit;
  /** By network. This node's own count, at once: many tokens may come before Redis has answered about the first. */
  const failures = new Map<string, Failures>();
  let sweepAt = 0;

  function failuresOf(network: string): Failures {
    const now = performance.now();
    if (now >= sweepAt) {
      sweepAt = now + windowMs;
      for (const [each, { until }] of failures) if (until <= now) failures.delete(each);
    }
    const known = failures.get(network);
    if (known !== undefined && known.until > now) return known;
    const begun: Failures = { count: 0, until: now + windowMs };
    failures.set(network, begun);
    return begun;
  }

  async function count(network: string): Promise<void> {
    failuresOf(network).count += 1;
    const { remaining, resetMs } = await rate(network);
    if (remaining > 0) return;
    const refused = failuresOf(network);
    refused.count = most;
    refused.until = performance.now() + resetMs;
  }

  function check(address: string): void {
    if (failures.size === 0) return;
    const found = failures.get(networkOf(address));
    const leftMs = (found?.until ?? 0) - performance.now();
    if (found === undefined || found.count < most || leftMs <= 0) return;
    throw new ChatError('RATELIMITED', {
      detail: 'too many tokens from this address were refused',
      retryAfterMs: Math.ceil(leftMs),
      rate: { limit: most, resetMs: leftMs },
    });
  }

  return {
    check,
    verify(token, address) {
      check(address);
      const failed = (error: unknown): never => {
        if (toChatError(error).code === 'UNAUTHORIZED') void count(networkOf(address));
        throw error;
      };
      try {
        const verified = verify(token);
        if (!(verified instanceof Promise)) return verified;
        // Only a token whose key has to be fetched takes time. Others from there may have failed meanwhile.
        return verified.then(
          (identity) => {
            check(address);
            return identity;
          },
          (error: unknown) => {
            check(address);
            return failed(error);
          },
        );
      } catch (error) {
        return failed(error);
      }
    },
  };
}
