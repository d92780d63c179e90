/** The bound of the first wait. */
const FIRST_WAIT_MS = 500;
/** Doubled so often, the bound is beyond any that is asked for. */
const MOST_DOUBLINGS = 10;

/**
 * The wait before something is tried again: a random part (full jitter) of a bound that doubles with each failure, so that
 * the clients of a restarted server don't come back all at once.
 * @param failures since it last worked, not counting the first one
 * @returns milliseconds
 */
export function backoff(failures: number, mostMs: number): number {
  const bound = FIRST_WAIT_MS * 2 ** Math.min(failures, MOST_DOUBLINGS);
  return Math.random() * Math.min(bound, mostMs);
}
