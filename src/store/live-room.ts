import type { Caller } from '../access/permissions.js';
import type { ChatError } from '../errors.js';
import type { Entry } from './entry.js';

/**
 * What appending needs of a room that is live on this node: its rules as known here, and its feed of stored entries.
 */
export interface LiveRoom {
  readonly roomId: number;
  /** Seq of the last change of rights that `refusal` knows. */
  readonly rulesHead: number;
  /** Date of that entry, ISO 8601; null if the log has none. Another log may have another entry with its seq. */
  readonly rulesDate: string | null;
  /** Why the caller may not write; undefined if they may. Asked last, with nothing awaited before the batch is sent. */
  refusal(caller: Caller): ChatError | undefined;
  /**
   * Resolves when the room's newer rules are known.
   * @param isStale the log has said that there are some; if none are found, the log went back
   */
  refresh(isStale: boolean): Promise<void>;
  /**
   * Takes the stored entries of one batch, in the order of their seqs. Their senders are answered once the promise that
   * it returns resolves, or at once if it returns none.
   */
  stored(entries: readonly Entry[]): Promise<void> | void;
}
