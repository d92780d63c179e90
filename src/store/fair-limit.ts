import { ChatError } from '../errors.js';

/**
 * Runs so many tasks at a time. Of those that wait, each key's are taken in turn: a room or a caller with thousands of
 * them keeps the others waiting for one task each.
 */
export class FairLimit<Key> {
  readonly #patienceMs: number;
  #free: number;
  /** By key, in the order in which their turns come. */
  readonly #waiting = new Map<Key, Set<() => void>>();

  constructor(tasks: number, patienceMs: number) {
    this.#free = tasks;
    this.#patienceMs = patienceMs;
  }

  /**
   * Rejects with what the task rejects with, and if its turn does not come: with the signal's reason once that is
   * aborted, with UNAVAILABLE after the limit's patience.
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
        drop(new ChatError('UNAVAILABLE', { detail: 'too much waits to be read' }));
      }, this.#patienceMs);
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', hungUp);
      };
      ofKey.add(start);
      signal?.addEventListener('abort', hungUp, { once: true });
    });
  }

  /** Hands the place of a task that has ended to the next one. */
  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined) {
      this.#free += 1;
      return;
    }
    const [key, ofKey] = first;
    const [start] = ofKey;
    this.#waiting.delete(key);
    if (start === undefined) throw new Error('a key waits without a task');
    ofKey.delete(start);
    // Behind the others.
    if (ofKey.size > 0) this.#waiting.set(key, ofKey);
    start();
  }
}
