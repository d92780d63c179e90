import type { Middleware } from 'koa';
import { ChatError, toChatError, type ErrorCode } from '../errors.js';
import type { Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import { errorEnvelope } from './envelope.js';
import { limitHeaders } from './rate-headers.js';

/** An answer repeats this much of a path, as much as the log does. */
const MAX_PATH_CHARACTERS = 200;

/** What the log's middleware leaves for those behind it. */
export interface LoggedState {
  /** Counts the requests of this node; log lines have it. */
  request: number;
  /** Of the client. */
  address: string;
}

/** Errors of koa and koa-bodyparser carry an HTTP status. A client can cause these. */
const CODE_BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'INVALID',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_ALLOWED',
  413: 'TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  // The router answers it to a method that no route has.
  501: 'METHOD_NOT_ALLOWED',
};

/**
 * The one error path: every error that is thrown further in is answered in the envelope. An error that isn't meant for
 * the client is logged, and answered as INTERNAL.
 */
export function createErrorHandler(logger: Logger, observer?: Observer): Middleware<LoggedState> {
  return async (ctx, next) => {
    let error: ChatError;
    try {
      await next();
      const code = ctx.body == null ? CODE_BY_STATUS[ctx.status] : undefined;
      if (code === undefined) return;
      const path = ctx.path.slice(0, MAX_PATH_CHARACTERS);
      error = new ChatError(code, { detail: `${ctx.method} ${path} is not served` });
    } catch (thrown) {
      error = translate(thrown);
      // The store has logged the cause of an UNAVAILABLE.
      if (error.code === 'INTERNAL') {
        logger.error(
          {
            err: error.cause ?? error,
            request: ctx.state.request,
            method: ctx.method,
            path: ctx.path,
          },
          'request failed',
        );
      }
    }
    // Not if the client has left, or its connection was refused further out, which failed the reading of the body.
    if (!ctx.res.destroyed) observer?.refused('rest', error.code);
    // Otherwise Node would parse the rest of the body as the connection's next request.
    if (error.code === 'TOO_LARGE') ctx.req.unpipe().resume();
    ctx.status = error.status;
    // Headers that HTTP asks for beside these statuses (RFC 9110 sections 11.6.1 and 15.5.22).
    if (error.code === 'UNAUTHORIZED') ctx.set('WWW-Authenticate', 'Bearer');
    ctx.set(limitHeaders(error));
    if (error.code === 'UPGRADE_REQUIRED') ctx.set('Upgrade', 'websocket');
    ctx.body = errorEnvelope(error);
  };
}

function translate(thrown: unknown): ChatError {
  if (thrown instanceof ChatError) return thrown;
  const { status } = thrown as { status?: unknown };
  const code = typeof status === 'number' ? CODE_BY_STATUS[status] : undefined;
  if (code === undefined) return toChatError(thrown);
  return new ChatError(code, { cause: thrown });
}
