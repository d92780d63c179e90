/*
 * docs/PROTOCOL.md promises these. A client that pipelines has sent some commands before the first RATELIMITED reaches it:
 * it is paused, and only one that goes on is closed.
 */
const COMMANDS_IN_SPITE = 20;
/** Within this time: a client that has many rooms to send to may not know yet that it should wait. */
const COUNTED_MS = 1_000;
const PAUSE_MS = 1_000;
const MAX_PAUSES = 10;
/** After so long without a pause, they are counted from the first one again. */
const CALM_MS = 10_000;

/** What becomes of a socket: nothing, it is not read for a time in milliseconds, or it is closed. */
export type Measure = { readonly pauseMs: number } | 'close' | undefined;

/** Watches one socket for commands in spite of RATELIMITED. Times are by `performance.now()`, in milliseconds. */
export class FloodGuard {
  /** Until when the client was asked to wait. */
  #waitUntil = -Infinity;
  #inSpite = 0;
  #countedFrom = -Infinity;
  #pauses = 0;
  #pausedUntil = -Infinity;

  /** A command was refused as RATELIMITED. */
  refused(retryAfterMs: number, now: number): Measure {
    const isInSpite = now < this.#waitUntil;
    this.#waitUntil = Math.max(this.#waitUntil, now + retryAfterMs);
    // What is answered during a pause was taken before it.
    if (!isInSpite || now < this.#pausedUntil) return undefined;
    if (now - this.#countedFrom >= COUNTED_MS) {
      this.#countedFrom = now;
      this.#inSpite = 0;
    }
    this.#inSpite += 1;
    if (this.#inSpite < COMMANDS_IN_SPITE) return undefined;
    this.#inSpite = 0;
    if (now - this.#pausedUntil >= CALM_MS) this.#pauses = 0;
    this.#pauses += 1;
    if (this.#pauses >= MAX_PAUSES) return 'close';
    this.#pausedUntil = now + PAUSE_MS;
    return { pauseMs: PAUSE_MS };
  }
}
