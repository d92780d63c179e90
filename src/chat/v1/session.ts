import type { ChatError } from '../../errors.js';
import { withDeadline } from '../../deadline.js';
import type { LossReason } from '../../feeds/subscribers.js';
import type { CommandType, Decoded } from '../../protocol/v1/commands.js';
import {
  encodeQuery,
  encodeStatus,
  type QueryWord,
  type StatusDetails,
  type StatusWord,
} from '../../protocol/v1/events.js';
import { Session } from '../session.js';
import type { CommandSession, StateName } from './command.js';
import { dispatch } from './dispatch.js';
import { authenticate } from './token.js';

/** A session of version 1: a state machine, whose commands are handled one after the other. */
export class SessionV1 extends Session implements CommandSession {
  readonly version = 1;
  /** When the command in hand came, by `performance.now()`; undefined: just now. */
  #cameAt: number | undefined;
  #isLate = false;

  get isLate(): boolean {
    return this.#isLate;
  }

  get #stateName(): StateName {
    if (!this.isReady) return 'greeting';
    return this.subscriptions.selected === undefined ? 'lobby' : 'room';
  }

  protected authenticate(token: string): Promise<void> | void {
    return authenticate(this, token);
  }

  /** Version 1 gets no new word. */
  closesAfter(): void {}

  roomLost(roomId: number, reason: LossReason): void {
    this.subscriptions.lost(roomId);
    this.status('NOTAUTHORIZED', { roomId, reason });
  }

  refuse(word: 'TOKEN?' | 'BADAUTH', reason?: string): void {
    if (word === 'BADAUTH') {
      this.status(word, { reason });
    } else {
      this.refused('UNAUTHORIZED');
      this.query(word);
    }
    this.countRefusal();
  }

  overload(error: unknown): void {
    this.known(error);
    this.close('OVERLOAD');
  }

  query(word: QueryWord): void {
    this.reply(word, encodeQuery(word), this.subscriptions.selected?.roomId);
  }

  status(word: StatusWord, details: StatusDetails = {}): void {
    if (word === 'BADAUTH') this.refused('UNAUTHORIZED');
    else if (word === 'INVALID') this.refused('INVALID');
    this.#answerStatus(word, details);
  }

  #answerStatus(word: StatusWord, details: StatusDetails): void {
    const { roomId = this.subscriptions.selected?.roomId } = details;
    this.reply(word, encodeStatus(word, details), roomId);
  }

  fail(error: unknown, about: Pick<StatusDetails, 'roomId' | 'ref'> = {}): void {
    const known = this.known(error);
    // Version 1 has a sentence for people, unless a client must tell the error from others of its word.
    const reason = known.code === 'REF_USED' ? known.code : known.detail;
    this.#answerStatus(oldWord(known.word), { ...about, seq: known.seq, reason });
    if (known.close !== undefined) this.close(known.close);
  }

  withinDeadline<T>(work: () => Promise<T>): Promise<T> {
    const now = performance.now();
    this.#cameAt ??= now;
    return withDeadline(this.#cameAt + this.context.limits.storeTimeoutMs - now, work);
  }

  protected answer(text: string | undefined, cameAt: number | undefined): Promise<void> | void {
    this.#setTime(cameAt);
    const { decode, debug } = this.context;
    const decoded = text === undefined ? ({ kind: 'not-json' } as const) : decode(text);
    debug?.(
      { session: this.id, room: this.subscriptions.selected?.roomId, ...summaryOf(decoded) },
      'command',
    );
    const turn = isCommand(decoded, 'message') ? this.#turn() : undefined;
    if (turn !== undefined) {
      return this.rest(turn).then(() => {
        this.#setTime(undefined);
        if (!this.isClosed) return dispatch(this, this.#stateName, decoded);
      });
    }
    // A message may follow others in flight; any other frame is answered behind their echoes.
    if (this.inFlight.size > 0 && !isMessage(decoded)) {
      this.#cameAt ??= performance.now();
      return this.inFlight.settled().then(() => {
        if (!this.isClosed) return dispatch(this, this.#stateName, decoded);
      });
    }
    return dispatch(this, this.#stateName, decoded);
  }

  /** When a message may be sent, if not now. What can't be sent anyway has no turn. */
  #turn(): Promise<void> | undefined {
    const { messageLimits } = this.context;
    const { selected } = this.subscriptions;
    if (messageLimits === undefined || selected === undefined) return undefined;
    const roomId = selected.permits(this.identity) ? selected.roomId : undefined;
    return messageLimits.turn(this.identity, roomId);
  }

  /**
   * A command has its time from when it came. If each had all of it once it is taken up, those behind slow ones would
   * be answered after many times as long.
   */
  #setTime(cameAt: number | undefined): void {
    this.#cameAt = cameAt;
    const { storeTimeoutMs } = this.context.limits;
    this.#isLate = cameAt !== undefined && performance.now() - cameAt > storeTimeoutMs / 2;
  }
}

/** The word of an error, of those that version 1 has. */
function oldWord(word: ChatError['word']): StatusWord {
  // Its messages wait for their turn instead.
  if (word === 'RATELIMITED') return 'UNAVAILABLE';
  // As of a message that can't be stored: a client neither sends it again nor leaves the room.
  return word === 'REJECTED' ? 'INVALID' : word;
}

/** What a frame asks for, without its content, and the room that it names: lines of a feed have the same. */
function summaryOf(decoded: Decoded): { command: string; room?: number } {
  if (decoded.kind === 'malformed') return { command: `malformed ${decoded.malformed.type}` };
  if (decoded.kind !== 'command') return { command: decoded.kind };
  const { command } = decoded;
  return { command: command.type, ...('roomId' in command && { room: command.roomId }) };
}

function isCommand(decoded: Decoded, type: CommandType): boolean {
  return decoded.kind === 'command' && decoded.command.type === type;
}

function isMessage(decoded: Decoded): boolean {
  if (isCommand(decoded, 'message')) return true;
  return decoded.kind === 'malformed' && decoded.malformed.type === 'message';
}
