import type { Middleware } from 'koa';
import { bearerToken, type Identity, type VerifyToken } from '../access/token.js';
import { ChatError } from '../errors.js';

/** What `authenticate` leaves for the routes behind it. */
export interface AuthenticatedState {
  caller: Identity;
}

/** Lets through who brings a valid token: `Authorization: Bearer <jwt>`. */
export function authenticate(verify: VerifyToken): Middleware<AuthenticatedState> {
  return (ctx, next) => {
    const token = bearerToken(ctx.get('Authorization'));
    if (token === undefined) {
      throw new ChatError('UNAUTHORIZED', { detail: 'this needs Authorization: Bearer <jwt>' });
    }
    ctx.state.caller = verify(token);
    return next();
  };
}
