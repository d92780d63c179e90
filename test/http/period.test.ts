import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { periodOf, periodQuery } from '../../src/http/period.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ZONES = Intl.supportedValuesOf('timeZone');

const query = z.object(periodQuery);

afterEach(() => {
  vi.useRealTimers();
});

describe('the period of a day', () => {
  it.each([
    ['Europe/Madrid', '2026-03-29', '2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z'],
    // Midnight comes twice: the day begins with the first.
    ['America/Havana', '2024-11-03', '2024-11-03T04:00:00.000Z', '2024-11-04T05:00:00.000Z'],
    ['Asia/Amman', '2021-10-29', '2021-10-28T21:00:00.000Z', '2021-10-29T22:00:00.000Z'],
    // 23:00 comes twice: all of it is the day before.
    ['America/Santiago', '2024-04-06', '2024-04-06T03:00:00.000Z', '2024-04-07T04:00:00.000Z'],
    // There is no midnight: the day begins at 01:00.
    ['America/Sao_Paulo', '2018-11-04', '2018-11-04T03:00:00.000Z', '2018-11-05T02:00:00.000Z'],
    ['Africa/Cairo', '2024-04-26', '2024-04-25T22:00:00.000Z', '2024-04-26T21:00:00.000Z'],
    // From 23:30 to 00:30.
    ['America/Toronto', '1919-03-31', '1919-03-31T04:30:00.000Z', '1919-04-01T04:00:00.000Z'],
    // A day that the zone skipped is empty, and its neighbours are whole.
    ['Pacific/Apia', '2011-12-29', '2011-12-29T10:00:00.000Z', '2011-12-30T10:00:00.000Z'],
    ['Pacific/Apia', '2011-12-30', '2011-12-30T10:00:00.000Z', '2011-12-30T10:00:00.000Z'],
    ['Pacific/Apia', '2011-12-31', '2011-12-30T10:00:00.000Z', '2011-12-31T10:00:00.000Z'],
    ['Pacific/Kwajalein', '1993-08-21', '1993-08-21T12:00:00.000Z', '1993-08-21T12:00:00.000Z'],
    // An offset of 19 minutes and 32 seconds.
    ['Europe/Amsterdam', '1880-01-01', '1879-12-31T23:42:30.000Z', '1880-01-01T23:42:30.000Z'],
  ])('in %s, %s, begins and ends as the zone’s clocks say', (timezone, day, from, until) => {
    expect(daysOf(day, day, timezone)).toEqual({ from: new Date(from), until: new Date(until) });
  });

  it.each(['2024-07-01T12:00:00Z', '2024-12-24T12:00:00Z'])(
    'is the same whenever it is requested: at %s',
    (now) => {
      vi.useFakeTimers({ now: new Date(now) });

      expect(daysOf('2024-11-03', '2024-11-03', 'America/Havana').from).toEqual(
        new Date('2024-11-03T04:00:00.000Z'),
      );
      expect(instants('2024-11-03T00:30', '2024-11-03T00:30', 'America/Havana')).toEqual([
        '2024-11-03T04:30:00.000Z',
        '2024-11-03T05:30:00.001Z',
      ]);
    },
  );

  it('is today by default, even if today has no midnight, or two', () => {
    for (const [timezone, now, from] of [
      ['America/Sao_Paulo', '2018-11-04T12:00:00Z', '2018-11-04T03:00:00.000Z'],
      ['America/Havana', '2024-11-03T05:30:00Z', '2024-11-03T04:00:00.000Z'],
      ['Pacific/Apia', '2011-12-30T10:00:00Z', '2011-12-30T10:00:00.000Z'],
    ] as const) {
      vi.useFakeTimers({ now: new Date(now) });

      expect(daysOf(undefined, undefined, timezone).from).toEqual(new Date(from));
    }
  });

  it('ends where the next one begins, whatever its zone does in that year', () => {
    const year = fc.integer({ min: 1850, max: 2100 });
    fc.assert(
      fc.property(fc.constantFrom(...ZONES), year, (zone, inYear) => {
        const dateAt = dateIn(zone);
        for (const change of changesOf(zone, inYear)) {
          for (let day = change - 2 * DAY_MS; day <= change + 2 * DAY_MS; day += DAY_MS) {
            const date = isoDate(day);
            const { from, until } = daysOf(date, date, zone);

            expect(daysOf(isoDate(day + DAY_MS), isoDate(day + DAY_MS), zone).from).toEqual(until);
            // No instant of the day, or of a later one, is before its begin.
            for (let ms = from.getTime() - 1; ms > from.getTime() - DAY_MS; ms -= HOUR_MS / 4) {
              expect(dateAt(ms) < date).toBe(true);
            }
            expect(dateAt(from.getTime()) >= date).toBe(true);
            expect(until > from).toBe(dateAt(from.getTime()) === date);
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe('a period', () => {
  it('may span days that came twice or never', () => {
    expect(daysOf('2011-12-29', '2011-12-31', 'Pacific/Apia')).toEqual({
      from: new Date('2011-12-29T10:00:00.000Z'),
      until: new Date('2011-12-31T10:00:00.000Z'),
    });
    expect(daysOf('2011-12-30', '2011-12-31', 'Pacific/Apia')).toEqual(
      daysOf('2011-12-31', '2011-12-31', 'Pacific/Apia'),
    );
    expect(() => daysOf('2011-12-31', '2011-12-30', 'Pacific/Apia')).toThrow(
      expect.objectContaining({ code: 'INVALID' }),
    );
  });

  it('includes both instants of a time that comes twice, and moves a skipped time to the end of the gap', () => {
    expect(instants('2024-11-03T01:30', '2024-11-03T01:30', 'America/New_York')).toEqual([
      '2024-11-03T05:30:00.000Z',
      '2024-11-03T06:30:00.001Z',
    ]);
    expect(instants('2024-03-10T02:30', '2024-03-10T03:00', 'America/New_York')).toEqual([
      '2024-03-10T07:00:00.000Z',
      '2024-03-10T07:00:00.001Z',
    ]);
    expect(instants('2024-03-10T01:30', '2024-03-10T02:30', 'America/New_York')).toEqual([
      '2024-03-10T06:30:00.000Z',
      '2024-03-10T07:00:00.000Z',
    ]);
    expect(instants('2024-11-03T00:59', '2024-11-03T02:01', 'America/New_York')).toEqual([
      '2024-11-03T04:59:00.000Z',
      '2024-11-03T07:01:00.001Z',
    ]);
  });
});

describe('a time zone', () => {
  it('is known under one name, however it is spelt', () => {
    expect(query.parse({ timezone: 'aMERICA/nEW_yORK' }).timezone).toBe('America/New_York');
    expect(query.parse({ timezone: 'utc' }).timezone).toBe('UTC');
  });

  it.each(['', 'Mars/Phobos', '+05:30', '-08', 'UTC+25', `America/${'x'.repeat(10_000)}`])(
    'is refused if unknown: %s',
    (timezone) => {
      expect(query.safeParse({ timezone }).success).toBe(false);
    },
  );
});

function daysOf(
  dateFrom: string | undefined,
  dateTo: string | undefined,
  timezone: string,
): { from: Date; until: Date } {
  const period = periodOf(query.parse({ dateFrom, dateTo, timezone }), 'UTC', { byNumber: false });
  if (period === undefined) throw new Error('no period');
  return period;
}

function instants(dateFrom: string, dateTo: string, timezone: string): string[] {
  const { from, until } = daysOf(dateFrom, dateTo, timezone);
  return [from.toISOString(), until.toISOString()];
}

function isoDate(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** The date that a calendar in the zone shows at an instant. */
function dateIn(timeZone: string): (ms: number) => string {
  // Sweden writes dates as ISO 8601 does.
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short' });
  return (ms) => format.format(ms);
}

/** The days of a year, as midnights of UTC, on or next to which the zone's clocks were changed. */
function changesOf(timeZone: string, year: number): number[] {
  const format = new Intl.DateTimeFormat('en', { timeZone, timeZoneName: 'longOffset' });
  const offsetAt = (ms: number): string | undefined =>
    format.formatToParts(ms).find(({ type }) => type === 'timeZoneName')?.value;
  const days = Array.from({ length: 366 }, (_, i) => Date.UTC(year, 0, 1) + i * DAY_MS);
  return days.filter((day) => offsetAt(day) !== offsetAt(day + DAY_MS));
}
