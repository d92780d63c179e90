import type { Middleware } from 'koa';
import { ChatError } from '../errors.js';
import type { Rate } from '../limits/rates.js';
import type { AuthenticatedState } from './authenticate.js';

/** The headers that tell a caller of their rate, for pages to read. */
export const RATE_HEADERS = ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset'] as const;

/**
 * Counts the requests of a caller, and tells them how many are left.
 * @param most requests in a window of `rate`
 */
export function limitRequests(rate: Rate, most: number): Middleware<AuthenticatedState> {
  return async (ctx, next) => {
    // The application acts for all of its users.
    if (ctx.state.caller.isServer) return next();
    const { isExceeded, remaining, resetMs } = await rate(ctx.state.caller.userUUID);
    const [limit, left, reset] = RATE_HEADERS;
    ctx.set(limit, String(most));
    ctx.set(left, String(remaining));
    ctx.set(reset, String(Math.ceil(resetMs / 1_000)));
    if (isExceeded) {
      const detail = 'too many requests of this user';
      throw new ChatError('RATELIMITED', { detail, retryAfterMs: Math.ceil(resetMs) });
    }
    return next();
  };
}
