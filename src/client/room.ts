import { Emitter } from './events.js';
import { ChatError } from './errors.js';
import type { Outbox, Pending } from './outbox.js';
import { RoomState, type Message } from './room-state.js';
import type { UnsentCommand } from './storage.js';
import type { Answer, Entry, Hint, Json, MessageRow, Status } from './wire.js';

/**
 * `idle`: nobody looks at it. `joining`: until the server has let the client in, again after each reconnect. `closed`: by
 * the server, or with the client; `closed` has the reason.
 */
export type RoomPhase = 'idle' | 'joining' | 'joined' | 'closed';

export interface RoomEvents extends Record<string, readonly unknown[]> {
  /** Something that can be seen has changed. */
  change: [];
  /** Somebody has sent a message; it is not told of those of pages. */
  message: [message: Message];
  /** An entry of the room's log, as the server sent it: each once, in order. */
  entry: [type: string, entry: Entry];
  /** The room began anew: the client was away for too long, or the log was set back. */
  reset: [];
  /** The user's own permissions have changed: letters of `rwa`. */
  access: [permissions: string];
  /** A user has read up to a number. */
  read: [userUUID: string, upto: number];
  /** A user types, or does not any more. */
  typing: [userUUID: string, isTyping: boolean];
  presence: [];
  /** The room is closed: REVOKED, ROOM_DELETED, FORBIDDEN, NOT_FOUND, TOO_MANY_ROOMS or CLOSED. */
  closed: [reason: string];
}

/** What to send: a text, an object of the application, or both. */
export interface Draft {
  readonly content?: string;
  readonly data?: Json;
  /** Number of the message that it answers. */
  readonly replyTo?: number;
  /** UUIDs of users and of entities. */
  readonly mentions?: readonly string[];
}

/** Messages between two numbers, as they were when they were read. */
export interface MessagePage {
  readonly messages: readonly Message[];
  /** Whether there are more in the same direction. */
  readonly hasMore: boolean;
}

export interface Range {
  readonly before?: number;
  readonly after?: number;
  /** 1 to 1000, 50 by default. */
  readonly limit?: number;
}

/** What a room needs of its client. */
export interface RoomHost {
  readonly userUUID: string;
  readonly outbox: Outbox;
  readonly isOnline: boolean;
  send: (command: object) => void;
  request: <Content>(method: string, path: string) => Promise<Answer<Content>>;
  /** The room is to be joined, or left, as it says now. */
  placeChanged: (room: Room) => void;
}

/** Messages of a page, by default of the server's. */
const PAGE = 50;
/** Of one room: the server takes 32, and refuses more. */
const MOST_IN_FLIGHT = 16;
/** Before what was UNAVAILABLE is sent again. */
const RETRY_MS = 500;
/** As docs/PROTOCOL.md says. */
const TYPING_MS = 5_000;
/** The server tells of one a second; who types on is told of in time. */
const TYPING_AGAIN_MS = 2_000;

/** A room as the user sees it. It stays the same object through reconnects. */
export class Room extends Emitter<RoomEvents> {
  readonly id: number;
  phase: RoomPhase = 'idle';
  /** Why it is closed. */
  closed: string | undefined;
  uuid: string | undefined;
  /** The user's own: letters of `rwa`. */
  permissions = '';
  /** Number up to which the user has read, on any device. */
  readUpto = 0;
  /** Whether there may be messages before those in `messages`. */
  hasOlder = true;
  /** Number of users online; undefined until it is known. */
  onlineCount: number | undefined;
  readonly #host: RoomHost;
  readonly #state = new RoomState();
  readonly #readers = new Map<string, number>();
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>();
  #online = new Set<string>();
  #messages: readonly Message[] | undefined;
  /** Whether messages are kept. If not, the room is followed for its entries. */
  #isOpen = false;
  #isFollowed = false;
  #head = 0;
  #older: Promise<boolean> | undefined;
  /** Own messages that are stored, and whose entries have not come yet, by their numbers. */
  readonly #sent = new Map<number, Message>();
  readonly #inFlight = new Set<string>();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #typedAt = -Infinity;

  constructor(id: number, host: RoomHost) {
    super();
    this.id = id;
    this.#host = host;
  }

