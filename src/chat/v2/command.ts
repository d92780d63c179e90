import type { Identity } from '../../access/token.js';
import type { Feed } from '../../feeds/feed.js';
import type { UserSession } from '../../feeds/user-sessions.js';
import type { CloseReason } from '../../protocol/close-codes.js';
import type { Hint } from '../../protocol/v2/commands.js';
import type { StatusDetails, StatusWord } from '../../protocol/v2/events.js';
import type { SessionContext } from '../context.js';
import type { MessagesInFlight } from '../messages-in-flight.js';
import type { Subscriptions } from '../subscriptions.js';
import type { CommandOrder } from './command-order.js';

/** What a client may find of its own in an answer. */
export type Origin = Pick<StatusDetails, 'ref' | 'roomId'>;

/** Where a session joins a room, and what it is told there. */
export interface JoinedPlace {
  /** Seq of the entry behind which it begins. */
  readonly from: number;
  readonly hints: ReadonlySet<Hint>;
  /** Seq at which the user's read marker is. */
  readonly read: number;
}

/** A session of version 2, as its commands use it. */
export interface CommandSession extends UserSession {
  readonly context: SessionContext;
  /** Of the client, as its failed tokens are counted. */
  readonly address: string;
  /** Of a session that is ready. */
  readonly identity: Identity;
  readonly isReady: boolean;
  readonly isClosed: boolean;
  readonly order: CommandOrder;
  readonly subscriptions: Subscriptions;
  readonly inFlight: MessagesInFlight;
  /** Accepts a token: its rights hold from now on. Answers READY. */
  accept(identity: Identity, ref: string | undefined): void;
  /** Joins a room, and answers CONNECTED. */
  connect(feed: Feed, place: JoinedPlace, ref: string | undefined): void;
  /**
   * The seq at which the user's read marker in a room is, also if it is moved meanwhile; 0 if they may not read the room.
   * @throws {ChatError} UNAVAILABLE
   */
  findMarker(roomId: number): Promise<{ read: number; horizon: number }>;
  /** Leaves a room; resolves when nothing of it is being read for the session. */
  leave(roomId: number): Promise<void> | undefined;
  /** The pending frames of the room that it is about go out before it. */
  status(word: StatusWord, details: StatusDetails): void;
  /** Answers with an error's row of the table in errors.ts. */
  fail(error: unknown, origin: Origin): void;
  /** Refuses a client without a token: after AUTH_ATTEMPTS of them the server closes the socket. */
  refuse(error: unknown, origin: Origin): void;
  close(reason: CloseReason): void;
  /**
   * Work of a command that waits for the store.
   * @param cameAt when the command came, by `performance.now()`
   * @throws {ChatError} UNAVAILABLE from STORE_TIMEOUT_MS after it came
   */
  withinDeadline<T>(cameAt: number, work: () => Promise<T>): Promise<T>;
}
