import { Readable } from 'node:stream';
import type { Context } from 'koa';
import { ChatError } from '../errors.js';
import { metaOf } from './envelope.js';

const HUNG_UP = new ChatError('UNAVAILABLE', { detail: 'the client hung up' });

/** Aborted when the client is gone: nothing needs to be read for it any more. */
export function whenGone(ctx: Context): AbortSignal {
  const gone = new AbortController();
  ctx.res.once('close', () => {
    gone.abort(HUNG_UP);
  });
  if (ctx.res.destroyed) gone.abort(HUNG_UP);
  return gone.signal;
}

/**
 * Answers with content in the envelope as it is read: one page after the other, each when the client has taken the one
 * before, and none when it is gone. The first is read before the first byte: until then an error can be answered as one.
 */
export async function respondInPages(
  ctx: Context,
  pages: AsyncGenerator<readonly object[], void, undefined>,
  meta: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const first = await pages.next();
  ctx.status = 200;
  ctx.type = 'json';
  ctx.body = Readable.from(encodePages({ ...metaOf(200), ...meta }, first.value ?? [], pages));
}

async function* encodePages(
  meta: object,
  first: readonly object[],
  rest: AsyncIterable<readonly object[]>,
): AsyncGenerator<string> {
  let separator = '';
  let text = `{"meta":${JSON.stringify(meta)},"content":[`;
  const encode = (page: readonly object[]): void => {
    if (page.length === 0) return;
    // Without its brackets.
    text += separator + JSON.stringify(page).slice(1, -1);
    separator = ',';
  };
  encode(first);
  for await (const page of rest) {
    yield text;
    text = '';
    encode(page);
  }
  yield `${text}]}`;
}
