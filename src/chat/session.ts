import type { WebSocket } from 'ws';
import { enteringRule } from '../access/permissions.js';
import type { Identity, VerifyToken } from '../access/token.js';
import type { Actions } from '../actions/actions.js';
import type { Limits } from '../config/load.js';
import { withDeadline } from '../deadline.js';
import { ChatError, toChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import { CLOSE_CODES, type CloseReason } from '../protocol/close-codes.js';
import type { Command, Decoded } from '../protocol/commands.js';
import { encodeQuery, encodeStatus, type QueryWord, type StatusWord } from '../protocol/events.js';
import type { Log } from '../store/log.js';
import { HANDLERS, type Input, type State } from './handlers.js';
import type { Subscriber, LossReason } from '../feeds/subscribers.js';
import type { Feed } from '../feeds/feed.js';
import type { Hub } from '../feeds/hub.js';
import { Inbox } from './inbox.js';
import type { SocketWriter } from '../feeds/socket-writer.js';
import { Keepalive } from './keepalive.js';
import { WaitGroup } from './wait-group.js';

/** What all sessions of a node share. */
export interface SessionContext {
  readonly verify: VerifyToken;
  readonly decode: (frame: string) => Decoded;
  readonly hub: Hub;
  readonly log: Log;
  readonly actions: Actions;
  readonly limits: Limits;
  readonly logger: Logger;
}

interface Frame {
  readonly data: Buffer;
  readonly isBinary: boolean;
  /** When it came, by `performance.now()`, if it was not taken up at once. */
  readonly at: number | undefined;
}

/** One socket: its state, and what its commands do. */
export class Session implements Subscriber {
  readonly writer: SocketWriter;
  /** By `performance.now()`. */
  readonly openedAt = performance.now();
  readonly #socket: WebSocket;
  readonly #context: SessionContext;
  readonly #inbox: Inbox<Frame>;
  readonly #keepalive: Keepalive;
  /** Messages on their way into the log. */
  readonly #sending = new WaitGroup();
  #identity: Identity | undefined;
  /** When the time is over that the token had left, by `performance.now()`. */
  #tokenEndsAt = Infinity;
  /** The same by the clock, in seconds. Both are whole numbers, which V8 keeps within the object that a sweep reads. */
  #tokenEndsOn = Infinity;
  #feed: Feed | undefined;
  #refusals = 0;
  /** When the command that is being handled came, by `performance.now()`; undefined: just now. */
  #cameAt: number | undefined;
  /** Whether the command has waited behind others for more than half of its time. */
  #isLate = false;
  /** When the outbox last had room again after it was full, by `performance.now()`: that wait is the client's own. */
  #drainedAt = 0;
  #closeReason: CloseReason | undefined;

  constructor(socket: WebSocket, writer: SocketWriter, context: SessionContext) {
    this.#socket = socket;
    this.writer = writer;
    this.#context = context;
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
      this.#keepalive.beat();
    });
  }

  /** Who is there. Asked only of a session that is ready. */
  get identity(): Identity {
    if (this.#identity === undefined) throw new Error('the session is not authenticated');
    return this.#identity;
  }

  get userUUID(): string | undefined {
    return this.#identity?.userUUID;
  }

  get closeReason(): CloseReason | undefined {
    return this.#closeReason;
  }

  get #state(): State {
    if (this.#identity === undefined) return 'greeting';
    return this.#feed === undefined ? 'lobby' : 'room';
  }

  /**
   * Takes nothing more; resolves when what came before is stored or answered. Who does not read the answers is not
   * waited for.
   */
  async quiesce(): Promise<void> {
    if (this.#closeReason !== undefined) return;
    const handled = this.#inbox.stop();
    if (this.writer.isFull) return;
    await handled;
    await this.#sending.wait();
  }

  /** Sends what waits and closes; frames that are still in the inbox are dropped. */
  close(reason: CloseReason): void {
    if (this.#closeReason !== undefined) return;
    this.#closeReason = reason;
    void this.#leaveRoom();
    this.#inbox.clear();
    this.writer.end();
    this.#socket.close(CLOSE_CODES[reason].code, reason);
    // So that the peer's answer is seen.
    this.#socket.resume();
  }

  /** Ends the socket without a word. */
  terminate(): void {
    this.#socket.terminate();
  }

  /** The socket is gone, whoever closed it. Commands that had come before are still handled. */
  async ended(): Promise<void> {
    this.writer.end();
    await this.#inbox.idle();
    await this.#leaveRoom();
  }

  /**
   * The heartbeat's look at the session: deadlines, and whether the peer lives.
   * @param now by `performance.now()`
   * @param date by the clock, in seconds
   */
  sweep(now: number, date: number): void {
    if (this.#closeReason !== undefined) return;
    this.writer.forgetSent();
    const isLate = now - this.openedAt >= this.#context.limits.authTimeoutMs;
    if (this.#identity === undefined && isLate) this.close('TOO_LATE');
    else if (this.#isTokenOver(now, date)) this.close('TOKEN');
    else if (!this.#keepalive.check(now, this.#inbox.isPaused)) this.terminate();
  }

  roomLost(roomId: number, reason: LossReason): void {
    this.#feed = undefined;
    this.#status('NOTAUTHORIZED', { room_id: roomId, reason });
  }

  query(word: QueryWord): void {
    this.#reply(encodeQuery(word));
  }

  /** An answer that counts: after the third, the server hangs up. */
  refuse(word: 'TOKEN?' | 'BADAUTH', reason?: string): void {
    if (word === 'TOKEN?') this.query(word);
    else this.#status(word, { reason });
    this.#refusals += 1;
    if (this.#refusals >= this.#context.limits.authAttempts) this.close('TOKEN');
  }

  authenticate(input: Input): void {
    try {
      this.#identify(this.#verify(input));
      this.#status('READY');
    } catch (error) {
      this.refuse('BADAUTH', toChatError(error).detail);
    }
  }

  /** A token after READY: its rights from now on; a bad one changes nothing. */
  refresh(input: Input): void {
    let identity: Identity;
    try {
      identity = this.#verify(input);
    } catch (error) {
      this.#status('BADAUTH', { reason: toChatError(error).detail });
      return;
    }
    this.#identify(identity);
    this.#status('READY');
    this.#feed?.recheck(this);
  }

  async selectRoom(input: Input): Promise<void> {
    const wanted = 'problem' in input || input.type !== 'select_room' ? undefined : input;
    const { after } = wanted ?? {};
    const again = this.#feed !== undefined && this.#feed.roomId === wanted?.roomId;
    // The same room again keeps its place, unless another one is asked for.
    const reading = !again || after !== undefined ? this.#leaveRoom() : undefined;
    try {
      if (wanted === undefined) {
        // A room that can't be named can't be entered; another field is merely wrong.
        const isRoom = 'field' in input && input.field === 'room_id';
        throw new ChatError(isRoom ? 'NOT_FOUND' : 'INVALID', { detail: problemOf(input) });
      }
      const atOnce = reading === undefined ? this.#enterAtOnce(wanted.roomId, after) : undefined;
      const feed =
        atOnce ??
        (await this.#inTime(async () => {
          await reading;
          return this.#enter(wanted.roomId, after);
        }));
      // The socket may have closed, and a revocation may have come, while the room was opened.
      if (this.#closeReason !== undefined) return;
      if (this.#feed !== feed) feed.join(this, after);
      this.#feed = feed;
      this.#status('CONNECTED', { room_id: feed.roomId });
    } catch (error) {
      void this.#leaveRoom();
      this.#failedWith(error, { room_id: wanted?.roomId });
    }
  }

  /**
   * A message goes into the log's queue and the next command is handled: a client may have many on their
   * way, and they keep their order.
   */
  say(input: Input): Promise<void> | void {
    const feed = this.#feed;
    if (feed === undefined || 'problem' in input || input.type !== 'message') {
      const ref = 'ref' in input ? input.ref : undefined;
      return this.#sending.wait().then(() => {
        this.#status('INVALID', { room_id: feed?.roomId, reason: problemOf(input), ref });
      });
    }
    // Where this node knows of no right to write, one may have been granted a moment ago on another.
    if (!feed.permits(this.identity)) {
      return this.#inTime(() => feed.refresh()).then(
        () => {
          if (this.#closeReason === undefined) this.#append(feed, input, { inTime: true });
        },
        (error: unknown) => {
          this.#failedWith(error, { room_id: feed.roomId, ref: input.ref });
        },
      );
    }
    this.#append(feed, input, { inTime: this.#isLate });
    if (this.#sending.size >= this.#context.limits.inboxFrames) return this.#sending.wait();
  }

  /** @param options.inTime whether it has only what is left of the command's time, not that of the log */
  #append(
    feed: Feed,
    { content, ref }: Extract<Command, { type: 'message' }>,
    { inTime }: { inTime: boolean },
  ): void {
    const { identity } = this;
    const room_id = feed.roomId;
    const draft = {
      room_id,
      kind: 'message',
      emitter: identity.userUUID,
      content,
      ref: ref ?? null,
    } as const;
    const { log } = this.#context;
    this.#sending.add();
    const appended = inTime
      ? this.#inTime(() => log.append(feed, identity, draft))
      : log.append(feed, identity, draft);
    appended.then(
      ({ seq }) => {
        if (ref !== undefined) this.#status('SENT', { ref, room_id, seq });
        this.#sending.done();
      },
      (error: unknown) => {
        this.#failedWith(error, { room_id, ref });
        this.#sending.done();
      },
    );
  }

  /** Never throws or rejects: what goes wrong is answered, and logged where it is a fault of ours. */
  #handle(frame: Frame): Promise<void> | void {
    if (this.writer.isFull) {
      return this.writer.drained().then(() => {
        this.#drainedAt = performance.now();
        return this.#handle(frame);
      });
    }
    if (this.#closeReason !== undefined) return;
    this.#startWaiting(frame);
    try {
      const handled = this.#dispatch(frame);
      return handled?.catch((error: unknown) => {
        this.#failed(error);
      });
    } catch (error) {
      this.#failed(error);
    }
  }

  #dispatch({ data, isBinary }: Frame): Promise<void> | void {
    const { limits, decode } = this.#context;
    if (this.#identity === undefined && data.length > limits.frameBytesBeforeReady) {
      this.close('TOO_BIG');
      return;
    }
    const decoded = isBinary ? ({ kind: 'not-json' } as const) : decode(data.toString());
    const input = inputOf(decoded);
    // A message may follow others that are on their way; anything else comes after their echoes.
    if (this.#sending.size > 0 && input?.type !== 'message') {
      this.#cameAt ??= performance.now();
      return this.#sending.wait().then(() => this.#answer(decoded, input));
    }
    return this.#answer(decoded, input);
  }

  #answer(decoded: Decoded, input: Input | undefined): Promise<void> | void {
    if (this.#closeReason !== undefined) return;
    if (input !== undefined) return HANDLERS[this.#state][input.type](this, input);
    if (decoded.kind === 'not-json') {
      this.#failedWith(new ChatError('BAD_JSON'));
    } else if (this.#identity === undefined) {
      this.refuse('TOKEN?');
    } else {
      this.query('COMMAND?');
    }
  }

  #verify(input: Input): Identity {
    if ('problem' in input || input.type !== 'token') {
      throw new ChatError('UNAUTHORIZED', { detail: problemOf(input) });
    }
    return this.#context.verify(input.content);
  }

  /**
   * A command has its time from when it came. If each had all of it once it is taken up, those behind slow ones would
   * be answered after many times as long.
   */
  #startWaiting({ at }: Frame): void {
    this.#cameAt = at === undefined ? undefined : Math.max(at, this.#drainedAt);
    const { storeTimeoutMs } = this.#context.limits;
    this.#isLate =
      this.#cameAt !== undefined && performance.now() - this.#cameAt > storeTimeoutMs / 2;
  }

  /** What a command waits for. */
  #inTime<T>(work: () => Promise<T>): Promise<T> {
    const now = performance.now();
    this.#cameAt ??= now;
    return withDeadline(this.#cameAt + this.#context.limits.storeTimeoutMs - now, work);
  }

  #identify(identity: Identity): void {
    this.#identity = identity;
    const { expiresAt = Infinity } = identity;
    // oxlint-disable-next-line no-restricted-properties -- the end of a token is a date
    this.#tokenEndsAt = Math.ceil(performance.now() + expiresAt - Date.now());
    this.#tokenEndsOn = Math.ceil(expiresAt / 1000);
  }

  /**
   * Its end is a date, which a clock that is set back must not put off, and a process that was suspended must not miss:
   * whichever comes first.
   */
  #isTokenOver(now: number, date: number): boolean {
    return now >= this.#tokenEndsAt || date >= this.#tokenEndsOn;
  }

  /** The room's feed, if nothing has to be read or written for that. */
  #enterAtOnce(roomId: number, after = 0): Feed | undefined {
    const feed = this.#context.hub.active(roomId);
    if (feed === undefined || after > feed.position) return undefined;
    return enteringRule(this.identity, feed.access)?.accepted === true ? feed : undefined;
  }

  /** The room's feed, once the caller's rule there is accepted. */
  async #enter(roomId: number, after = 0): Promise<Feed> {
    const { hub, actions } = this.#context;
    const feed = await hub.enter(roomId);
    if (feed === undefined) throw new ChatError('NOT_FOUND');
    // This node may not have heard yet of a right that another one granted, or of the entry that the client
    // has had from another one.
    const isAhead = enteringRule(this.identity, feed.access) === undefined || after > feed.position;
    if (isAhead) await feed.refresh();
    const rule = enteringRule(this.identity, feed.access);
    if (rule === undefined) throw new ChatError('FORBIDDEN');
    // Entering is consent.
    if (!rule.accepted) await actions.members.accept(this.identity, roomId, rule);
    // The feed may have been closed meanwhile.
    const entered = await hub.enter(roomId);
    if (entered === undefined) throw new ChatError('NOT_FOUND');
    return entered;
  }

  /** Answers an error by its row of the table. */
  #failedWith(
    error: unknown,
    about: { room_id?: number | undefined; ref?: string | undefined } = {},
  ): void {
    const known = this.#known(error);
    // Version 1 has a sentence for people, unless a client must tell the error from others of its word.
    const reason = known.code === 'REF_USED' ? known.code : known.detail;
    this.#status(known.word, { ...about, seq: known.seq, reason });
    if (known.close !== undefined) this.close(known.close);
  }

  /** The error for the client; what isn't meant for it is logged. */
  #known(error: unknown): ChatError {
    if (error instanceof ChatError) return error;
    this.#context.logger.error({ err: error }, 'a command failed');
    return toChatError(error);
  }

  #failed(error: unknown): void {
    this.#context.logger.error({ err: error }, 'a session failed');
    this.close('INTERNAL');
  }

  /** Resolves when nothing of the room is read for this session any more: one page at a time, whatever it asks. */
  #leaveRoom(): Promise<void> | undefined {
    const reading = this.#feed?.leave(this);
    this.#feed = undefined;
    return reading;
  }

  #status(word: StatusWord, details?: Readonly<Record<string, unknown>>): void {
    this.#reply(encodeStatus(word, details));
  }

  /**
   * An echo comes before the word that it is stored, and everything in the order in which it came about; not so for who
   * is being paged up, or reads too slowly.
   */
  #reply(text: string): void {
    this.#feed?.flushTo(this);
    this.writer.reply(text);
  }
}

function inputOf(decoded: Decoded): Input | undefined {
  if (decoded.kind === 'command') return decoded.command;
  return decoded.kind === 'malformed' ? decoded.malformed : undefined;
}

function problemOf(input: Input): string {
  return 'problem' in input ? input.problem : `${input.type} is not expected here`;
}
