import type { Middleware } from 'koa';
import { bearerToken, type Identity } from '../access/token.js';
import { ChatError } from '../errors.js';
import type { FailedTokens } from '../limits/failed-tokens.js';
import type { LoggedState } from './error-handler.js';

/** What `authenticate` adds to `ctx.state`. */
export interface AuthenticatedState {
  caller: Identity;
}

/** Requires a valid token (`Authorization: Bearer <jwt>`) and sets `ctx.state.caller`. */
export function authenticate(
  tokens: Pick<FailedTokens, 'verify'>,
): Middleware<AuthenticatedState & LoggedState> {
  return async (ctx, next) => {
    const token = bearerToken(ctx.get('Authorization'));
    if (token === undefined) {
      throw new ChatError('UNAUTHORIZED', { detail: 'this needs Authorization: Bearer <jwt>' });
    }
    ctx.state.caller = await tokens.verify(token, ctx.state.address);
    return next();
  };
}
