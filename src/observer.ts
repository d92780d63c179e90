import type { ErrorCode } from './errors.js';
import type { CloseReason } from './protocol/close-codes.js';
import type { EntryKind } from './protocol/entry-kinds.js';
import type { Version } from './protocol/versions.js';

/** Why a session ended, for counting: any code that a client made up is `OTHER`. */
export type EndOfSession = CloseReason | 'CONNECTION_LOST' | 'OTHER';

/**
 * What became of a question to the hook before storing: it was answered in one of three ways, it failed, or it was not
 * asked because others had failed.
 */
export const HOOK_OUTCOMES = ['accepted', 'rejected', 'replaced', 'failed', 'skipped'] as const;

export type HookOutcome = (typeof HOOK_OUTCOMES)[number];

/**
 * Counts what happens on a node. Parts that have none (`observer?.`) measure nothing: without METRICS_PORT there is
 * none.
 */
export interface Observer {
  /** The database has answered for a batch of messages: how many it stored of them, and its time in milliseconds. */
  batchStored(entries: number, stored: number, ms: number): void;
  /** An entry was appended outside of the batches of messages. */
  appended(kind: EntryKind): void;
  /** A heartbeat of this node has come back through the broker. */
  heartbeatReturned(ms: number): void;
  /** All live sockets of a room were written the entry of this date, ISO 8601. */
  delivered(createdAt: string): void;
  /** A feed has read entries that it had missed. */
  gapRepaired(entries: number): void;
  /** The positions of the feeds were compared with the log; `behind` of them had missed entries. */
  headsCompared(behind: number): void;
  /** No peer has announced a head within the time that it takes. */
  headLost(): void;
  /** A socket has read too slowly to stay live. */
  fellBehind(): void;
  /** The hook before storing was asked, or was to be asked; its time in milliseconds. */
  hookAsked(outcome: HookOutcome, ms: number): void;
  /** An event was posted to WEBHOOK_URL, and taken or not, after `ms` milliseconds. */
  webhookPosted(outcome: 'taken' | 'refused', ms: number): void;
  /** An event was not taken for 24 hours: a hole. */
  webhookGivenUp(): void;
  /** A client was answered with an error. */
  refused(over: 'rest' | 'socket', reason: ErrorCode): void;
  sessionEnded(version: Version, reason: EndOfSession): void;
}
