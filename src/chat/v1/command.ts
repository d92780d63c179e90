import type { Identity } from '../../access/token.js';
import type { CloseReason } from '../../protocol/close-codes.js';
import type { Commands, CommandType, Malformed } from '../../protocol/v1/commands.js';
import type { QueryWord, StatusDetails, StatusWord } from '../../protocol/v1/events.js';
import type { SessionContext } from '../context.js';
import type { MessagesInFlight } from '../messages-in-flight.js';
import type { Subscriptions } from '../subscriptions.js';

/** `greeting` until a token is accepted; `lobby` without a room; `room` with one. */
export type StateName = 'greeting' | 'lobby' | 'room';

/** A session, as its commands use it. */
export interface CommandSession {
  readonly context: SessionContext;
  /** Of the client, as its failed tokens are counted. */
  readonly address: string;
  /** Of a session that is ready. */
  readonly identity: Identity;
  readonly subscriptions: Subscriptions;
  readonly inFlight: MessagesInFlight;
  readonly isClosed: boolean;
  /** Whether the command has waited behind others for more than half of STORE_TIMEOUT_MS. */
  readonly isLate: boolean;
  /** Accepts a token: its rights hold from now on. */
  identify(identity: Identity): void;
  query(word: QueryWord): void;
  /** The pending frames of the room that it is about go out before it. */
  status(word: StatusWord, details?: StatusDetails): void;
  /** Answers with an error's row of the table in errors.ts. */
  fail(error: unknown, about?: Pick<StatusDetails, 'roomId' | 'ref'>): void;
  /** An answer to a client without a token: after AUTH_ATTEMPTS of them the server closes the socket. */
  refuse(word: 'TOKEN?' | 'BADAUTH', reason?: string): void;
  /** Closes the socket because of a limit, after which the client comes back. */
  overload(error: unknown): void;
  close(reason: CloseReason): void;
  /**
   * Work of a command that waits for the store.
   * @throws {ChatError} UNAVAILABLE from STORE_TIMEOUT_MS after the command came
   */
  withinDeadline<T>(work: () => Promise<T>): Promise<T>;
}

/** One answer to one command in one state. The next command is handled when the promise is settled, if there is one. */
export interface Handler<Type extends CommandType> {
  handle(session: CommandSession, command: Commands[Type]): Promise<void> | void;
  handleMalformed(session: CommandSession, malformed: Malformed<Type>): Promise<void> | void;
}

export type Handlers<Type extends CommandType> = Readonly<Record<StateName, Handler<Type>>>;

/** The same answer, whether the command is malformed or not. */
export function always(
  answer: (session: CommandSession) => Promise<void> | void,
): Handler<CommandType> {
  return { handle: answer, handleMalformed: answer };
}
