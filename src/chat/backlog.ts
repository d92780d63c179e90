import type { Session } from './session.js';

/** What waits for all sockets of a node. Many buffers wait for several at once, as a room's frames do. */
export class Backlog {
  readonly #holders = new Map<Buffer, number>();
  #bytes = 0;

  /** Bytes of memory: a buffer is counted once, for however many it waits. */
  get bytes(): number {
    return this.#bytes;
  }

  add(frames: Buffer): void {
    const holders = this.#holders.get(frames) ?? 0;
    if (holders === 0) this.#bytes += frames.length;
    this.#holders.set(frames, holders + 1);
  }

  remove(frames: Buffer): void {
    const holders = this.#holders.get(frames) ?? 0;
    if (holders > 1) {
      this.#holders.set(frames, holders - 1);
    } else if (this.#holders.delete(frames)) {
      this.#bytes -= frames.length;
    }
  }

  /** What each of those that a buffer waits for holds of it, in bytes. */
  shareOf(frames: Buffer): number {
    return frames.length / (this.#holders.get(frames) ?? 1);
  }
}

/**
 * Closes those that hold the most of the backlog, until what is left is within the limit.
 * @returns how many were closed
 */
export function closeFullest(
  sessions: Iterable<Pick<Session, 'outbox' | 'close'>>,
  backlog: Backlog,
  maxBytes: number,
): number {
  if (backlog.bytes <= maxBytes) return 0;
  const held = Array.from(sessions, (session) => ({ session, bytes: session.outbox.heldBytes }));
  held.sort((a, b) => b.bytes - a.bytes);
  let closed = 0;
  for (const { session } of held) {
    if (backlog.bytes <= maxBytes) break;
    session.close('OVERLOAD');
    closed += 1;
  }
  return closed;
}
