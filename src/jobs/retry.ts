const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * Waits behind the attempts at an event that failed, 24 hours in all: as the schedule that Standard Webhooks suggests,
 * closer together at first, since people wait for a push.
 */
const WAITS_MS = [
  5 * SECOND,
  30 * SECOND,
  2 * MINUTE,
  10 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  4 * HOUR,
  8 * HOUR,
  8 * HOUR + 17 * MINUTE + 25 * SECOND,
];
/** Rooms that failed at the same moment are not tried again at the same moment. */
const JITTER = 0.2;

/**
 * The wait before the next attempt at an event, with jitter; undefined if it is to be given up.
 * @param failures its failed attempts, from 1 on
 * @param random from 0 to 1
 */
export function retryDelay(failures: number, random: number): number | undefined {
  const wait = WAITS_MS[failures - 1];
  return wait === undefined ? undefined : Math.round(wait * (1 + JITTER * (2 * random - 1)));
}
