import { promisify } from 'node:util';
import { brotliDecompress, unzip } from 'node:zlib';
import bodyParser from 'koa-bodyparser';
import type { Context, Middleware } from 'koa';
import { ChatError } from '../errors.js';

type Decode = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const inflate: Decode = promisify(unzip);

/** The content codings that are supported (RFC 9110 section 8.4.1). */
const DECODERS = new Map<string, Decode>([
  ['identity', (bytes) => Promise.resolve(bytes)],
  ['gzip', inflate],
  ['x-gzip', inflate],
  ['deflate', inflate],
  ['br', promisify(brotliDecompress)],
]);

/** RFC 8259 section 8.1: JSON is UTF-8. ASCII is a part of it. */
const CHARSETS = new Set(['utf-8', 'utf8', 'us-ascii']);
const CHARSET = /;\s*charset\s*=\s*["']?([^\s;"']*)/gi;

/**
 * Reads a JSON body into `ctx.request.body`, `{}` if there is none. A body of another type or charset is refused, not
 * ignored.
 * @throws {ChatError} UNSUPPORTED_MEDIA_TYPE, TOO_LARGE, BAD_JSON, INVALID; and what koa-bodyparser throws, with a
 *   status
 */
export function jsonBody(maxBytes: number): Middleware {
  // koa-bodyparser only reads the bytes: it would replace bytes that are not UTF-8 by U+FFFD, and its inflating stream
  // has no listener for errors.
  const options = {
    enableTypes: ['text'],
    extendTypes: { text: ['application/json'] },
    encoding: '',
    textLimit: String(maxBytes),
    onerror(error: Error) {
      if ('status' in error) throw error;
      throw new ChatError('INVALID', { detail: 'the body did not arrive', cause: error });
    },
  };
  const readBytes = bodyParser(options);
  return async (ctx, next) => {
    const { length } = ctx.request;
    const hasBody = length === undefined ? ctx.is() !== null : length > 0;
    if (hasBody) {
      requireJson(ctx);
      const decode = decoderOf(ctx);
      // koa-bodyparser takes a length for one of 32 bits.
      if (length !== undefined && length > maxBytes) throw new ChatError('TOO_LARGE');
      await readBytes(ctx, () => Promise.resolve());
      const bytes = ctx.request.body as Buffer;
      ctx.request.body = parse(await decoded(bytes, decode, maxBytes));
    } else {
      ctx.request.body = {};
    }
    return next();
  };
}

function requireJson(ctx: Context): void {
  if (ctx.is('json') === false) {
    throw new ChatError('UNSUPPORTED_MEDIA_TYPE', { detail: 'send application/json' });
  }
  requireUtf8(ctx.get('Content-Type'));
}

/** @throws {ChatError} UNSUPPORTED_MEDIA_TYPE if the type of a body names another charset */
export function requireUtf8(contentType: string): void {
  for (const [, charset = ''] of contentType.matchAll(CHARSET)) {
    if (!CHARSETS.has(charset.toLowerCase())) {
      throw new ChatError('UNSUPPORTED_MEDIA_TYPE', { detail: 'send it in UTF-8' });
    }
  }
}

/** How to decode the body. Deletes the header, so that koa-bodyparser does not decode it, too. */
function decoderOf(ctx: Context): Decode {
  const { headers } = ctx.req;
  const decode = DECODERS.get(headers['content-encoding']?.trim().toLowerCase() || 'identity');
  if (decode === undefined) {
    throw new ChatError('UNSUPPORTED_MEDIA_TYPE', { detail: 'this encoding is not known' });
  }
  delete headers['content-encoding'];
  return decode;
}

async function decoded(bytes: Buffer, decode: Decode, maxOutputLength: number): Promise<Buffer> {
  try {
    return await decode(bytes, { maxOutputLength });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new ChatError('TOO_LARGE', { cause: error });
    }
    throw new ChatError('INVALID', {
      detail: 'the body is not in its Content-Encoding',
      cause: error,
    });
  }
}

function parse(bytes: Buffer): object {
  if (bytes.length === 0) return {};
  let value: unknown;
  try {
    // JSON.parse makes `__proto__` an ordinary key, which the schema refuses as unknown.
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ChatError('BAD_JSON', { detail: 'the body is not JSON in UTF-8', cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new ChatError('BAD_JSON', { detail: 'the body is not a JSON object' });
}
