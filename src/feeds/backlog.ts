/** To look through ten thousand sockets takes a millisecond: not after each write. Meanwhile a few pages come in. */
const EXCESS_DELAY_MS = 50;

/** What waits for all sockets of a node. Many buffers wait for several at once, as a room's frames do. */
export class Backlog {
  readonly #holders = new Map<Buffer, number>();
  readonly #maxBytes: number;
  readonly #onExcess: () => void;
  #bytes = 0;
  #isExcessTold = false;

  /** @param onExcess called soon once more than `maxBytes` wait, or seem to: what was sent meanwhile is not forgotten */
  constructor(maxBytes = Infinity, onExcess: () => void = () => undefined) {
    this.#maxBytes = maxBytes;
    this.#onExcess = onExcess;
  }

  /** Bytes of memory: a buffer is counted once, for however many it waits. */
  get bytes(): number {
    return this.#bytes;
  }

  add(frames: Buffer): void {
    const holders = this.#holders.get(frames) ?? 0;
    if (holders === 0) this.#bytes += frames.length;
    this.#holders.set(frames, holders + 1);
    if (this.#bytes > this.#maxBytes) this.#tellExcess();
  }

  remove(frames: Buffer): void {
    const holders = this.#holders.get(frames) ?? 0;
    if (holders > 1) {
      this.#holders.set(frames, holders - 1);
    } else if (this.#holders.delete(frames)) {
      this.#bytes -= frames.length;
    }
  }

  #tellExcess(): void {
    if (this.#isExcessTold) return;
    this.#isExcessTold = true;
    setTimeout(() => {
      this.#isExcessTold = false;
      this.#onExcess();
    }, EXCESS_DELAY_MS).unref();
  }

  /** What each of those that a buffer waits for holds of it, in bytes. */
  shareOf(frames: Buffer): number {
    return frames.length / (this.#holders.get(frames) ?? 1);
  }
}

/** A session, as far as its bytes are concerned. */
interface Holder {
  readonly writer: { readonly heldBytes: number; forgetSent(): void };
  close(reason: 'OVERLOAD'): void;
}

/**
 * Closes those that hold the most of the backlog, until what is left is within the limit.
 * @returns how many were closed
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
