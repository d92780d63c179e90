import type { Limits } from '../config/load.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';

/** Sweeps in STORE_TIMEOUT_MS: a message is given up a tenth of that time late at most, without a timer of its own. */
const SWEEPS = 10;
/** The log has one line a minute about messages that were given up. */
const WARNING_INTERVAL_MS = 60_000;

/** A message until it is settled: stored, refused, or not known to be either. */
export interface UnsettledMessage {
  /** UTF-8 bytes of its content and data. */
  readonly bytes: number;
  /** Number of the last sweep before it was added. */
  sweptBefore: number;
  /** Its sender was answered with UNAVAILABLE: if it is not in flight yet, it is never sent. */
  isGivenUp: boolean;
  readonly reject: (error: ChatError) => void;
}

export type UnsettledLimits = Pick<Limits, 'storeTimeoutMs' | 'logQueueEntries' | 'logQueueBytes'>;

/**
 * The messages that were taken and are not settled yet. It bounds their number (LOG_QUEUE_ENTRIES), the bytes of their
 * content (LOG_QUEUE_BYTES), and the time in which a sender is answered: a message that is STORE_TIMEOUT_MS old is
 * given up, in flight or not. It counts for the other bounds until it is settled.
 */
export class UnsettledMessages {
  readonly #limits: UnsettledLimits;
  readonly #logger: Logger;
  #entries = 0;
  #bytes = 0;
  /** Messages whose senders were not answered, in the order of arrival. */
  readonly #unanswered = new Set<UnsettledMessage>();
  readonly #sweepTimer: NodeJS.Timeout;
  #sweeps = 0;
  /** Messages given up since the last warning. */
  #givenUp = 0;
  #warnedAt = -Infinity;

  constructor(limits: UnsettledLimits, logger: Logger) {
    this.#limits = limits;
    this.#logger = logger;
    this.#sweepTimer = setInterval(() => {
      this.#sweep();
    }, limits.storeTimeoutMs / SWEEPS).unref();
  }

  /** The number of messages, and the bytes of their content. */
  get size(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.#entries, bytes: this.#bytes };
  }

  /** Whether a message of this number of bytes may be added. */
  hasSpaceFor(bytes: number): boolean {
    const { logQueueEntries, logQueueBytes } = this.#limits;
    return this.#entries < logQueueEntries && this.#bytes + bytes <= logQueueBytes;
  }

  add(message: UnsettledMessage): void {
    this.#entries += 1;
    this.#bytes += message.bytes;
    message.sweptBefore = this.#sweeps;
    this.#unanswered.add(message);
  }

  /** Removes a message that is settled. */
  remove(message: UnsettledMessage): void {
    this.#unanswered.delete(message);
    this.#entries -= 1;
    this.#bytes -= message.bytes;
  }

  /** Gives up no more messages. */
  close(): void {
    clearInterval(this.#sweepTimer);
  }

  /** Answers messages whose time is over. They are settled later. */
  #sweep(): void {
    this.#sweeps += 1;
    for (const message of this.#unanswered) {
      // It arrived in the middle of a sweep's interval, which therefore does not count.
      if (this.#sweeps - message.sweptBefore <= SWEEPS) break;
      this.#unanswered.delete(message);
      message.isGivenUp = true;
      message.reject(
        new ChatError('UNAVAILABLE', { detail: 'the message could not be stored in time' }),
      );
      this.#givenUp += 1;
    }
    const now = performance.now();
    if (this.#givenUp === 0 || now - this.#warnedAt < WARNING_INTERVAL_MS) return;
    this.#logger.warn({ entries: this.#givenUp }, 'messages not stored in time');
    this.#warnedAt = now;
    this.#givenUp = 0;
  }
}
