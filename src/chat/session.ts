import type { WebSocket } from 'ws';
import type { Identity } from '../access/token.js';
import { withDeadline } from '../deadline.js';
import { ChatError, toChatError } from '../errors.js';
import type { SocketWriter } from '../feeds/socket-writer.js';
import type { LossReason, Subscriber } from '../feeds/subscribers.js';
import { CLOSE_CODES, type CloseReason } from '../protocol/close-codes.js';
import type { Decoded } from '../protocol/commands.js';
import {
  encodeQuery,
  encodeStatus,
  type QueryWord,
  type StatusDetails,
  type StatusWord,
} from '../protocol/events.js';
import type { CommandSession, StateName } from './commands/command.js';
import type { SessionContext } from './context.js';
import { dispatch } from './dispatch.js';
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

/** A session before and after its first valid token. */
type State =
  | {
      readonly name: 'greeting';
      /** Answers that count: TOKEN? and BADAUTH. */
      refusals: number;
    }
  | {
      readonly name: 'ready';
      readonly identity: Identity;
      /** When the token ends, by `performance.now()`, in whole milliseconds. */
      readonly tokenEndsAt: number;
      /** The same by the clock, in whole seconds. */
      readonly tokenEndsOn: number;
    };

/** One socket: its user, its deadlines, and the answers. Its commands are in commands/. */
export class Session implements CommandSession, Subscriber {
  /** Counts the sessions of this node; log lines have it. */
  readonly id: number;
  readonly context: SessionContext;
  readonly writer: SocketWriter;
  readonly subscriptions: Subscriptions = new Subscriptions(this);
  readonly inFlight = new MessagesInFlight();
  /** By `performance.now()`. */
  readonly openedAt = performance.now();
  readonly #socket: WebSocket;
  readonly #inbox: Inbox<Frame>;
  readonly #keepalive: Keepalive;
  #state: State = { name: 'greeting', refusals: 0 };
  /** When the command in hand came, by `performance.now()`; undefined: just now. */
  #cameAt: number | undefined;
  #isLate = false;
  /** When the writer last had room again after it was full, by `performance.now()`: that wait is the client's own. */
  #drainedAt = 0;
  #closeReason: CloseReason | undefined;

  constructor(id: number, socket: WebSocket, writer: SocketWriter, context: SessionContext) {
    this.id = id;
    this.#socket = socket;
    this.writer = writer;
    this.context = context;
    this.#keepalive = new Keepalive(writer, context.limits);
    this.#inbox = new Inbox<Frame>(socket, context.limits.inboxFrames, (frame) =>
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

  get isLate(): boolean {
    return this.#isLate;
  }

  get #stateName(): StateName {
    if (this.#state.name === 'greeting') return 'greeting';
    return this.subscriptions.selected === undefined ? 'lobby' : 'room';
  }

  /**
   * Reads no more frames; resolves when those before are stored or answered. A client that does not read its answers is
   * not waited for.
   */
  async quiesce(): Promise<void> {
    if (this.isClosed) return;
    const handled = this.#inbox.stop();
    if (this.writer.isFull) return;
    await handled;
    await this.inFlight.settled();
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
    }
    if (!this.#keepalive.check(now, this.#inbox.isPaused)) this.terminate();
  }

  roomLost(roomId: number, reason: LossReason): void {
    this.subscriptions.lost(roomId);
    this.status('NOTAUTHORIZED', { roomId, reason });
  }

  identify(identity: Identity): void {
    const { expiresAt = Infinity } = identity;
    this.#state = {
      name: 'ready',
      identity,
      // oxlint-disable-next-line no-restricted-properties -- the end of a token is a date
      tokenEndsAt: Math.ceil(performance.now() + expiresAt - Date.now()),
      tokenEndsOn: Math.ceil(expiresAt / 1000),
    };
  }

