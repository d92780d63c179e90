import { Readable } from 'node:stream';
import type { Router } from '@koa/router';
import { DateTime, IANAZone } from 'luxon';
import { z } from 'zod';
import { requirePermission } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { History, HistoryMessage, Period } from '../store/history.js';
import type { Rooms } from '../store/rooms.js';
import type { AuthenticatedState } from './authenticate.js';
import { metaOf, respond } from './envelope.js';
import { roomPath, validate, wholeNumber } from './validate.js';

const DEFAULT_PAGE = 50;
const MAX_PAGE = 1_000;

/** Years of four digits in UTC, as Postgres and ISO 8601 both write them. */
const FIRST_INSTANT = new Date('0001-01-01T00:00:00Z');
const LAST_INSTANT = new Date('9999-12-31T23:59:59.999Z');

const DAY_OR_INSTANT = /^\d{4}-\d{2}-\d{2}(T[\d:.,]+(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?$/;
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
    dateFrom === undefined && byNumber
      ? FIRST_INSTANT
      : startOf('dateFrom', dateFrom ?? today, zone);
  const until =
    dateTo === undefined && byNumber ? LAST_INSTANT : endOf('dateTo', dateTo ?? today, zone);
  if (until <= from) {
    throw new ChatError('INVALID', {
      detail: 'dateTo is before dateFrom',
      errors: [{ field: 'dateTo', message: 'is before dateFrom' }],
    });
  }
  return {
    from: from < FIRST_INSTANT ? FIRST_INSTANT : from,
    until: until > LAST_INSTANT ? LAST_INSTANT : until,
  };
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
  if (DAY_OR_INSTANT.test(text) && instant.isValid) return instant;
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