  /** Its messages, the oldest first; those that are not stored yet, without a `seq`, are last. Another list at a change. */
  get messages(): readonly Message[] {
    this.#messages ??= [...this.#state.messages, ...this.#sent.values(), ...this.#unsent()];
    return this.#messages;
  }

  /** Whether every entry up to now was taken. */
  get isLive(): boolean {
    return this.phase === 'joined' && this.#state.last >= this.#head;
  }

  /** Users who are online, unless they are too many. */
  get online(): ReadonlySet<string> {
    return this.#online;
  }

  /** Users who type. */
  get typing(): readonly string[] {
    return [...this.#typing.keys()];
  }

  /** By user, the number up to which others have read, as far as it was told. */
  get readers(): ReadonlyMap<string, number> {
    return this.#readers;
  }

  /**
   * Sends a message. It is in `messages` at once, and is sent again until it is stored.
   * @returns its number
   * @throws {ChatError} the reason of the server's; the message is not in `messages` any more
   */
  send(message: string | Draft): Promise<number> {
    const { content, data, replyTo, mentions } =
      typeof message === 'string' ? { content: message } : (message satisfies Draft);
    return this.#do('message', { content, data, reply_to: replyTo, mentions });
  }

  /** Replaces text and data of an own message. @throws {ChatError} */
  edit(seq: number, { content, data }: Pick<Draft, 'content' | 'data'>): Promise<number> {
    return this.#do('edit', { target: seq, content, data });
  }

  /** @throws {ChatError} */
  delete(seq: number): Promise<number> {
    return this.#do('delete', { target: seq });
  }

  /** Puts an emoji on a message, or takes it off. @throws {ChatError} */
  react(seq: number, emoji: string, on = true): Promise<number> {
    return this.#do('reaction', { target: seq, emoji, on });
  }

  /**
   * Moves the user's marker to a number, that of the last entry by default; backwards only with `back`.
   * @returns the number at which it is
   * @throws {ChatError}
   */
  markRead(upto = this.#state.last, { back = false } = {}): Promise<number> {
    return this.#do('read', { upto, ...(back && { back }) });
  }

  /** Tells the others that the user types, at most each two seconds. Call it at each input. */
  setTyping(): void {
    const now = performance.now();
    if (now - this.#typedAt < TYPING_AGAIN_MS) return;
    this.#typedAt = now;
    this.#host.send({ type: 'typing', room_id: this.id });
  }

  /**
   * Loads messages before those in `messages`.
   * @returns whether there may be more
   * @throws {ChatError}
   */
  loadOlder(limit = PAGE): Promise<boolean> {
    this.#older ??= this.#loadOlder(limit).finally(() => {
      this.#older = undefined;
    });
    return this.#older;
  }

