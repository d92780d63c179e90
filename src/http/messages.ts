import type { Router } from '@koa/router';
import { z } from 'zod';
import type { MessageActions, MessagePage, MessagePages } from '../actions/messages.js';
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
  { messages, timeZone }: { messages: MessageActions; timeZone: string },
): void {
  router.get('/rooms/:id/messages', async (ctx) => {
    const { id } = validate(roomPath, ctx.params);
    const asked = validate(query, ctx.query);
    const history = await messages.openHistory(ctx.state.caller, id, whenGone(ctx));

    const { before, after, limit } = asked;
    const byNumber = before !== undefined || after !== undefined || limit !== undefined;
    const period = periodOf(asked, timeZone, { byNumber });
    if (!byNumber && period !== undefined) {
      const pages = await history.during(period);
      if (pages === undefined) respond(ctx, []);
      else await respondInPages(ctx, pages);
      return;
    }

    const size = limit ?? DEFAULT_PAGE;
    const page = await history.page({ before, after, limit: size, period });
    const meta: { next?: string } = {};
    if (page.more) {
      // Relative to the request, which a proxy may have under another path.
      meta.next = `?${nextQuery(asked, page, size)}`;
      ctx.set('Link', `<${meta.next}>; rel="next"`);
    }
    if (page.rest === undefined) respond(ctx, page.messages, { meta });
    else await respondInPages(ctx, wholePage(page.messages, page.rest), meta);
  });
}

/** A page whose first messages were read already. */
async function* wholePage(messages: MessagePage['messages'], rest: MessagePages): MessagePages {
  if (messages.length > 0) yield messages;
  yield* rest;
}

/** The query that goes on where a page ended, in the same direction. */
function nextQuery(asked: Query, { first, last }: MessagePage, limit: number): string {
  const onwards =
    asked.after === undefined ? { ...asked, before: first } : { ...asked, after: last };
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...onwards, limit })) {
    if (value !== undefined) next.set(name, String(value));
  }
  return next.toString();
}
