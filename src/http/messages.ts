import { z } from 'zod';
import type { MessagePage, MessagePages } from '../actions/messages.js';
import type { HistoryMessage } from '../store/history.js';
import type { Reply } from './envelope.js';
import { encodeEach, queryOf } from './pages.js';
import { periodOf, periodQuery } from './period.js';
import { route, type Route } from './route.js';
import { roomPath, numberFrom } from './validate.js';

/** docs/HTTP-API.md promises both; a page of 1,000 is read and sent piece by piece. */
const DEFAULT_PAGE = 50;
const MAX_PAGE = 1_000;

const range = z.object({
  ...periodQuery,
  before: numberFrom(1, Number.MAX_SAFE_INTEGER).optional(),
  after: numberFrom(0, Number.MAX_SAFE_INTEGER).optional(),
  limit: numberFrom(1, MAX_PAGE).optional(),
});

type Range = z.infer<typeof range>;

/** Reads the history: all messages of a period, or one page by number. */
const read = route({
  method: 'GET',
  path: '/rooms/:id/messages',
  access: 'token',
  params: roomPath,
  query: range,
  async handle({ caller, params, query, gone }, { actions, timeZone }): Promise<Reply> {
    const history = await actions.messages.openHistory(caller, params.id, gone);
    const { before, after, limit } = query;
    const byNumber = before !== undefined || after !== undefined || limit !== undefined;
    const period = periodOf(query, timeZone, { byNumber });
    if (!byNumber && period !== undefined) {
      const pages = await history.during(period);
      return pages === undefined ? { content: [] } : { pages: encodeEach(pages, encodeMessage) };
    }

    const size = limit ?? DEFAULT_PAGE;
    const page = await history.page({ before, after, limit: size, period });
    const next = page.more ? nextQuery(query, page, size) : undefined;
    return page.rest === undefined
      ? { content: page.messages.map(encodeMessage), next }
      : { pages: encodeEach(wholePage(page.messages, page.rest), encodeMessage), next };
  },
});

export const messageRoutes: readonly Route[] = [read];

/** A message in an answer; its id is its seq. */
export function encodeMessage(message: HistoryMessage): object {
  const { roomId, seq, emitter, content, createdAt, updatedAt } = message;
  return { id: seq, room_id: roomId, seq, emitter, content, createdAt, updatedAt };
}

/** A page whose first messages were read already. */
async function* wholePage(messages: MessagePage['messages'], rest: MessagePages): MessagePages {
  if (messages.length > 0) yield messages;
  yield* rest;
}

/** The query of the next page in the same direction. */
function nextQuery(asked: Range, { first, last }: MessagePage, limit: number): string {
  const onwards =
    asked.after === undefined ? { ...asked, before: first } : { ...asked, after: last };
  return queryOf({ ...onwards, limit });
}
