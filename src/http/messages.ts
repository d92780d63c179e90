import { Readable } from 'node:stream';
import type { Router } from '@koa/router';
import { DateTime, IANAZone } from 'luxon';
import { z } from 'zod';
import { requirePermission } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { History, HistoryMessage, Period } from '../store/history.js';
import type { Rules } from '../store/rules.js';
import type { AuthenticatedState } from './authenticate.js';
import { metaOf, respond } from './envelope.js';
import { roomPath, validate, wholeNumber } from './validate.js';

const DEFAULT_PAGE = 50;
const MAX_PAGE = 1_000;

const DAY = /^\d{4}-\d{2}-\d{2}$/;
/** Whole days, or an instant: what has a time has a zone, or is in `timezone`. */
const DATE_PROBLEM = 'must be a day as YYYY-MM-DD or an ISO 8601 instant';

const query = z.object({
  dateFrom: z.string(DATE_PROBLEM).optional(),
  dateTo: z.string(DATE_PROBLEM).optional(),
  timezone: z
    .string('must be an IANA time zone')
    .refine((zone) => IANAZone.isValidZone(zone), 'must be an IANA time zone')
    .optional(),
  before: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
  after: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
  limit: wholeNumber(1, MAX_PAGE).optional(),
});

type Query = z.infer<typeof query>;

/** `GET /rooms/:id/messages`. */
export function routeMessages(
  router: Router<AuthenticatedState>,
  { rules, history, timeZone }: { rules: Rules; history: History; timeZone: string },
): void {
  router.get('/rooms/:id/messages', async (ctx) => {
    const { id } = validate(roomPath, ctx.params);
    const asked = validate(query, ctx.query);
    const room = await rules.access(id);
    if (room === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such room' });
    requirePermission(ctx.state.caller, room, 'r');

    const { before, after, limit } = asked;
    const byNumber = before !== undefined || after !== undefined || limit !== undefined;
    const period = periodOf(asked, timeZone, { byNumber });
    if (!byNumber && period !== undefined) {
      const pages = history.pagesOf(id, period);
      // The first page before the first byte: until then an error can still be answered as one.
      const first = await pages.next();
      ctx.type = 'json';
      ctx.body = Readable.from(encodePages(first.value ?? [], pages));
      return;
    }

    const size = limit ?? DEFAULT_PAGE;
    const page = await history.page(id, { before, after, limit: size, period });
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

/**
 * The period that a query asks for. Days are whole, both ends included; one left out is today, unless
 * pages by number are asked for, which have no default dates.
 * @throws {ChatError} INVALID for garbage, and where dateTo is before dateFrom
 */
function periodOf(
  { dateFrom, dateTo, timezone }: Query,
  timeZone: string,
  { byNumber }: { byNumber: boolean },
): Period | undefined {
  if (byNumber && dateFrom === undefined && dateTo === undefined) return undefined;
  const zone = timezone ?? timeZone;
  const today = DateTime.now().setZone(zone).toISODate() ?? '';
  const from =
    byNumber && dateFrom === undefined ? new Date(0) : startOf('dateFrom', dateFrom ?? today, zone);
  const until = endOf('dateTo', dateTo ?? (byNumber ? '9999-12-31' : today), zone);
  if (until <= from) {
    throw new ChatError('INVALID', {
      detail: 'dateTo is before dateFrom',
      errors: [{ field: 'dateTo', message: 'is before dateFrom' }],
    });
  }
  return { from, until };
}

function startOf(field: string, text: string, zone: string): Date {
  const instant = parseInstant(field, text, zone);
  return (DAY.test(text) ? instant.startOf('day') : instant).toJSDate();
}

/** The first instant that is not included any more. */
function endOf(field: string, text: string, zone: string): Date {
  const instant = parseInstant(field, text, zone);
  return (
    DAY.test(text) ? instant.plus({ days: 1 }).startOf('day') : instant.plus({ milliseconds: 1 })
  ).toJSDate();
}

function parseInstant(field: string, text: string, zone: string): DateTime {
  const instant = DateTime.fromISO(text, { zone });
  // Times alone and week dates are ISO 8601, too, but neither is a day or an instant.
  if (/^\d{4}-\d{2}-\d{2}(T.+)?$/.test(text) && instant.isValid) return instant;
  throw new ChatError('INVALID', {
    detail: `${field} ${DATE_PROBLEM}`,
    errors: [{ field, message: DATE_PROBLEM }],
  });
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
