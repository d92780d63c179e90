import { locale, t } from './text.js';

const time = new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(locale, { weekday: 'short' });
const dayOfYear = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' });
const shortDay = new Intl.DateTimeFormat(locale, { dateStyle: 'short' });
const longDay = new Intl.DateTimeFormat(locale, { weekday: 'long', day: 'numeric', month: 'long' });
const longDayAndYear = new Intl.DateTimeFormat(locale, { dateStyle: 'full' });
const full = new Intl.DateTimeFormat(locale, { dateStyle: 'full', timeStyle: 'short' });

const DAY_MS = 86_400_000;

/** Days from a date to today, by the calendar of the browser. */
function daysAgo(date: Date): number {
  const today = new Date();
  const noon = (day: Date): number =>
    new Date(day.getFullYear(), day.getMonth(), day.getDate(), 12).getTime();
  return Math.round((noon(today) - noon(date)) / DAY_MS);
}

export function timeOf(date: Date): string {
  return time.format(date);
}

export function fullDate(date: Date): string {
  return full.format(date);
}

/** For a list: the time today, then the day, as short as it can be. */
export function shortDate(date: Date): string {
  const ago = daysAgo(date);
  if (ago <= 0) return time.format(date);
  if (ago === 1) return t('rooms.yesterday');
  if (ago < 7) return weekday.format(date);
  const isThisYear = date.getFullYear() === new Date().getFullYear();
  return (isThisYear ? dayOfYear : shortDay).format(date);
}

/** The heading of a day. */
export function dayName(date: Date): string {
  const ago = daysAgo(date);
  if (ago === 0) return t('room.today');
  if (ago === 1) return t('room.yesterday');
  const isThisYear = date.getFullYear() === new Date().getFullYear();
  return (isThisYear ? longDay : longDayAndYear).format(date);
}
