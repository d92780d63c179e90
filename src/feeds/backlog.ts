/**
 * Looking through 10,000 sockets takes a millisecond, too much after each write. In 50 ms only a few pages are added.
 */
const EXCESS_DELAY_MS = 50;

/** The unsent bytes of all sockets of a node. A room's frame is one buffer that many sockets share. */
export class Backlog {
  readonly #holders = new Map<Buffer, number>();
  readonly #maxBytes: number;
  readonly #onExcess: () => void;
  #bytes = 0;
  #isExcessReported = false;

  /**
   * @param onExcess called 50 ms after the backlog exceeded `maxBytes`; buffers that were sent meanwhile may still
   * count
   */
  constructor(maxBytes = Infinity, onExcess: () => void = () => undefined) {
    this.#maxBytes = maxBytes;
    this.#onExcess = onExcess;
  }

  /** Bytes of memory: a buffer that several sockets share is counted once. */
  get bytes(): number {
    return this.#bytes;
  }

  add(frames: Buffer): void {
    const holders = this.#holders.get(frames) ?? 0;
    if (holders === 0) this.#bytes += frames.length;
    this.#holders.set(frames, holders + 1);
    if (this.#bytes > this.#maxBytes) this.#reportExcess();
  }

  remove(frames: Buffer): void {
    const holders = this.#holders.get(frames) ?? 0;
    if (holders > 1) {
      this.#holders.set(frames, holders - 1);
    } else if (this.#holders.delete(frames)) {
      this.#bytes -= frames.length;
    }
  }

  #reportExcess(): void {
    if (this.#isExcessReported) return;
    this.#isExcessReported = true;
    setTimeout(() => {
      this.#isExcessReported = false;
      this.#onExcess();
    }, EXCESS_DELAY_MS).unref();
  }

  /** The share of each socket that a buffer waits for, in bytes. */
  shareOf(frames: Buffer): number {
    return frames.length / (this.#holders.get(frames) ?? 1);
  }
}

/** A session with unsent bytes. */
interface Holder {
  readonly writer: { readonly heldBytes: number; forgetSent(): void };
  close(reason: 'OVERLOAD'): void;
}

/**
 * Closes the sessions with the most unsent bytes until the backlog is within the limit.
 * @returns the number of closed sessions
 */
export function closeFullest(
  sessions: Iterable<Holder>,
  backlog: Backlog,
  maxBytes: number,
): number {
  for (const { writer } of sessions) writer.forgetSent();
  if (backlog.bytes <= maxBytes) return 0;
  const held = Array.from(sessions, (session) => ({ session, bytes: session.writer.heldBytes }));
  held.sort((a, b) => b.bytes - a.bytes);
  let closed = 0;
  for (const { session } of held) {
    if (backlog.bytes <= maxBytes) break;
    session.close('OVERLOAD');
    closed += 1;
  }
  return closed;
}
