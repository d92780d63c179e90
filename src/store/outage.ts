import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import { isLockTimeout, isUnavailable, mayLackDisk } from './pg-errors.js';

/** For how long nothing may have failed before an outage is over: one connection of many may still answer. */
const OVER_MS = 5_000;

/**
 * Whether the database answers, as all that ask it find out: makes UNAVAILABLE of their errors, and tells the log of an
 * outage once, and once of its end, however much has failed meanwhile.
 */
export class Outage {
  readonly #logger: Logger;
  /** Undefined while there is none; instants by `performance.now()`. */
  #current: { readonly since: number; failedAt: number; failures: number } | undefined;
  #mayLackDisk = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Whether there was no room on the disk for something, and nobody has found out that there is again. */
  get mayLackDisk(): boolean {
    return this.#mayLackDisk;
  }

  /** There is room on the disk. */
  hasDisk(): void {
    this.#mayLackDisk = false;
  }

  /** Something was answered. */
  answered(): void {
    if (this.#current === undefined) return;
    const { since, failedAt, failures } = this.#current;
    const now = performance.now();
    if (now - failedAt < OVER_MS) return;
    this.#current = undefined;
    this.#logger.info({ ms: Math.round(now - since), failures }, 'database available again');
  }

  /** Something failed: with UNAVAILABLE if the database did not answer or something else holds a lock, else as it is. */
  failed(error: unknown): unknown {
    if (error instanceof ChatError) return error;
    if (isLockTimeout(error)) {
      return new ChatError('UNAVAILABLE', { detail: 'the room is locked', cause: error });
    }
    if (!isUnavailable(error)) return error;
    const now = performance.now();
    if (this.#current === undefined) {
      this.#current = { since: now, failedAt: now, failures: 0 };
      this.#logger.error({ err: error }, 'database unavailable');
    }
    this.#current.failedAt = now;
    this.#current.failures += 1;
    if (mayLackDisk(error)) this.#mayLackDisk = true;
    return new ChatError('UNAVAILABLE', { cause: error });
  }
}
