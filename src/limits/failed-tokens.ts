import type { VerifyToken } from '../access/token.js';
import { ChatError, toChatError } from '../errors.js';
import { networkOf } from './client-address.js';
import type { Rate } from './rates.js';

/** Addresses that are not refused any more are forgotten this often, in milliseconds. */
const SWEEP_INTERVAL_MS = 60_000;

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

/** @param rate of failed tokens by address; undefined: any number may fail */
export function createFailedTokens({
  verify,
  rate,
}: {
  readonly verify: VerifyToken;
  readonly rate: Rate | undefined;
}): FailedTokens {
  if (rate === undefined) return { check: () => undefined, verify: (token) => verify(token) };
  /** By network, until when its tokens are refused, by `performance.now()`. */
  const refusedUntil = new Map<string, number>();
  let sweepAt = 0;

  async function count(countOne: Rate, network: string): Promise<void> {
    const { remaining, resetMs } = await countOne(network);
    if (remaining > 0) return;
    const now = performance.now();
    refusedUntil.set(network, now + resetMs);
    if (now < sweepAt) return;
    sweepAt = now + SWEEP_INTERVAL_MS;
    for (const [each, until] of refusedUntil) if (until <= now) refusedUntil.delete(each);
  }

  function check(address: string): void {
    if (refusedUntil.size === 0) return;
    const leftMs = (refusedUntil.get(networkOf(address)) ?? 0) - performance.now();
    if (leftMs <= 0) return;
    const detail = 'too many tokens from this address were refused';
    throw new ChatError('RATELIMITED', { detail, retryAfterMs: Math.ceil(leftMs) });
  }

  return {
    check,
    verify(token, address) {
      check(address);
      const failed = (error: unknown): never => {
        if (toChatError(error).code === 'UNAUTHORIZED') void count(rate, networkOf(address));
        throw error;
      };
      try {
        const verified = verify(token);
        // Only a token whose key has to be fetched takes time.
        return verified instanceof Promise ? verified.catch(failed) : verified;
      } catch (error) {
        return failed(error);
      }
    },
  };
}
