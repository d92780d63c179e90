import { ChatError } from '../errors.js';

/**
 * Runs a bounded number of tasks at a time. Waiting tasks start in turn by key (a room, a caller), so a key with
 * thousands of tasks delays those of another key by one task a turn.
 */
export class FairLimit<Key> {
  readonly #patienceMs: number;
  #free: number;
  /** Waiting tasks by key; keys in the order of their turns. */
  readonly #waiting = new Map<Key, Set<() => void>>();

  /**
   * @param tasks how many run at a time
   * @param patienceMs how long a task may wait for its turn
   */
  constructor(tasks: number, patienceMs: number) {
    this.#free = tasks;
    this.#patienceMs = patienceMs;
  }

  /**
   * Runs a task when its turn comes.
   * @throws {ChatError} UNAVAILABLE if its turn does not come in time; the signal's reason if that is aborted before
   */
  async run<T>(key: Key, task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(key, signal);
    try {
      return await task();
    } finally {
      this.#next();
    }
  }

  #turn(key: Key, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const ofKey = this.#waiting.get(key) ?? new Set();
      this.#waiting.set(key, ofKey);
      const start = (): void => {
        settle();
        resolve();
      };
      const drop = (reason: unknown): void => {
        settle();
        ofKey.delete(start);
        if (ofKey.size === 0) this.#waiting.delete(key);
        reject(reason);
      };
      const hungUp = (): void => {
        drop(signal?.reason);
      };
      const timer = setTimeout(() => {
        drop(new ChatError('UNAVAILABLE', { detail: 'too many reads are waiting' }));
      }, this.#patienceMs);
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', hungUp);
      };
      ofKey.add(start);
      signal?.addEventListener('abort', hungUp, { once: true });
    });
  }

  /** Starts the next task in the place of one that has ended. */
  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined) {
      this.#free += 1;
      return;
    }
    const [key, ofKey] = first;
    const [start] = ofKey;
    this.#waiting.delete(key);
    if (start === undefined) throw new Error('a waiting key has no task');
    ofKey.delete(start);
    // Behind the other keys.
    if (ofKey.size > 0) this.#waiting.set(key, ofKey);
    start();
  }
}
