import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import {
  isCancelled,
  isConflictWithRecovery,
  isDeadlock,
  isLockTimeout,
  isUnavailable,
  mayLackDisk,
} from './pg-errors.js';

/**
 * An outage is over if something is answered and nothing has failed for this long: connections that still work may
 * answer in the middle of an outage. The default of STORE_TIMEOUT_MS, after which what hangs has failed.
 */
const OVER_MS = 5_000;

/**
 * The one place that makes UNAVAILABLE of errors of the database. Its beginning and its end are logged once an outage,
 * however many queries fail.
 */
export class Outage {
  readonly #logger: Logger;
  readonly #name: string;
  readonly #level: 'warn' | 'error';
  /** Undefined while the database answers; instants by `performance.now()`. */
  #current: { readonly since: number; failedAt: number; failures: number } | undefined;
  #mayLackDisk = false;

  /** @param of what does not answer: of a replica, the database itself takes the place */
  constructor(logger: Logger, of: 'database' | 'replica' = 'database') {
    this.#logger = logger;
    this.#name = of;
    this.#level = of === 'replica' ? 'warn' : 'error';
  }

  /** Whether the disk was full, or broken, and no `hasDisk` came since. */
  get mayLackDisk(): boolean {
    return this.#mayLackDisk;
  }

  /** Something was stored: the disk works. */
  hasDisk(): void {
    this.#mayLackDisk = false;
  }

  /** The database has answered a query. */
  answered(): void {
    if (this.#current === undefined) return;
    const { since, failedAt, failures } = this.#current;
    const now = performance.now();
    if (now - failedAt < OVER_MS) return;
    this.#current = undefined;
    this.#logger.info({ ms: Math.round(now - since), failures }, `${this.#name} available again`);
  }

  /**
   * A query has failed.
   * @returns UNAVAILABLE if the database did not answer, a lock was not free in time, or a statement took too long; any
   * other error as it is
   */
  failed(error: unknown): unknown {
    if (error instanceof ChatError) return error;
    if (isLockTimeout(error) || isDeadlock(error)) {
      return new ChatError('UNAVAILABLE', { detail: 'the room is locked', cause: error });
    }
    if (isCancelled(error) || isConflictWithRecovery(error)) {
      return new ChatError('UNAVAILABLE', { detail: 'the query took too long', cause: error });
    }
    if (!isUnavailable(error)) return error;
    const now = performance.now();
    if (this.#current === undefined) {
      this.#current = { since: now, failedAt: now, failures: 0 };
      this.#logger[this.#level]({ err: error }, `${this.#name} unavailable`);
    }
    this.#current.failedAt = now;
    this.#current.failures += 1;
    if (mayLackDisk(error)) this.#mayLackDisk = true;
    return new ChatError('UNAVAILABLE', { cause: error });
  }
}
