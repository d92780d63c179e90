import { Readable } from 'node:stream';
import type { Router } from '@koa/router';
import { z } from 'zod';
import { requirePermission } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { History, HistoryMessage } from '../store/history.js';
import type { Rooms } from '../store/rooms.js';
import type { AuthenticatedState } from './authenticate.js';
import { metaOf, respond } from './envelope.js';
import { periodOf, periodQuery } from './period.js';
import { roomPath, validate, wholeNumber } from './validate.js';

const DEFAULT_PAGE = 50;
const MAX_PAGE = 1_000;

const query = z.object({
  ...periodQuery,
  before: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
  after: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
  limit: wholeNumber(1, MAX_PAGE).optional(),
});

type Query = z.infer<typeof query>;

/** `GET /rooms/:id/messages`. */
export function routeMessages(
  router: Router<AuthenticatedState>,
  {
    rooms,
    history,
    timeZone,
  }: { rooms: Pick<Rooms, 'accessFor'>; history: History; timeZone: string },
): void {
  router.get('/rooms/:id/messages', async (ctx) => {
    const { id } = validate(roomPath, ctx.params);
    const asked = validate(query, ctx.query);
    const room = await rooms.accessFor(ctx.state.caller, id);
    if (room === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such room' });
    requirePermission(ctx.state.caller, room, 'r');
    // What the caller may read is known at this number: a revocation may follow at once.
    const upTo = room.head;

    const { before, after, limit } = asked;
    const byNumber = before !== undefined || after !== undefined || limit !== undefined;
    const period = periodOf(asked, timeZone, { byNumber });
    if (!byNumber && period !== undefined) {
      const pages = history.pagesOf(id, period, upTo);
      // The first page before the first byte: until then an error can still be answered as one.
      const first = await pages.next();
      ctx.type = 'json';
      ctx.body = Readable.from(encodePages(first.value ?? [], pages));
      return;
    }

    const size = limit ?? DEFAULT_PAGE;
    const page = await history.page(id, { upTo, before, after, limit: size, period });
    const next = page.more ? nextQuery(asked, page.messages, size) : undefined;
    if (next === undefined) {
      respond(ctx, page.messages);
    } else {
      const url = `${ctx.path}?${next}`;
      ctx.set('Link', `<${url}>; rel="next"`);
      respond(ctx, page.messages, { meta: { next: url } });
    }
  });
}

/** The query that goes on where a page ended, in the same direction. */
function nextQuery(asked: Query, messages: readonly HistoryMessage[], limit: number): string {
  const onwards =
    asked.after === undefined
      ? { ...asked, before: messages[0]?.seq }
      : { ...asked, after: messages.at(-1)?.seq };
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...onwards, limit })) {
    if (value !== undefined) next.set(name, String(value));
  }
  return next.toString();
}

/** The envelope around pages as they are read: a year of messages is never in memory at once. */
async function* encodePages(
  first: readonly HistoryMessage[],
  rest: AsyncIterable<readonly HistoryMessage[]>,
): AsyncGenerator<string> {
  let separator = '';
  let text = `{"meta":${JSON.stringify(metaOf(200))},"content":[`;
  const encode = (page: readonly HistoryMessage[]): void => {
    for (const message of page) {
      text += separator + JSON.stringify(message);
      separator = ',';
    }
  };
  encode(first);
  for await (const page of rest) {
    yield text;
    text = '';
    encode(page);
  }
  yield `${text}]}`;
}
