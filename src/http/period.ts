import { DateTime, IANAZone } from 'luxon';
import { z } from 'zod';
import { ChatError } from '../errors.js';
import type { Period } from '../store/history.js';

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
/** Twice the longest IANA name (32 characters). */
const MAX_ZONE_CHARACTERS = 64;

/** The years that Postgres and ISO 8601 both write in four digits, in UTC. */
export const FIRST_INSTANT = new Date('0001-01-01T00:00:00Z');
export const LAST_INSTANT = new Date('9999-12-31T23:59:59.999Z');

const DAY_OR_INSTANT = /^\d{4}-\d{2}-\d{2}(T[\d:.,]+(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?$/;
const DATE_PROBLEM = 'must be a day as YYYY-MM-DD or an ISO 8601 instant';
const ZONE_PROBLEM = 'must be an IANA time zone';

/** Schemas of the query's parameters for `periodOf`. */
export const periodQuery = {
  dateFrom: z.string(DATE_PROBLEM).optional(),
  dateTo: z.string(DATE_PROBLEM).optional(),
  timezone: z
    .string(ZONE_PROBLEM)
    .transform((name, context) => {
      const zone = canonicalZone(name);
      if (zone !== undefined) return zone;
      context.addIssue(ZONE_PROBLEM);
      return z.NEVER;
    })
    .optional(),
};

/**
 * Intl's own spelling of a zone's name; undefined if there is no such zone. luxon caches about 60 KB for each spelling,
 * and a name's letters may be upper or lower case. Some versions of Node would accept offsets (`+01:00`), too.
 */
function canonicalZone(name: string): string | undefined {
  if (name.length > MAX_ZONE_CHARACTERS || /^[+-]/.test(name)) return undefined;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
}

/**
 * The period of a query. Both days are included, and today is the default of each. With `byNumber` there are no
 * defaults: undefined if the query has no dates.
 * @throws {ChatError} INVALID if a date is malformed, or dateTo is before dateFrom
 */
export function periodOf(
  { dateFrom, dateTo, timezone }: z.infer<z.ZodObject<typeof periodQuery>>,
  timeZone: string,
  { byNumber }: { byNumber: boolean },
): Period | undefined {
  if (byNumber && dateFrom === undefined && dateTo === undefined) return undefined;
  const zone = timezone ?? timeZone;
  const today = DateTime.now().setZone(zone).toISODate() ?? '';
  const first =
    dateFrom === undefined && byNumber
      ? undefined
      : parseMoment('dateFrom', dateFrom ?? today, zone);
  const last =
    dateTo === undefined && byNumber ? undefined : parseMoment('dateTo', dateTo ?? today, zone);
  const from = first?.begins ?? FIRST_INSTANT;
  const until = last?.ends ?? LAST_INSTANT;
  // A day that the zone skipped is valid, and empty.
  const isEmptyDay = first?.day !== undefined && last?.day !== undefined && first.day <= last.day;
  if (until <= from && !isEmptyDay) {
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

/** A day or an instant of a query. */
interface Moment {
  readonly begins: Date;
  /** The first instant behind it. */
  readonly ends: Date;
  /** Of a day: its midnight, as if it were in UTC. */
  readonly day?: number;
}

function parseMoment(field: string, text: string, zone: string): Moment {
  const [isDate, time, offset] = DAY_OR_INSTANT.exec(text) ?? [];
  const parsed = DateTime.fromISO(text, { zone: 'utc' });
  // luxon also takes times alone and week dates, which are ISO 8601.
  if (isDate === undefined || !parsed.isValid) {
    throw new ChatError('INVALID', {
      detail: `${field} ${DATE_PROBLEM}`,
      errors: [{ field, message: DATE_PROBLEM }],
    });
  }
  const millis = parsed.toMillis();
  if (offset !== undefined) return { begins: new Date(millis), ends: new Date(millis + 1) };
  const clock = IANAZone.create(zone);
  const begins = new Date(firstAt(clock, millis));
  if (time !== undefined) return { begins, ends: new Date(firstBehind(clock, millis)) };
  return { begins, ends: new Date(firstAt(clock, millis + DAY_MS)), day: millis };
}

/*
 * A local time may come twice, or never: clocks are put forward and back, even at midnight, and by a whole day if a
 * zone moves over the date line. Local times are milliseconds here, as if they were in UTC.
 */

function localTime(zone: IANAZone, instant: number): number {
  // Offsets before about 1900 have seconds, which are fractions of luxon's minutes.
  return instant + Math.round(zone.offset(instant) * MINUTE_MS);
}

/** The instants of a local time by the offsets of the day before and of the day after, the earlier first. */
function candidates(zone: IANAZone, local: number): [number, number] {
  const [one, other] = [local - DAY_MS, local + DAY_MS].map(
    (instant) => local - (localTime(zone, instant) - instant),
  ) as [number, number];
  return one < other ? [one, other] : [other, one];
}

/** The first instant at which clocks in a zone show a local time, or a later one if they skip it. */
function firstAt(zone: IANAZone, local: number): number {
  let [before, at] = candidates(zone, local);
  if (localTime(zone, before) >= local) return before;
  while (at - before > 1) {
    const between = Math.floor((before + at) / 2);
    if (localTime(zone, between) >= local) at = between;
    else before = between;
  }
  return at;
}

/** The instant directly behind the last at which clocks in a zone show a local time. */
function firstBehind(zone: IANAZone, local: number): number {
  const [, later] = candidates(zone, local);
  const last = localTime(zone, later) === local ? later : firstAt(zone, local);
  return localTime(zone, last) === local ? last + 1 : last;
}