  refuse(word: 'TOKEN?' | 'BADAUTH', reason?: string): void {
    if (word === 'TOKEN?') this.query(word);
    else this.status(word, { reason });
    if (this.#state.name !== 'greeting') return;
    this.#state.refusals += 1;
    if (this.#state.refusals >= this.context.limits.authAttempts) this.close('TOKEN');
  }

  query(word: QueryWord): void {
    this.#reply(word, encodeQuery(word), this.subscriptions.selected?.roomId);
  }

  status(word: StatusWord, details: StatusDetails = {}): void {
    const { roomId = this.subscriptions.selected?.roomId } = details;
    this.#reply(word, encodeStatus(word, details), roomId);
  }

  fail(error: unknown, about: Pick<StatusDetails, 'roomId' | 'ref'> = {}): void {
    const known = this.#known(error);
    // Version 1 has a sentence for people, unless a client must tell the error from others of its word.
    const reason = known.code === 'REF_USED' ? known.code : known.detail;
    this.status(known.word, { ...about, seq: known.seq, reason });
    if (known.close !== undefined) this.close(known.close);
  }

  withinDeadline<T>(work: () => Promise<T>): Promise<T> {
    const now = performance.now();
    this.#cameAt ??= now;
    return withDeadline(this.#cameAt + this.context.limits.storeTimeoutMs - now, work);
  }

  /** Never throws or rejects: an error is answered, and logged if it is a fault of this server. */
  #handle(frame: Frame): Promise<void> | void {
    if (this.writer.isFull) {
      return this.writer.drained().then(() => {
        this.#drainedAt = performance.now();
        return this.#handle(frame);
      });
    }
    if (this.isClosed) return;
    this.#setTime(frame);
    try {
      const handled = this.#answer(frame);
      return handled?.catch((error: unknown) => {
        this.#failed(error);
      });
    } catch (error) {
      this.#failed(error);
    }
  }

  #answer({ data, isBinary }: Frame): Promise<void> | void {
    const { limits, decode, debug } = this.context;
    if (this.#state.name === 'greeting' && data.length > limits.frameBytesBeforeReady) {
      this.close('TOO_BIG');
      return;
    }
    const decoded = isBinary ? ({ kind: 'not-json' } as const) : decode(data.toString());
    debug?.(
      { session: this.id, room: this.subscriptions.selected?.roomId, ...summaryOf(decoded) },
      'command',
    );
    // A message may follow others in flight; any other frame is answered behind their echoes.
    if (this.inFlight.size > 0 && !isMessage(decoded)) {
      this.#cameAt ??= performance.now();
      return this.inFlight.settled().then(() => {
        if (!this.isClosed) return dispatch(this, this.#stateName, decoded);
      });
    }
    return dispatch(this, this.#stateName, decoded);
  }

  /**
   * A command has its time from when it came. If each had all of it once it is taken up, those behind slow ones would
   * be answered after many times as long.
   */
  #setTime({ at }: Frame): void {
    this.#cameAt = at === undefined ? undefined : Math.max(at, this.#drainedAt);
    const { storeTimeoutMs } = this.context.limits;
    this.#isLate =
      this.#cameAt !== undefined && performance.now() - this.#cameAt > storeTimeoutMs / 2;
  }

  /** The error for the client; any other error is logged. */
  #known(error: unknown): ChatError {
    if (error instanceof ChatError) return error;
    this.context.logger.error({ err: error, session: this.id }, 'command failed');
    return toChatError(error);
  }

  #failed(error: unknown): void {
    this.context.logger.error({ err: error, session: this.id }, 'session failed');
    this.close('INTERNAL');
  }

  /**
   * Flushes the pending frames of the room first, so that a sender sees its message before SENT. A subscriber that is
   * being caught up, or reads too slowly, has none.
   */
  #reply(word: QueryWord | StatusWord, text: string, roomId: number | undefined): void {
    if (roomId !== undefined) this.subscriptions.flush(roomId);
    this.writer.reply(text);
    this.context.debug?.({ session: this.id, word, room: roomId }, 'answer');
  }
}

/** What a frame asks for, without its content, and the room that it names: lines of a feed have the same. */
function summaryOf(decoded: Decoded): { command: string; room?: number } {
  if (decoded.kind === 'malformed') return { command: `malformed ${decoded.malformed.type}` };
  if (decoded.kind !== 'command') return { command: decoded.kind };
  const { command } = decoded;
  return { command: command.type, ...('roomId' in command && { room: command.roomId }) };
}

function isMessage(decoded: Decoded): boolean {
  if (decoded.kind === 'command') return decoded.command.type === 'message';
  return decoded.kind === 'malformed' && decoded.malformed.type === 'message';
}
