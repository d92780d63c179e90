import bodyParser from 'koa-bodyparser';
import type { Middleware } from 'koa';
import { ChatError } from '../errors.js';

/**
 * Reads a JSON body into `ctx.request.body`. One of another type is refused rather than ignored; that of a
 * DELETE is nobody's concern.
 * @throws {ChatError} UNSUPPORTED_MEDIA_TYPE, INVALID; and the errors of koa-bodyparser, with their status
 */
export function jsonBody(maxBytes: number): Middleware {
  const options = {
    enableTypes: ['json'],
    jsonLimit: String(maxBytes),
    // Kept as a key like any other, which the schema then refuses by its name.
    onProtoPoisoning: 'ignore',
    onerror(error: Error) {
      if ('status' in error) throw error;
      throw new ChatError('INVALID', {
        detail: 'the body is not what it claims to be',
        cause: error,
      });
    },
  };
  const parse = bodyParser(options);
  return (ctx, next) => {
    if (ctx.method === 'DELETE') return next();
    const { length } = ctx.request;
    const hasBody = length === undefined ? ctx.is() !== null : length > 0;
    if (hasBody && ctx.is('json') === false) {
      throw new ChatError('UNSUPPORTED_MEDIA_TYPE', { detail: 'send application/json' });
    }
    return parse(ctx, next);
  };
}