  /** Reads messages without keeping them in `messages`. @throws {ChatError} */
  async read(range: Range): Promise<MessagePage> {
    const page = new RoomState();
    page.userUUID = this.#host.userUUID;
    const answer = await page.read(() => this.#load(range));
    return { messages: page.messages, hasMore: answer?.hasMore ?? false };
  }

  /** Ends it: nothing is kept, and nothing more is told of it. What was sent is still sent until it is stored. */
  leave(): void {
    this.#isOpen = false;
    if (!this.#isFollowed && this.phase !== 'closed') this.phase = 'idle';
    this.#forget();
    this.#host.placeChanged(this);
  }

  /** @internal Whether it is to be joined. */
  get isWanted(): boolean {
    return this.phase === 'joining' || this.phase === 'joined';
  }

  /** @internal Whether the user looks at it. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** @internal An item of `join`. */
  get place(): object {
    const { last, epoch } = this.#state;
    return { room_id: this.id, ...(epoch !== undefined && { after: last, epoch }) };
  }

  /** @internal Follows its entries, or keeps its messages as well. */
  want({ isOpen }: { isOpen: boolean }): void {
    const wasWanted = this.isWanted;
    const opens = isOpen && !this.#isOpen;
    if (!wasWanted) {
      this.#state.drop();
      this.phase = 'joining';
      this.closed = undefined;
    }
    if (isOpen) this.#isOpen = true;
    else this.#isFollowed = true;
    // Open rooms have other events than those that are followed.
    if (opens || !wasWanted) this.#host.placeChanged(this);
    if (opens && this.phase === 'joined') this.#begin();
  }

  /** @internal Nobody follows its entries any more. */
  unfollow(): void {
    this.#isFollowed = false;
    if (!this.#isOpen) this.leave();
  }

  /** @internal The socket is closed. */
  disconnected(): void {
    if (this.phase === 'joined') this.phase = 'joining';
    clearTimeout(this.#retry);
    this.#inFlight.clear();
    this.#online.clear();
    this.onlineCount = undefined;
    this.#changed();
  }

  /** @internal Takes the answer to a `join`. */
  joinAnswered(status: Status): void {
    const { data: word, reason = word, epoch = '', from = 0, head = 0 } = status;
    if (reason === 'AHEAD') {
      this.#reset(0);
      this.#host.placeChanged(this);
    } else if (word === 'UNAVAILABLE' || word === 'INTERNAL') {
      this.#later(status.retry_after_ms, () => {
        this.#host.placeChanged(this);
      });
    } else if (word === 'CONNECTED') {
      this.phase = 'joined';
      this.#state.userUUID = this.#host.userUUID;
      const isNew = this.#state.epoch === undefined;
      if (isNew || from > this.#state.last) this.#reset(from, epoch, isNew);
      else if (this.#isOpen && this.#state.first === undefined) this.#begin();
      this.#head = head;
      this.uuid = status.uuid;
      this.readUpto = status.read ?? 0;
      this.#setAccess(status.permissions ?? '');
      this.transmit();
      this.#changed();
    } else {
      this.close(reason);
    }
  }

  /** @internal Takes an entry. If one before it is missing, the room is joined again. */
  take(type: string, entry: Entry): void {
    // Entries that come while a `join` is on its way come again.
    if (this.phase !== 'joined') return;
    const taken = this.#isOpen ? this.#state.take(type, entry) : this.#state.skip(entry);
    if (taken === 'gap') {
      this.phase = 'joining';
      this.#host.placeChanged(this);
    }
    if (taken !== 'taken') return;
    this.#sent.delete(entry.seq);
    this.#stopTyping(type === 'message' ? entry.emitter : '');
    const message = type === 'message' ? this.#state.get(entry.seq) : undefined;
    this.#changed();
    this.emit('entry', type, entry);
    if (message !== undefined) this.emit('message', message);
  }

  /** @internal Takes an event without a number. */
  hinted(type: string, { emitter, upto, permissions, reason = '', ...presence }: Hint): void {
    if (type === 'access') {
      if (permissions === '') this.close(reason);
      else this.#setAccess(permissions);
    } else if (type === 'read') {
      if (emitter === this.#host.userUUID) this.readUpto = upto;
      else this.#readers.set(emitter, Math.max(upto, this.#readers.get(emitter) ?? 0));
      this.emit('read', emitter, upto);
    } else if (type === 'typing') {
      this.#stopTyping(emitter);
      const timer = setTimeout(() => {
        this.#stopTyping(emitter);
      }, TYPING_MS);
      this.#typing.set(emitter, timer);
      this.emit('typing', emitter, true);
    } else if (type === 'presence') {
      this.onlineCount = presence.count;
      const { online, join = [], leave = [] } = presence;
      this.#online = new Set(online ?? [...this.#online, ...join]);
      for (const user of leave) this.#online.delete(user);
      if (
        presence.online === undefined &&
        presence.join === undefined &&
        presence.leave === undefined
      )
        this.#online.clear();
      this.emit('presence');
    }
    this.#changed();
  }

  /** @internal A command was settled; `seq` is the number of its entry, undefined if it was refused. */
  settled(pending: Pending, seq?: number): void {
    const { ref, type } = pending.command;
    this.#inFlight.delete(ref);
    if (this.#isOpen && type === 'message' && seq !== undefined && seq > this.#state.last) {
      this.#sent.set(seq, this.#messageOf(pending, seq));
    }
    this.transmit();
    this.#changed();
  }

  /** @internal A command was UNAVAILABLE: it, and those behind it, are sent again. */
  retryIn(ms: number | undefined): void {
    this.#later(ms, () => {
      this.#inFlight.clear();
      this.transmit();
    });
  }

  /** @internal Sends what is not settled, the oldest first. */
  transmit(): void {
    // To a room that nobody looks at as well; to another one once its replay is on its way, which settles some.
    if (!this.#host.isOnline || (this.phase !== 'joined' && this.phase !== 'idle')) return;
    for (const { command } of this.#host.outbox.of(this.id)) {
      if (this.#inFlight.size >= MOST_IN_FLIGHT) return;
      if (this.#inFlight.has(command.ref)) continue;
      this.#inFlight.add(command.ref);
      this.#host.send(command);
    }
  }

  /** @internal */
  close(reason: string): void {
    if (this.phase === 'closed') return;
    this.phase = 'closed';
    this.closed = reason;
    this.#isOpen = false;
    this.#isFollowed = false;
    clearTimeout(this.#retry);
    this.#inFlight.clear();
    for (const { command } of this.#host.outbox.of(this.id)) {
      this.#host.outbox.refuse(command.ref, new ChatError(reason));
    }
    this.#setAccess('');
    this.#forget();
    this.emit('closed', reason);
  }

  #do(type: UnsentCommand['type'] | 'read', fields: object): Promise<number> {
    if (this.phase === 'closed') return Promise.reject(new ChatError(this.closed ?? 'CLOSED'));
    const command = { type, ref: crypto.randomUUID(), room_id: this.id, ...fields };
    const outcome = this.#host.outbox.add(command);
    this.transmit();
    this.#changed();
    return outcome;
  }

  #unsent(): Message[] {
    if (!this.#isOpen) return [];
    return this.#host.outbox
      .of(this.id)
      .filter(({ command }) => command.type === 'message')
      .map((pending) => this.#messageOf(pending));
  }

  #messageOf({ command, at }: Pending, seq?: number): Message {
    const { content = '', data, reply_to: replyTo, mentions = [] } = command;
    return {
      seq,
      ref: command.ref,
      emitter: this.#host.userUUID,
      createdAt: at,
      editedAt: undefined,
      content,
      data,
      replyTo,
      mentions,
      reactions: [],
    };
  }

  /** Begins at a number of a log, and loads the last page if it is open. */
  #reset(from: number, epoch?: string, isNew = false): void {
    this.#state.drop(from, epoch);
    this.#sent.clear();
    this.#readers.clear();
    if (!isNew) this.emit('reset');
    if (epoch !== undefined) this.#begin();
  }

  #begin(): void {
    this.#older = undefined;
    this.hasOlder = true;
    if (!this.#isOpen) return;
    // The next CONNECTED, or whoever scrolls, tries again.
    this.loadOlder().catch(() => undefined);
  }

  async #loadOlder(limit: number): Promise<boolean> {
    const { first } = this.#state;
    const range = { limit, ...(first !== undefined && { before: first }) };
    const answer = await this.#state.read(() => this.#load(range));
    if (answer !== undefined) this.hasOlder = answer.hasMore;
    this.#changed();
    return this.hasOlder;
  }

  async #load(range: Range) {
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const [name, value] of Object.entries(range)) query.set(name, String(value));
    const path = `/rooms/${this.id}/messages?${query.toString()}`;
    const { meta, content } = await this.#host.request<readonly MessageRow[]>('GET', path);
    const { head = 0, epoch = '', next } = meta;
    return { head, epoch, rows: content, hasMore: next !== undefined };
  }

  /** Does something after a wait, or not if something else is to be done later, too. */
  #later(ms = RETRY_MS, then: () => void): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(then, ms);
  }

  #setAccess(permissions: string): void {
    if (permissions === this.permissions) return;
    this.permissions = permissions;
    this.emit('access', permissions);
  }

  #stopTyping(user: string): void {
    clearTimeout(this.#typing.get(user));
    if (!this.#typing.delete(user)) return;
    this.emit('typing', user, false);
    this.#changed();
  }

  /** Nothing is shown any more. */
  #forget(): void {
    this.#state.drop(this.#state.last, this.#state.epoch);
    for (const timer of this.#typing.values()) clearTimeout(timer);
    this.#typing.clear();
    this.#online.clear();
    this.onlineCount = undefined;
    this.#changed();
  }

  #changed(): void {
    this.#messages = undefined;
    this.emit('change');
  }
}
