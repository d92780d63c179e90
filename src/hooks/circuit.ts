/** Failures in a row until the other side is taken for dead: more than one slow moment, and soon there in any case. */
const FAILURES = 10;
/** How long nothing is asked then: short beside a restart, long beside a time limit. A trade-off, as are both. */
const PAUSE_MS = 5_000;

/**
 * Whether it makes sense to ask somebody who may be dead: after FAILURES in a row nobody is asked for PAUSE_MS, then one
 * question at a time, until one is answered. Times are by `performance.now()`.
 */
export class Circuit {
  #failures = 0;
  #pausedUntil = 0;
  #isProbing = false;

  /** Whether to ask now; the outcome of that must be told. */
  tries(now: number): boolean {
    if (this.#failures < FAILURES) return true;
    if (now < this.#pausedUntil || this.#isProbing) return false;
    this.#isProbing = true;
    return true;
  }

  answered(): void {
    this.#failures = 0;
    this.#isProbing = false;
  }

  /** Nobody knows whether there would have been an answer. */
  abandoned(): void {
    this.#isProbing = false;
  }

  failed(now: number): void {
    this.#failures += 1;
    this.#isProbing = false;
    if (this.#failures >= FAILURES) this.#pausedUntil = now + PAUSE_MS;
  }
}
