import { permissionsOf, type RoomAccess } from '../../access/permissions.js';
import type { Identity } from '../../access/token.js';
import { withDeadline } from '../../deadline.js';
import { ChatError } from '../../errors.js';
import type { Feed } from '../../feeds/feed.js';
import type { LossReason } from '../../feeds/subscribers.js';
import type { Decoded } from '../../protocol/v2/commands.js';
import {
  encodeAccess,
  encodeStatus,
  type StatusDetails,
  type StatusWord,
} from '../../protocol/v2/events.js';
import { Session } from '../session.js';
import type { CommandSession, JoinedPlace, Origin } from './command.js';
import { CommandOrder } from './command-order.js';
import { dispatch } from './dispatch.js';
import { FloodGuard } from './flood-guard.js';
import { authenticate } from './token.js';

/** A session of version 2: many rooms, each with commands of its own. */
export class SessionV2 extends Session implements CommandSession {
  readonly version = 2;
  // A join may have all its rooms wait, behind a token.
  readonly order = new CommandOrder(
    this.inFlight,
    this.context.limits.inboxFrames + this.context.limits.roomsPerSocket,
    this.context.limits.storeTimeoutMs,
  );
  /** Undefined until a command is refused as RATELIMITED. */
  #flood: FloodGuard | undefined;
  /** While the socket is not read because of a flood. */
  #pause: Promise<void> | undefined;
  /** By joined room, the session's permissions as it was last told. */
  readonly #permissions = new Map<number, string>();
  /** By room whose marker is being looked up, where it was moved meanwhile. */
  readonly #movedMarkers = new Map<number, number | undefined>();

  protected authenticate(content: string): Promise<void> | void {
    return authenticate(this, { content });
  }

  accept(identity: Identity, ref: string | undefined): void {
    this.identify(identity);
    this.context.hub.userSessions.add(this);
    const { contentCharacters, dataBytes, frameBytes, roomsPerSocket } = this.context.limits;
    this.status('READY', {
      ref,
      userUUID: identity.userUUID,
      entityUUID: identity.entityUUID,
      expiresInMs: this.tokenEndsInMs,
      limits: {
        content: contentCharacters,
        data: dataBytes,
        frame: frameBytes,
        rooms: roomsPerSocket,
      },
    });
  }

  connect(feed: Feed, { from, hints, read }: JoinedPlace, ref: string | undefined): void {
    const { roomId, uuid, position: head } = feed;
    // A join by the room's uuid may have come first, which has an order of its own.
    void this.leave(roomId);
    this.subscriptions.join(feed, from, hints);
    const permissions = permissionsOf(this.identity, feed.access);
    this.#permissions.set(roomId, permissions);
    const { epoch } = this.context.hub;
    this.status('CONNECTED', { ref, roomId, uuid, head, epoch, from, permissions, read });
  }

  async findMarker(roomId: number): Promise<{ read: number; horizon: number }> {
    this.#movedMarkers.set(roomId, undefined);
    try {
      const found = await this.context.actions.readMarkers.find(this.identity, roomId);
      return { ...found, read: this.#movedMarkers.get(roomId) ?? found.read };
    } finally {
      this.#movedMarkers.delete(roomId);
    }
  }

  markerMoved(roomId: number, upto: number): void {
    if (this.#movedMarkers.has(roomId)) this.#movedMarkers.set(roomId, upto);
  }

  leave(roomId: number): Promise<void> | undefined {
    this.#permissions.delete(roomId);
    return this.subscriptions.leave(roomId);
  }

  closesAfter(ms: number): void {
    if (!this.isClosed) this.status('DRAIN', { retryAfterMs: ms });
  }

  roomLost(roomId: number, reason: LossReason): void {
    this.#permissions.delete(roomId);
    this.subscriptions.lost(roomId);
    // All rooms are lost at once, and all numbers: the client comes back as if the server had started anew.
    if (reason === 'LOG_RESET') this.close('RESTART');
    else this.reply('access', encodeAccess(roomId, '', reason), undefined);
  }

  accessChanged(roomId: number, access: RoomAccess): void {
    const permissions = permissionsOf(this.identity, access);
    if (this.#permissions.get(roomId) === permissions) return;
    this.#permissions.set(roomId, permissions);
    this.reply('access', encodeAccess(roomId, permissions), roomId);
  }

  override async ended(): Promise<void> {
    await super.ended();
    this.context.hub.userSessions.remove(this);
  }

  status(word: StatusWord, details: StatusDetails): void {
    const { roomId } = details;
    const text = encodeStatus(word, details);
    this.reply(word, text, typeof roomId === 'number' ? roomId : undefined);
  }

  fail(error: unknown, { ref, roomId }: Origin): void {
    const { status, word, code, detail, seq, retryAfterMs } = this.known(error);
    const details = { ref, roomId, seq, reason: code, detail, retryAfterMs };
    // Version 1 does not tell what is not there from what may not be seen.
    this.status(status === 404 ? 'NOTFOUND' : word, details);
    if (retryAfterMs !== undefined) this.#rateLimited(retryAfterMs);
  }

  refuse(error: unknown, origin: Origin): void {
    this.fail(error, origin);
    // The token was not looked at.
    const isLimited = error instanceof ChatError && error.code === 'RATELIMITED';
    if (!isLimited) this.countRefusal();
  }

  withinDeadline<T>(cameAt: number, work: () => Promise<T>): Promise<T> {
    return withDeadline(cameAt + this.context.limits.storeTimeoutMs - performance.now(), work);
  }

  /** A command never keeps the frames behind it from being read; those that must wait are bounded by their order. */
  protected answer(text: string | undefined, cameAt: number | undefined): Promise<void> | void {
    if (this.#pause !== undefined) {
      return this.rest(this.#pause).then(() => {
        if (!this.isClosed) return this.answer(text, undefined);
      });
    }
    const { decodeV2: decode, debug } = this.context;
    const decoded = text === undefined ? ({ kind: 'not-json' } as const) : decode(text);
    debug?.({ session: this.id, ...summaryOf(decoded) }, 'command');
    const working = dispatch(this, decoded, cameAt ?? performance.now());
    if (working !== undefined) return working;
    if (this.#pause !== undefined) return this.rest(this.#pause);
    // Verifying a token takes as long as decoding many messages: other sockets get a turn.
    const isToken = decoded.kind === 'command' && decoded.command.type === 'token';
    return isToken ? Promise.resolve() : undefined;
  }

  #rateLimited(retryAfterMs: number): void {
    this.#flood ??= new FloodGuard();
    const measure = this.#flood.refused(retryAfterMs, performance.now());
    if (measure === 'close') this.close('TOO_FAST');
    if (measure === undefined || measure === 'close') return;
    this.#pause = this.context.messageLimits?.pause(measure.pauseMs).then(() => {
      this.#pause = undefined;
    });
  }

  protected override tokenExpiring(): void {
    this.status('EXPIRING', { expiresInMs: this.tokenEndsInMs });
  }

  protected override settled(): Promise<void> {
    return this.order.idle();
  }
}

/** What a frame asks for, without its content. */
function summaryOf(decoded: Decoded): { command: string; room?: number | undefined } {
  if (decoded.kind === 'malformed') return { command: `malformed ${decoded.type}` };
  if (decoded.kind !== 'command') return { command: decoded.kind };
  const { command } = decoded;
  return { command: command.type, ...('roomId' in command && { room: command.roomId }) };
}
