import { Readable } from 'node:stream';
import type { Context } from 'koa';
import { ChatError } from '../errors.js';
import { encodeCursor } from './cursor.js';

/** Content in pages; one may be empty. */
export type Pages = AsyncGenerator<readonly object[], void, undefined>;

/** Pages of encoded items. */
export async function* encodeEach<Item>(
  pages: AsyncGenerator<readonly Item[], void, undefined>,
  encode: (item: Item) => object,
): Pages {
  for await (const page of pages) yield page.map(encode);
}

/** The query of a next page, with its `?`, without the parameters that are undefined. */
export function queryOf(parameters: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) query.set(name, String(value));
  }
  return `?${query.toString()}`;
}

/**
 * The answer with a page of a list.
 * @param found the items of the page, and one more if there are more
 * @param query the query of the page, without its cursor
 * @param placeOf the place in the list behind which the next page begins
 */
export function pageOf<Item>(
  found: readonly Item[],
  query: Readonly<Record<string, string | number | undefined>> & { readonly limit: number },
  encode: (item: Item) => object,
  placeOf: (last: Item) => readonly (number | string)[],
): { readonly content: readonly object[]; readonly next: string | undefined } {
  const items = found.slice(0, query.limit);
  const last = items.at(-1);
  const isLast = last === undefined || found.length === items.length;
  return {
    content: items.map((item) => encode(item)),
    next: isLast ? undefined : queryOf({ ...query, cursor: encodeCursor(placeOf(last)) }),
  };
}

const HUNG_UP = new ChatError('UNAVAILABLE', { detail: 'the client hung up' });

/** Aborted when the client has gone: nothing needs to be read for it any more. */
export function whenGone(ctx: Context): AbortSignal {
  const gone = new AbortController();
  ctx.res.once('close', () => {
    gone.abort(HUNG_UP);
  });
  if (ctx.res.destroyed) gone.abort(HUNG_UP);
  return gone.signal;
}

/**
 * An answer in the envelope that is read as the client takes it: each page when the client has taken the one before,
 * and none after the client has gone. Resolves when the first page is read; until then an error can be answered as one.
 */
export async function streamPages(meta: object, pages: Pages): Promise<Readable> {
  const first = await pages.next();
  return Readable.from(encodePages(meta, first.value ?? [], pages));
}

/**
 * Likewise the items of pages, each as a line of JSON. A later page that is empty is an empty line: a proxy takes a silent
 * answer for dead.
 */
export async function streamLines(pages: Pages): Promise<Readable> {
  const first = await pages.next();
  return Readable.from(encodeLines(first.value ?? [], pages));
}

async function* encodeLines(
  first: readonly object[],
  rest: AsyncIterable<readonly object[]>,
): AsyncGenerator<string> {
  if (first.length > 0) yield linesOf(first);
  for await (const page of rest) yield linesOf(page);
}

function linesOf(page: readonly object[]): string {
  return page.length === 0 ? '\n' : page.map((item) => `${JSON.stringify(item)}\n`).join('');
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
