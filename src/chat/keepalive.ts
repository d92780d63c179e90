import type { Limits } from '../config/load.js';
import type { SocketWriter } from '../feeds/socket-writer.js';

type KeepaliveLimits = Pick<Limits, 'pingIntervalMs' | 'pongTimeoutMs' | 'sendTimeoutMs'>;

/**
 * Whether the peer of one socket still lives. It is asked by pings; the answer may also be that it goes on
 * reading: a slow reader has to get through what waits for it before it sees the ping. A peer that answers and does
 * not read is given up as well.
 */
export class Keepalive {
  readonly #writer: SocketWriter;
  readonly #limits: KeepaliveLimits;
  #pingedAt = performance.now();
  #answered = true;
  /** Bytes that the peer had taken when it was asked. */
  #takenAtPing = 0;

  /** Bytes that the peer had taken when it last took some. */
  #taken = 0;
  /** When that was seen; undefined while nothing waits for it. */
  #tookAt: number | undefined;

  constructor(writer: SocketWriter, limits: KeepaliveLimits) {
    this.#writer = writer;
    this.#limits = limits;
  }

  /** The peer answered a ping. */
  pongReceived(): void {
    this.#answered = true;
  }

  /**
   * Asks the peer when it is time to.
   * @param now by `performance.now()`
   * @param isUnread whether its frames are left unread at the moment, and its answer with them
   * @returns false once it is dead
   */
  check(now: number, isUnread: boolean): boolean {
    return this.#takes(now) && this.#answers(now, isUnread);
  }

  #takes(now: number): boolean {
    if (!this.#writer.isWaiting) {
      this.#tookAt = undefined;
      return true;
    }
    const taken = this.#writer.takenBytes;
    if (this.#tookAt !== undefined && taken === this.#taken) {
      return now - this.#tookAt < this.#limits.sendTimeoutMs;
    }
    this.#taken = taken;
    this.#tookAt = now;
    return true;
  }

  #answers(now: number, isUnread: boolean): boolean {
    const silence = now - this.#pingedAt;
    if (this.#answered) {
      if (silence >= this.#limits.pingIntervalMs) this.#ask(now);
    } else if (silence >= this.#limits.pongTimeoutMs) {
      const taken = this.#writer.takenBytes;
      // Where we don't read because it doesn't, silence is an answer.
      const isExcused = isUnread && !this.#writer.isFull;
      if (taken === this.#takenAtPing && !isExcused) return false;
      this.#takenAtPing = taken;
      this.#pingedAt = now;
    }
    return true;
  }

  #ask(now: number): void {
    this.#pingedAt = now;
    this.#answered = false;
    this.#writer.ping();
    this.#takenAtPing = this.#writer.takenBytes;
  }
}
