/** Full buckets are forgotten at most this often: looking for them takes 10 ns a bucket. */
const MIN_SWEEP_INTERVAL_MS = 1_000;

/** Those who wait for tokens of one bucket. */
interface Queue {
  /** What each of them is told by, in order of arrival. Never empty. */
  readonly waiting: (() => void)[];
  /** Whether the next token is theirs: the last one was taken by somebody who does not wait. */
  isNext: boolean;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Token buckets by key: each holds `burst` tokens at most, and gains `perSecond`. A bucket is one number, the time at which
 * it is full again, so that nothing has to be filled. Times are by `performance.now()`, in milliseconds.
 *
 * Some wait in the queue of a bucket (`turn`), others ask whether there is a token now (`waitMs`, `take`). If both want more
 * than there is, tokens go to them alternately: whoever waits would otherwise have each of them at the moment at which the
 * bucket gains it. So the queue leaves one token for the others, for which the bucket has room for one more.
 */
export class TokenBuckets<Key> {
  readonly burst: number;
  readonly #msAToken: number;
  readonly #msToFill: number;
  /** A key that is not here has a full bucket. */
  readonly #fullAt = new Map<Key, number>();
  readonly #queues = new Map<Key, Queue>();
  #sweepAt = 0;
  #isReleased = false;

  constructor({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }) {
    this.burst = burst;
    this.#msAToken = 1_000 / perSecond;
    this.#msToFill = this.#msAToken * burst;
  }

  /** Number of buckets that are not known to be full. */
  get size(): number {
    return this.#fullAt.size;
  }

  /** Milliseconds until somebody who does not wait in the queue may take a token; 0: now. */
  waitMs(key: Key, now: number): number {
    return this.#msUntil(key, this.#queues.get(key)?.isNext === true ? 2 : 1, now);
  }

  /** Milliseconds until the bucket is full; 0: it is. */
  msToFull(key: Key, now: number): number {
    return Math.max(0, (this.#fullAt.get(key) ?? 0) - now);
  }

  /** Takes a token, which `waitMs` permits. */
  take(key: Key, now: number): void {
    this.#take(key, Math.max(this.#fullAt.get(key) ?? 0, now), now);
    const queue = this.#queues.get(key);
    if (queue !== undefined) queue.isNext = true;
  }

  /** Takes a token as soon as it is the caller's, behind those who came before; resolves then, undefined: now. */
  turn(key: Key, now: number): Promise<void> | undefined {
    if (this.#isReleased) return undefined;
    const queue = this.#queues.get(key);
    if (queue === undefined && this.#msUntil(key, 2, now) === 0) {
      this.#takeForQueue(key, now);
      return undefined;
    }
    return new Promise((resolve) => {
      if (queue !== undefined) {
        queue.waiting.push(resolve);
        return;
      }
      const created: Queue = { waiting: [resolve], isNext: false, timer: undefined };
      this.#queues.set(key, created);
      this.#serve(key, created);
    });
  }

  /** Whoever waits has waited long enough, and nobody waits any more. */
  release(): void {
    this.#isReleased = true;
    for (const { waiting, timer } of this.#queues.values()) {
      clearTimeout(timer);
      for (const resolve of waiting) resolve();
    }
    this.#queues.clear();
  }

  #msUntil(key: Key, tokens: number, now: number): number {
    const fullAt = this.#fullAt.get(key);
    if (fullAt === undefined) return 0;
    return Math.max(0, fullAt - now + tokens * this.#msAToken - this.#msToFill);
  }

  #take(key: Key, fullAt: number, now: number): void {
    if (now >= this.#sweepAt) this.#sweep(now);
    this.#fullAt.set(key, fullAt + this.#msAToken);
  }

  /** The token may be the one that the bucket has gained beyond its burst. */
  #takeForQueue(key: Key, now: number): void {
    const fullAt = this.#fullAt.get(key) ?? -Infinity;
    this.#take(key, Math.max(fullAt, now - this.#msAToken), now);
  }

  #serve(key: Key, queue: Queue): void {
    const now = performance.now();
    for (;;) {
      const waitMs = this.#msUntil(key, queue.isNext ? 1 : 2, now);
      if (waitMs > 0) {
        queue.timer = setTimeout(() => {
          this.#serve(key, queue);
        }, Math.ceil(waitMs));
        return;
      }
      this.#takeForQueue(key, now);
      queue.isNext = false;
      queue.waiting.shift()?.();
      if (queue.waiting.length > 0) continue;
      this.#queues.delete(key);
      return;
    }
  }

  #sweep(now: number): void {
    this.#sweepAt = now + Math.max(MIN_SWEEP_INTERVAL_MS, this.#msToFill);
    const before = now - this.#msAToken;
    for (const [key, fullAt] of this.#fullAt) if (fullAt <= before) this.#fullAt.delete(key);
  }
}
