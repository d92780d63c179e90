import type { Limits } from '../config/load.js';
import type { SocketWriter } from '../feeds/socket-writer.js';

type KeepaliveLimits = Pick<Limits, 'pingIntervalMs' | 'pongTimeoutMs' | 'sendTimeoutMs'>;

/**
 * Whether the peer of one socket still lives. A pong is an answer to a ping, and so are bytes that the peer takes: a
 * slow reader sees the ping behind everything before it. A peer that answers pings but takes no bytes for
 * SEND_TIMEOUT_MS is given up as well.
 */
export class Keepalive {
  readonly #writer: SocketWriter;
  readonly #limits: KeepaliveLimits;
  #pingedAt = performance.now();
  #answered = true;
  /** Bytes that the peer had taken at the last ping. */
  #takenAtPing = 0;

  /** Bytes that the peer had taken at `#tookAt`. */
  #taken = 0;
  /** When a sweep last saw progress, by `performance.now()`; undefined while no bytes wait for the peer. */
  #tookAt: number | undefined;

  constructor(writer: SocketWriter, limits: KeepaliveLimits) {
    this.#writer = writer;
    this.#limits = limits;
  }

  /** The peer has answered a ping. */
  pongReceived(): void {
    this.#answered = true;
  }

  /**
   * Sends a ping if one is due.
   * @param now by `performance.now()`
   * @param isUnread whether the socket is paused, so that a pong may wait unread
   * @returns false if the peer is dead
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
      // A paused socket can't bring the pong. It is no excuse if the socket is paused because the peer does not read.
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
