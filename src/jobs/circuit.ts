/** Rooms that must fail in a row, without a success of any room in between, until the receiver counts as down. */
const FAILING_ROOMS = 5;
/** The first pause, and the longest: a receiver that comes back has its events within half a minute. */
const MIN_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 30_000;

/**
 * Whether the receiver is down, as this node knows it: events of several rooms have failed, and none was taken. Then one
 * event at a time is tried, after a pause that grows. So a dead receiver costs next to nothing, and a single event that
 * always fails does not stop the others.
 */
export class Circuit {
  readonly #failing = new Set<number>();
  #pauseMs = 0;
  #pausedUntil = -Infinity;

  /** Whether the receiver is up, as far as is known. */
  get isClosed(): boolean {
    return this.#pauseMs === 0;
  }

  /** Milliseconds until the next event may be tried. */
  waitMs(now: number): number {
    return Math.max(0, this.#pausedUntil - now);
  }

  succeeded(): void {
    this.#failing.clear();
    this.#pauseMs = 0;
    this.#pausedUntil = -Infinity;
  }

  /** An event of a room failed, which may be the receiver's fault. */
  failed(roomId: number, now: number): void {
    if (this.isClosed) {
      this.#failing.add(roomId);
      if (this.#failing.size < FAILING_ROOMS) return;
    }
    // Several may have been on their way at once: one pause is for all of them.
    if (now < this.#pausedUntil) return;
    this.#pauseMs = Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, 2 * this.#pauseMs));
    this.#pausedUntil = now + this.#pauseMs;
  }
}
