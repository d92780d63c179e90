import type { Middleware } from 'koa';
import { ChatError } from '../errors.js';
import type { Rate } from '../limits/rates.js';
import type { AuthenticatedState } from './authenticate.js';
import { rateHeaders } from './rate-headers.js';

/** How many requests a user may send. */
export interface RequestRate {
  /** In a window of `count`. */
  readonly most: number;
  readonly count: Rate;
}

/** Counts the requests of a caller, and tells them how many are left. */
export function limitRequests({ most, count }: RequestRate): Middleware<AuthenticatedState> {
  return async (ctx, next) => {
    // The application acts for all of its users.
    if (ctx.state.caller.isServer) return next();
    const { isExceeded, remaining, resetMs } = await count(ctx.state.caller.userUUID);
    const rate = { limit: most, resetMs };
    if (isExceeded) {
      const detail = 'too many requests of this user';
      throw new ChatError('RATELIMITED', { detail, retryAfterMs: Math.ceil(resetMs), rate });
    }
    ctx.set(rateHeaders(rate, remaining));
    return next();
  };
}
