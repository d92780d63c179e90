/** The bound of the first wait. */
const FIRST_WAIT_MS = 500;

/**
 * The wait before something is tried again: a random part (full jitter) of a bound that doubles with each failure, so that
 * the clients of a restarted server don't come back all at once.
 * @param failures since it last worked, not counting the first one
 * @param leastMs what comes before the random part, if it is positive
 * @returns milliseconds
 */
export function backoff(failures: number, mostMs: number, leastMs = 0): number {
  return Math.max(leastMs, 0) + Math.random() * Math.min(FIRST_WAIT_MS * 2 ** failures, mostMs);
}

/** The longest wait of `Retry`: the server itself waits as long for its database. */
const MOST_RETRY_MS = 5_000;

/** Tries something that failed again, after a wait. */
export class Retry {
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** It failed: calls `again` after the wait, instead of what was to be called; from `leastMs` to twice that, if the server says. */
  failed(again: () => void, leastMs = 0): void {
    this.cancel();
    this.#timer = setTimeout(again, backoff(this.#failures, leastMs || MOST_RETRY_MS, leastMs));
    this.#failures += 1;
  }

  /** It worked: the next wait is short again. */
  worked(): void {
    this.#failures = 0;
  }

  /** Calls nothing. */
  cancel(): void {
    clearTimeout(this.#timer);
  }
}
