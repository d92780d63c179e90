import type { MessagesInFlight } from '../messages-in-flight.js';

/** Commands that may wait in one room: a room that hangs must not collect what a socket sends for seconds. */
const MAX_WAITING_IN_ROOM = 32;

/** A command that waits for its turn. */
interface Waiting {
  /** When it is given up, by `performance.now()`. */
  readonly until: number;
  readonly work: Work;
  isGivenUp: boolean;
}

/** What waits in one room. */
interface Lane {
  /** Settles when the last command has had its turn. */
  tail: Promise<void>;
  waiting: number;
}

/**
 * Does a command's work, once; must not throw or reject. The next command of the room starts when the promise is
 * settled; at once if there is none.
 * @param isLate its turn has not come in time: it is only to be answered
 */
export type Work = (isLate: boolean) => Promise<void> | void;

/**
 * The order of one session's commands: each waits for the earlier ones of its own room, and a barrier for all before
 * it, as all behind it wait for it. Messages in flight are waited for as well, except by other messages, which keep
 * their order in the log. A command that need not wait starts at once. One that has waited for too long is given up, but
 * those behind it still wait for what it waits for.
 */
export class CommandOrder {
  readonly #inFlight: MessagesInFlight;
  readonly #maxWaiting: number;
  readonly #maxWaitMs: number;
  /** By the number of a room, or by its uuid while its number is not known. */
  #lanes = new Map<number | string, Lane>();
  #barrier: Promise<void> | undefined;
  /** Commands that wait, those that were given up included. */
  #waiting = 0;
  /** Those that were not given up, in the order in which they came. */
  readonly #queue = new Set<Waiting>();
  /** Set while some wait. */
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param maxWaiting commands that may wait in all rooms together
   * @param maxWaitMs after which a command is given up, from when it came
   */
  constructor(inFlight: MessagesInFlight, maxWaiting: number, maxWaitMs: number) {
    this.#inFlight = inFlight;
    this.#maxWaiting = maxWaiting;
    this.#maxWaitMs = maxWaitMs;
  }

  /**
   * Takes a command of a room, by its number or its uuid.
   * @param cameAt when it came, by `performance.now()`
   * @returns false if too many wait: then the command is not taken
   */
  take(room: number | string, isMessage: boolean, cameAt: number, work: Work): boolean {
    const lane = this.#lanes.get(room);
    const isFree = isMessage || typeof room === 'string' || !this.#inFlight.has(room);
    if (lane === undefined && this.#barrier === undefined && isFree) {
      const going = work(false);
      if (going !== undefined) this.#extend(room, { tail: going, waiting: 0 }, going);
      return true;
    }
    const waiting = lane?.waiting ?? 0;
    if (waiting >= MAX_WAITING_IN_ROOM || this.#waiting >= this.#maxWaiting) return false;
    const extended = lane ?? { tail: this.#barrier ?? Promise.resolve(), waiting };
    extended.waiting += 1;
    const ready =
      isMessage || typeof room === 'string'
        ? extended.tail
        : extended.tail.then(() => this.#inFlight.settledIn(room));
    const turn = this.#wait(cameAt, work, ready, () => {
      extended.waiting -= 1;
    });
    this.#extend(room, extended, turn);
    return true;
  }

  /**
   * Takes a command that waits for all before it, and that all behind it wait for.
   * @returns false as `take` does
   */
  takeAlone(cameAt: number, work: Work): boolean {
    if (this.#isIdle) {
      const turn = work(false);
      if (turn !== undefined) this.#raiseBarrier(turn);
      return true;
    }
    if (this.#waiting >= this.#maxWaiting) return false;
    const turn = this.#wait(cameAt, work, this.idle());
    // What comes from now on waits for the barrier, which waits for these.
    this.#lanes = new Map();
    this.#raiseBarrier(turn);
    return true;
  }

  /** What comes from now on waits for this turn. */
  #raiseBarrier(turn: Promise<void>): void {
    const barrier = turn.then(() => {
      if (this.#barrier === barrier) this.#barrier = undefined;
    });
    this.#barrier = barrier;
  }

  /** Resolves when all that was taken so far is done, the messages in flight included. */
  async idle(): Promise<void> {
    await Promise.all([this.#barrier, ...Array.from(this.#lanes.values(), ({ tail }) => tail)]);
    await this.#inFlight.settled();
  }

  get #isIdle(): boolean {
    return this.#barrier === undefined && this.#lanes.size === 0 && this.#inFlight.size === 0;
  }

  /** Does a command's work at its turn, or gives it up; resolves when its turn is over. */
  async #wait(
    cameAt: number,
    work: Work,
    ready: Promise<void>,
    onTurn?: () => void,
  ): Promise<void> {
    const waiting = { until: cameAt + this.#maxWaitMs, work, isGivenUp: false };
    this.#waiting += 1;
    this.#queue.add(waiting);
    this.#timer ??= this.#startTimer(waiting);
    await ready;
    this.#waiting -= 1;
    this.#queue.delete(waiting);
    if (this.#queue.size === 0) this.#endTimer();
    onTurn?.();
    if (!waiting.isGivenUp) await work(false);
  }

  /** One timer for all: they are given up in the order in which they came. */
  #startTimer({ until }: Waiting): NodeJS.Timeout {
    const ms = Math.max(1, Math.ceil(until - performance.now()));
    return setTimeout(() => {
      this.#giveUp();
    }, ms);
  }

  #endTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #giveUp(): void {
    this.#endTimer();
    const now = performance.now();
    for (const waiting of this.#queue) {
      if (waiting.until > now) {
        this.#timer = this.#startTimer(waiting);
        return;
      }
      this.#queue.delete(waiting);
      waiting.isGivenUp = true;
      void waiting.work(true);
    }
  }

  /** Makes `turn` the end of a room's lane. */
  #extend(room: number | string, lane: Lane, turn: Promise<void>): void {
    const lanes = this.#lanes;
    lanes.set(room, lane);
    lane.tail = turn;
    void turn.then(() => {
      if (lane.tail === turn) lanes.delete(room);
    });
  }
}
