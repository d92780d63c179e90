import type { Router } from '@koa/router';
import { z } from 'zod';
import { requirePermission } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { History, HistoryMessage, HistoryPage } from '../store/history.js';
import type { Rooms } from '../store/rooms.js';
import type { AuthenticatedState } from './authenticate.js';
import { respond } from './envelope.js';
import { respondInPages, whenGone } from './pages.js';
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
    const { caller } = ctx.state;
    const reader = { userUUID: caller.userUUID, gone: whenGone(ctx) };
    const room = await rooms.accessFor(caller, id, reader.gone);
    if (room === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such room' });
    requirePermission(caller, room, 'r');
    // What the caller may read is known at this number: a revocation may follow at once.
    const upTo = room.head;

    const { before, after, limit } = asked;
    const byNumber = before !== undefined || after !== undefined || limit !== undefined;
    const period = periodOf(asked, timeZone, { byNumber });
    if (!byNumber && period !== undefined) {
      const stretch = await history.stretchOf(id, period, reader, upTo);
      if (stretch === undefined) respond(ctx, []);
      else await respondInPages(ctx, history.read(id, stretch, reader));
      return;
    }

    const size = limit ?? DEFAULT_PAGE;
    const page = await history.page(id, { upTo, before, after, limit: size, period }, reader);
    const meta: { next?: string } = {};
    if (page.more) {
      // Relative to the request, which a proxy may have under another path.
      meta.next = `?${nextQuery(asked, page, size)}`;
      ctx.set('Link', `<${meta.next}>; rel="next"`);
    }
    if (page.rest === undefined) {
      respond(ctx, page.messages, { meta });
    } else {
      const rest = history.read(id, page.rest, reader);
      await respondInPages(ctx, wholePage(page.messages, rest), meta);
    }
  });
}

/** A page whose first messages were read already. */
async function* wholePage(
  messages: readonly HistoryMessage[],
  rest: AsyncIterable<readonly HistoryMessage[]>,
): AsyncGenerator<readonly HistoryMessage[], void, undefined> {
  if (messages.length > 0) yield messages;
  yield* rest;
}

/** The query that goes on where a page ended, in the same direction. */
function nextQuery(asked: Query, { first, last }: HistoryPage, limit: number): string {
  const onwards =
    asked.after === undefined ? { ...asked, before: first } : { ...asked, after: last };
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...onwards, limit })) {
    if (value !== undefined) next.set(name, String(value));
  }
  return next.toString();
}
