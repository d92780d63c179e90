import type { Session } from './session.js';

/** What is asked of a session here. */
export type Recipient = Pick<Session, 'outbox' | 'close'>;

/**
 * Closes those that hold the most of the memory that waits to be read, until what is left is within the limit. Many
 * buffers wait for several sockets at once, as a room's frames do: each is counted once, and divided among its holders.
 * @returns how many were closed
 */
export function closeFullest(recipients: Iterable<Recipient>, maxBytes: number): number {
  const holders = new Map<Buffer, number>();
  let bytes = 0;
  const full = Array.from(recipients, (recipient) => {
    const unsent = recipient.outbox.unsent();
    for (const frames of unsent) {
      const others = holders.get(frames) ?? 0;
      if (others === 0) bytes += frames.length;
      holders.set(frames, others + 1);
    }
    return { recipient, unsent, share: 0 };
  });
  if (bytes <= maxBytes) return 0;
  for (const each of full) {
    for (const frames of each.unsent) each.share += frames.length / (holders.get(frames) ?? 1);
  }
  full.sort((a, b) => b.share - a.share);
  let closed = 0;
  for (const { recipient, unsent } of full) {
    if (bytes <= maxBytes) break;
    for (const frames of unsent) {
      const others = (holders.get(frames) ?? 1) - 1;
      if (others === 0) bytes -= frames.length;
      holders.set(frames, others);
    }
    recipient.close('OVERLOAD');
    closed += 1;
  }
  return closed;
}
