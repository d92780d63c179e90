/** Full buckets are forgotten at most this often: looking for them takes 10 ns a bucket. */
const MIN_SWEEP_INTERVAL_MS = 1_000;

/**
 * Token buckets by key: each holds `burst` tokens at most, and gains `perSecond`. A bucket is one number, the time at which
 * it is full again, so that nothing has to be filled. Times are by `performance.now()`, in milliseconds.
 */
export class TokenBuckets<Key> {
  readonly #msAToken: number;
  readonly #msToFill: number;
  /** A key that is not here has a full bucket. */
  readonly #fullAt = new Map<Key, number>();
  #sweepAt = 0;

  constructor({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }) {
    this.#msAToken = 1_000 / perSecond;
    this.#msToFill = this.#msAToken * burst;
  }

  /** Number of buckets that are not known to be full. */
  get size(): number {
    return this.#fullAt.size;
  }

  /** Milliseconds until a token can be taken; 0: now. */
  waitMs(key: Key, now: number): number {
    const fullAt = this.#fullAt.get(key);
    if (fullAt === undefined) return 0;
    return Math.max(0, fullAt - now + this.#msAToken - this.#msToFill);
  }

  /** Takes a token, even if the bucket gains it only later. Whoever comes next waits longer then. */
  take(key: Key, now: number): void {
    if (now >= this.#sweepAt) this.#sweep(now);
    this.#fullAt.set(key, Math.max(this.#fullAt.get(key) ?? 0, now) + this.#msAToken);
  }

  #sweep(now: number): void {
    this.#sweepAt = now + Math.max(MIN_SWEEP_INTERVAL_MS, this.#msToFill);
    for (const [key, fullAt] of this.#fullAt) if (fullAt <= now) this.#fullAt.delete(key);
  }
}
