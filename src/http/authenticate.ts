import type { Middleware } from 'koa';
import { bearerToken, type Identity, type VerifyToken } from '../access/token.js';
import { ChatError } from '../errors.js';

/** What `authenticate` adds to `ctx.state`. */
export interface AuthenticatedState {
  caller: Identity;
}

/** @throws {ChatError} FORBIDDEN if the caller's token is not one of the application's server */
export function requireServer(caller: Identity): void {
  if (!caller.isServer) {
    throw new ChatError('FORBIDDEN', { detail: 'this needs a server token' });
  }
}

/** Requires a valid token (`Authorization: Bearer <jwt>`) and sets `ctx.state.caller`. */
export function authenticate(verify: VerifyToken): Middleware<AuthenticatedState> {
  return async (ctx, next) => {
    const token = bearerToken(ctx.get('Authorization'));
    if (token === undefined) {
      throw new ChatError('UNAUTHORIZED', { detail: 'this needs Authorization: Bearer <jwt>' });
    }
    ctx.state.caller = await verify(token);
    return next();
  };
}
