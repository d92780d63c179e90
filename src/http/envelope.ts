import { STATUS_CODES } from 'node:http';
import type { Context, Middleware } from 'koa';
import type { ChatError } from '../errors.js';
import type { LogPlace } from '../store/lock-room.js';
import { streamLines, streamPages, type Pages } from './pages.js';

/** What stands beside an answer's content. */
interface Meta {
  readonly code: number;
  readonly message: string;
  /** The error's constant word. */
  readonly reason?: string;
  readonly [key: string]: unknown;
}

/**
 * What a route answers with: content at once, or in pages that are sent as they are read, in the envelope or as lines of
 * JSON without it.
 */
export type Reply = (
  { readonly content: unknown } | { readonly pages: Pages } | { readonly lines: Pages }
) & {
  /** 200 if it is left out. */
  readonly status?: number;
  /** The end of the room's log when the content was read. */
  readonly snapshot?: LogPlace;
  /** The number behind which the content begins, if it is another one than was asked for. */
  readonly from?: number | undefined;
  /** The query of the next page, with its `?`: relative to the request, which a proxy may have under another path. */
  readonly next?: string | undefined;
};

/** The body of an error; its content is an empty object. */
export function errorEnvelope(error: ChatError): { meta: Meta; content: object } {
  return {
    meta: {
      ...metaOf(error.status),
      reason: error.code,
      ...(error.detail !== undefined && { detail: error.detail }),
      ...(error.errors !== undefined && { errors: error.errors }),
      ...(error.seq !== undefined && { seq: error.seq }),
      // oxlint-disable-next-line id-match -- the name of a key on the wire
      ...(error.retryAfterMs !== undefined && { retry_after_ms: error.retryAfterMs }),
    },
    content: {},
  };
}

function metaOf(status: number): Meta {
  return { code: status, message: STATUS_CODES[status] ?? '' };
}

/** The media type of lines of JSON. */
export const LINES_TYPE = 'application/x-ndjson';

/** Answers with a reply. */
export async function respond(ctx: Context, reply: Reply): Promise<void> {
  const { status = 200, snapshot, from, next } = reply;
  const meta = {
    ...metaOf(status),
    ...snapshot,
    ...(from !== undefined && { from }),
    ...(next !== undefined && { next }),
  };
  if ('lines' in reply) {
    const body = await streamLines(reply.lines);
    ctx.status = status;
    ctx.type = LINES_TYPE;
    ctx.body = body;
    return;
  }
  if (next !== undefined) ctx.set('Link', `<${next}>; rel="next"`);
  const body =
    'pages' in reply ? await streamPages(meta, reply.pages) : { meta, content: reply.content };
  ctx.status = status;
  if ('pages' in reply) ctx.type = 'json';
  ctx.body = body;
}

/** Forbids caching: an answer depends on the token and on the moment. */
export const noStore: Middleware = (ctx, next) => {
  ctx.set('Cache-Control', 'no-store');
  return next();
};
