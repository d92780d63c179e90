import type { WebSocket } from 'ws';
import type { Identity } from '../access/token.js';
import { ChatError, toChatError, type ErrorCode } from '../errors.js';
import type { SocketWriter } from '../feeds/socket-writer.js';
import type { LossReason, Subscriber } from '../feeds/subscribers.js';
import type { SocketPlace } from '../limits/socket-limits.js';
import { CLOSE_CODES, type CloseReason } from '../protocol/close-codes.js';
import type { Version } from '../protocol/versions.js';
import type { SessionContext } from './context.js';
import { Inbox } from './inbox.js';
import { Keepalive } from './keepalive.js';
import { MessagesInFlight } from './messages-in-flight.js';
import { Subscriptions } from './subscriptions.js';

interface Frame {
  readonly data: Buffer;
  readonly isBinary: boolean;
  /** When it came, by `performance.now()`, if it was not handled at once. */
  readonly at: number | undefined;
}

/** The token of an upgrade's header. */
interface HeaderToken {
  readonly token: string;
}

/**
 * A client is warned so long before its token ends, or when a quarter of the time is left: enough to fetch another one, and
 * less than the client library leaves, which does so by itself.
 */
const WARNED_BEFORE_MS = 30_000;

/** Who opened a socket, before a token says it. */
interface SessionClient {
  /** A number of this node's. */
  readonly id: number;
  readonly address: string;
  /** Undefined if sockets are not limited. */
  readonly place: SocketPlace | undefined;
}

/** A session before and after its first valid token. */
type State =
  | {
      readonly name: 'greeting';
      /** Answers to a client without a token. */
      refusals: number;
    }
  | {
      readonly name: 'ready';
      readonly identity: Identity;
      /** When the token ends, by `performance.now()`, in whole milliseconds. */
      readonly tokenEndsAt: number;
      /** The same by the clock, in whole seconds. */
      readonly tokenEndsOn: number;
      /** When the client is warned of it, by `performance.now()`; Infinity: it has been. */
      warnsAt: number;
    };

/** One socket: its user, its deadlines, and its end. What its frames mean is for a class of each protocol version. */
export abstract class Session implements Subscriber {
  /** Counts the sessions of this node; log lines have it. */
  readonly id: number;
  readonly address: string;
  abstract readonly version: Version;
  readonly context: SessionContext;
  readonly writer: SocketWriter;
  readonly subscriptions: Subscriptions = new Subscriptions(this);
  readonly inFlight = new MessagesInFlight();
  /** By `performance.now()`. */
  readonly openedAt = performance.now();
  readonly #socket: WebSocket;
  readonly #place: SocketPlace | undefined;
  readonly #inbox: Inbox<Frame | HeaderToken>;
  readonly #keepalive: Keepalive;
  #state: State = { name: 'greeting', refusals: 0 };
  /**
   * When frames were last handled again after the writer was full, or after a rest, by `performance.now()`: that wait is the
   * client's own.
   */
  #resumedAt = 0;
  #closeReason: CloseReason | undefined;

  constructor(
    { id, address, place }: SessionClient,
    socket: WebSocket,
    writer: SocketWriter,
    context: SessionContext,
  ) {
    this.id = id;
    this.address = address;
    this.#place = place;
    this.#socket = socket;
    this.writer = writer;
    this.context = context;
    this.#keepalive = new Keepalive(writer, context.limits);
    this.#inbox = new Inbox<Frame | HeaderToken>(socket, context.limits.inboxFrames, (frame) =>
      this.#handle(frame),
    );
    socket.on('message', (data: Buffer, isBinary) => {
      if (this.#closeReason === undefined) {
        const at = this.#inbox.isBusy ? performance.now() : undefined;
        this.#inbox.push({ data, isBinary, at });
      }
    });
    socket.on('ping', (payload: Buffer) => {
      this.writer.pong(payload);
    });
    socket.on('pong', () => {
      this.#keepalive.pongReceived();
    });
  }

  get identity(): Identity {
    if (this.#state.name === 'greeting') throw new Error('the session is not authenticated');
    return this.#state.identity;
  }

  get userUUID(): string | undefined {
    return this.#state.name === 'ready' ? this.#state.identity.userUUID : undefined;
  }

  get closeReason(): CloseReason | undefined {
    return this.#closeReason;
  }

  get isClosed(): boolean {
    return this.#closeReason !== undefined;
  }

  /** Whether a token was accepted. */
  get isReady(): boolean {
    return this.#state.name === 'ready';
  }

  /** Takes a token that came with the upgrade, before any frame. */
  begin(token: string): void {
    this.#inbox.push({ token });
  }

  protected abstract authenticate(token: string): Promise<void> | void;

  /** Tells the client when this server, which goes down, closes the socket, if the version has a word for that. */
  abstract closesAfter(ms: number): void;

  abstract roomLost(roomId: number, reason: LossReason): void;

  /**
   * Answers a frame; the next one is handled when the promise is settled, if there is one.
   * @param text undefined if the frame is binary
   * @param cameAt when it came, by `performance.now()`; undefined: just now
   */
  protected abstract answer(
    text: string | undefined,
    cameAt: number | undefined,
  ): Promise<void> | void;

  /**
   * Reads no more frames; resolves when those before are stored or answered. A client that does not read its answers is
   * not waited for.
   */
  async quiesce(): Promise<void> {
    if (this.isClosed) return;
    const handled = this.#inbox.stop();
    if (this.writer.isFull) return;
    await handled;
    await this.settled();
  }

  /** Sends the answers that wait and closes; frames that are still in the inbox are dropped. */
  close(reason: CloseReason): void {
    if (this.#closeReason !== undefined) return;
    this.#closeReason = reason;
    void this.subscriptions.leaveAll();
    this.#inbox.clear();
    this.writer.end();
    this.#socket.close(CLOSE_CODES[reason].code, reason);
    // So that the peer's close frame is read.
    this.#socket.resume();
  }

  /** Cuts the connection without a close frame. */
  terminate(): void {
    this.#socket.terminate();
  }

  /** The socket is gone, whichever side closed it. Commands that came before are still handled. */
  async ended(): Promise<void> {
    this.writer.end();
    await this.#inbox.idle();
    await this.settled();
    await this.subscriptions.leaveAll();
  }

  /**
   * Checks the session's deadlines, and whether its peer still answers.
   * @param now by `performance.now()`
   * @param date by the clock, in seconds
   */
  sweep(now: number, date: number): void {
    if (this.#closeReason !== undefined) return;
    this.writer.forgetSent();
    if (this.#state.name === 'greeting') {
      if (now - this.openedAt >= this.context.limits.authTimeoutMs) return this.close('TOO_LATE');
    } else if (now >= this.#state.tokenEndsAt || date >= this.#state.tokenEndsOn) {
      // The end is a date. A clock that is set back must not put it off, and a process that was suspended must not miss
      // it: the earlier one of both counts.
      return this.close('TOKEN');
    } else if (now >= this.#state.warnsAt) {
      this.#state.warnsAt = Infinity;
      this.tokenExpiring();
    }
    if (!this.#keepalive.check(now, this.#inbox.isPaused)) this.terminate();
  }

  /** Milliseconds until the token ends; undefined: it never does. */
  get tokenEndsInMs(): number | undefined {
    if (this.#state.name === 'greeting' || this.#state.tokenEndsAt === Infinity) return undefined;
    return Math.max(0, Math.floor(this.#state.tokenEndsAt - performance.now()));
  }

  identify(identity: Identity): void {
    const { expiresAt = Infinity } = identity;
    // oxlint-disable-next-line no-restricted-properties -- the end of a token is a date
    const leftMs = expiresAt - Date.now();
    const tokenEndsAt = Math.ceil(performance.now() + leftMs);
    this.#state = {
      name: 'ready',
      identity,
      tokenEndsAt,
      tokenEndsOn: Math.ceil(expiresAt / 1000),
      warnsAt: tokenEndsAt - Math.min(WARNED_BEFORE_MS, leftMs / 4),
    };
    if (this.#place?.identify(identity) === false) this.close('OVERLOAD');
  }

  /** The token ends soon. Version 1 has no word for it. */
  protected tokenExpiring(): void {
    return undefined;
  }

  /** Resolves when the commands that were taken up are stored or answered. */
  protected settled(): Promise<void> {
    return this.inFlight.settled();
  }

  /** Counts an answer to a client without a token: AUTH_ATTEMPTS of them close the socket. */
  protected countRefusal(): void {
    if (this.#state.name !== 'greeting') return;
    this.#state.refusals += 1;
    if (this.#state.refusals >= this.context.limits.authAttempts) this.close('TOKEN');
  }

  /** Does not read the socket until then, because of a limit. For `answer`, whose promise keeps other frames waiting. */
  protected async rest(until: Promise<void>): Promise<void> {
    this.#inbox.pause();
    await until;
    this.#resumedAt = performance.now();
  }

  /** The error for the client, which is counted; any other error is logged. */
  protected known(error: unknown): ChatError {
    const known = toChatError(error);
    if (known !== error) {
      this.context.logger.error({ err: error, session: this.id }, 'command failed');
    }
    this.refused(known.code);
    return known;
  }

  /** Counts a refusal for the operator. */
  protected refused(reason: ErrorCode): void {
    this.context.observer?.refused('socket', reason);
  }

  /**
   * Queues an answer. Flushes the pending frames of the room that it is about first, so that a sender sees its message
   * before SENT. A subscriber that is being caught up, or reads too slowly, has none.
   */
  protected reply(word: string, text: string, roomId: number | undefined): void {
    if (roomId !== undefined) this.subscriptions.flush(roomId);
    this.writer.reply(text);
    this.context.debug?.({ session: this.id, word, room: roomId }, 'answer');
  }

  /** Never throws or rejects: an error is answered, and logged if it is a fault of this server. */
  #handle(frame: Frame | HeaderToken): Promise<void> | void {
    if (this.writer.isFull) {
      return this.writer.drained().then(() => {
        this.#resumedAt = performance.now();
        return this.#handle(frame);
      });
    }
    if (this.isClosed) return;
    try {
      const answering = 'token' in frame ? this.authenticate(frame.token) : this.#answer(frame);
      return answering?.catch((error: unknown) => {
        this.#failed(error);
      });
    } catch (error) {
      this.#failed(error);
    }
  }

  #answer({ data, isBinary, at }: Frame): Promise<void> | void {
    const isTooBig = data.length > this.context.limits.frameBytesBeforeReady;
    if (this.#state.name === 'greeting' && isTooBig) {
      this.close('TOO_BIG');
      return;
    }
    const cameAt = at === undefined ? undefined : Math.max(at, this.#resumedAt);
    return this.answer(isBinary ? undefined : data.toString(), cameAt);
  }

  #failed(error: unknown): void {
    this.context.logger.error({ err: error, session: this.id }, 'session failed');
    this.close('INTERNAL');
  }
}
