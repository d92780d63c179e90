import { backoff } from './backoff.js';
import type { Connection } from './connection.js';
import { Emitter } from './events.js';
import { ChatError } from './errors.js';
import { messageOf, type Message } from './message.js';
import type { Outbox, Pending } from './outbox.js';
import { newRef } from './platform.js';
import { RoomHints } from './room-hints.js';
import { RoomState } from './room-state.js';
import type { UnsentCommand } from './storage.js';
import type { Answer, Entry, Hint, Json, Limits, MessageRow, Status } from './wire.js';

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
  /** The sender's own name for the command, under which it is stored once; by default a new one. */
  readonly ref?: string;
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
  readonly client: {
    readonly user: { readonly userUUID: string } | undefined;
    readonly limits: Limits | undefined;
    request<Content>(method: string, path: string): Promise<Answer<Content>>;
  };
  readonly connection: Pick<Connection, 'state' | 'send'>;
  readonly outbox: Outbox;
  /** The room is to be joined, or left, as it says now. */
  placeChanged: (room: Room) => void;
  /** The server has let the client in. */
  joined: (room: Room) => void;
}

/** Where a room begins, instead of with a page of its last messages. */
export interface Beginning {
  /** The number behind which all entries are told, or `head`: only those that come from now on. */
  readonly after?: number | 'head';
  /** Of the log that the number belongs to: if that was set back meanwhile, the room begins anew. */
  readonly epoch?: string | undefined;
}

/** Messages of a page, by default of the server's. */
const PAGE = 50;
/** The longest wait before what was UNAVAILABLE is tried again: the server itself waits as long for its database. */
const MOST_RETRY_MS = 5_000;
/** The server tells of one a second; who types on is told of in time. */
const TYPING_AGAIN_MS = 2_000;
/** Of errors that another attempt may not meet. */
const PASSING: ReadonlySet<unknown> = new Set(['OFFLINE', 'NO_TOKEN', 'UNAVAILABLE', 'INTERNAL']);

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
  /** @internal The `ref` of the `join` that is on its way. */
  joining: string | undefined;
  readonly #host: RoomHost;
  readonly #state = new RoomState();
  readonly #hints = new RoomHints((user) => {
    this.emit('typing', user, false);
    this.#changed();
  });
  #messages: readonly Message[] | undefined;
  /** Whether messages are kept. If not, the room is followed for its entries. */
  #isOpen = false;
  #isFollowed = false;
  #head = 0;
  /** Whether the last page is to be loaded, or to be loaded anew. */
  #needsPage = false;
  #older: Promise<boolean> | undefined;
  /** The `ref` of the command that is on its way: one at a time, so that none overtakes one that has to be repeated. */
  #sent: string | undefined;
  /** Failures of commands, joins and pages since the last one that worked. */
  #failures = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #pageRetry: ReturnType<typeof setTimeout> | undefined;
  #typedAt = -Infinity;

  constructor(id: number, host: RoomHost) {
    super();
    this.id = id;
    this.#host = host;
  }

  /** Its messages, the oldest first; those that are not stored yet, without a `seq`, are last. Another list at a change. */
  get messages(): readonly Message[] {
    this.#messages ??= [...this.#state.messages, ...this.#unsent()];
    return this.#messages;
  }

  /** Number of the last entry that was taken. */
  get last(): number {
    return this.#state.last ?? 0;
  }

  /** Names the log that the numbers belong to; undefined until it is known. */
  get epoch(): string | undefined {
    return this.#state.epoch;
  }

  /** Whether every entry up to now was taken. */
  get isLive(): boolean {
    return this.phase === 'joined' && this.last >= this.#head;
  }

  /** Users who are online, unless they are too many. */
  get online(): ReadonlySet<string> {
    return this.#hints.online;
  }

  /** Number of users online; undefined until it is known. */
  get onlineCount(): number | undefined {
    return this.#hints.onlineCount;
  }

  /** Users who type. */
  get typing(): readonly string[] {
    return this.#hints.typing;
  }

  /** By user, the number up to which others have read, as far as it was told. */
  get readers(): ReadonlyMap<string, number> {
    return this.#hints.readers;
  }

  /**
   * Sends a message. It is in `messages` at once, and is sent again until it is stored.
   * @returns its number
   * @throws {ChatError} the reason of the server's; the message is not in `messages` any more
   */
  send(message: string | Draft): Promise<number> {
    const { content, data, replyTo, mentions, ref } =
      typeof message === 'string' ? { content: message } : (message satisfies Draft);
    // Who writes the next message types anew.
    this.#typedAt = -Infinity;
    return this.#do('message', { content, data, reply_to: replyTo, mentions, ref });
  }

  /** Replaces text and data of an own message. @throws {ChatError} */
  edit(
    seq: number,
    { content, data, ref }: Pick<Draft, 'content' | 'data' | 'ref'>,
  ): Promise<number> {
    return this.#do('edit', { target: seq, content, data, ref });
  }

  /** @throws {ChatError} */
  delete(seq: number, { ref }: Pick<Draft, 'ref'> = {}): Promise<number> {
    return this.#do('delete', { target: seq, ref });
  }

  /** Puts an emoji on a message, or takes it off. @throws {ChatError} */
  react(seq: number, emoji: string, on = true, { ref }: Pick<Draft, 'ref'> = {}): Promise<number> {
    return this.#do('reaction', { target: seq, emoji, on, ref });
  }

  /**
   * Moves the user's marker to a number, that of the last entry by default; backwards only with `back`.
   * @returns the number at which it is
   * @throws {ChatError}
   */
  async markRead(upto = this.last, { back = false } = {}): Promise<number> {
    if (!back && this.phase === 'joined' && upto <= this.readUpto) return this.readUpto;
    return this.#do('read', { upto, ...(back && { back }) });
  }

  /** Tells the others that the user types, at most each two seconds. Call it at each input. */
  setTyping(): void {
    const now = performance.now();
    if (now - this.#typedAt < TYPING_AGAIN_MS) return;
    this.#typedAt = now;
    this.#host.connection.send(JSON.stringify({ type: 'typing', room_id: this.id }));
  }

  /**
   * Loads messages before those in `messages`.
   * @returns whether there may be more
   * @throws {ChatError}
   */
  loadOlder(limit = PAGE): Promise<boolean> {
    if (this.#older !== undefined) return this.#older;
    const older = this.#loadOlder(limit).finally(() => {
      if (this.#older === older) this.#older = undefined;
    });
    this.#older = older;
    return older;
  }

  /** Reads messages without keeping them in `messages`. @throws {ChatError} */
  async read(range: Range): Promise<MessagePage> {
    const page = new RoomState();
    const answer = await page.read(() => this.#load(range));
    return { messages: page.messages, hasMore: answer?.hasMore ?? false };
  }

  /** Ends it: nothing is kept, and nothing more is told of it. What was sent is still sent until it is stored. */
  leave(): void {
    if (!this.isWanted) return;
    this.#isOpen = false;
    if (!this.#isFollowed) {
      this.phase = 'idle';
      this.joining = undefined;
    }
    this.#forget();
    this.#host.placeChanged(this);
    this.transmit();
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
    return { room_id: this.id, after: last, epoch };
  }

  /** @internal Opens it: its messages are kept. */
  open({ after, epoch }: Beginning): void {
    if (this.#isOpen || !this.#want()) return;
    this.#isOpen = true;
    this.#needsPage = after === undefined;
    if (after !== undefined) {
      // If it is followed already, it goes back.
      this.phase = 'joining';
      this.#drop(after === 'head' ? undefined : after, epoch);
    }
    // Open rooms have other events than those that are followed.
    this.#host.placeChanged(this);
    if (this.phase === 'joined') this.#loadPage();
  }

  /** @internal Follows its entries from a place on, or from where it is. */
  follow(head: number, epoch: string): void {
    this.#isFollowed = true;
    if (this.isWanted || !this.#want()) return;
    this.#drop(head, epoch);
    this.#host.placeChanged(this);
  }

  /** @internal Nobody follows its entries any more. */
  unfollow(): void {
    this.#isFollowed = false;
    if (!this.#isOpen) this.leave();
  }

  /** @internal The socket is closed. */
  disconnected(): void {
    if (this.phase === 'joined') this.phase = 'joining';
    this.joining = undefined;
    clearTimeout(this.#retry);
    this.#doubt();
    this.#sent = undefined;
    this.#hints.disconnected();
    this.#changed();
  }

  /** @internal Takes the answer to a `join`. */
  joinAnswered(status: Status): void {
    const { data: word, reason = word, epoch = '', from = 0, head = 0 } = status;
    this.joining = undefined;
    if (word === 'CONNECTED') {
      this.phase = 'joined';
      this.#failures = 0;
      this.#state.userUUID = this.#userUUID;
      this.#head = head;
      this.uuid = status.uuid;
      this.readUpto = status.read ?? 0;
      this.#setAccess(status.permissions ?? '');
      const { last } = this.#state;
      if (last === undefined) this.#drop(from, epoch);
      else if (from > last) this.#reset(from, epoch);
      // A number may have been given without it.
      this.#state.epoch = epoch;
      if (this.#needsPage && this.#older === undefined) this.#loadPage();
      this.transmit();
      this.#changed();
      this.#host.joined(this);
    } else {
      // The server has left it, if it was joined.
      this.phase = 'joining';
      if (reason === 'AHEAD') {
        this.#reset();
        this.#host.placeChanged(this);
      } else if (word === 'UNAVAILABLE' || word === 'INTERNAL') {
        this.unavailable(status);
      } else {
        this.close(reason);
      }
    }
  }

  /** @internal Takes an entry. If one before it is missing, the room is joined again. */
  take(type: string, entry: Entry): void {
    // Entries that come while a `join` is on its way come again.
    if (this.phase !== 'joined') return;
    const taken = this.#state.take(type, entry, this.#isOpen);
    if (taken === 'gap') {
      this.phase = 'joining';
      this.#host.placeChanged(this);
    }
    if (taken !== 'taken') return;
    const message = type === 'message' ? this.#state.get(entry.seq) : undefined;
    if (type === 'message') this.#hints.stopsTyping(entry.emitter);
    this.#changed();
    this.emit('entry', type, entry);
    if (message !== undefined) this.emit('message', message);
  }

  /** @internal Takes an event without a number. */
  hinted(type: string, hint: Hint): void {
    const { emitter, upto, permissions, reason = '' } = hint;
    if (type === 'read' && emitter === this.#userUUID) {
      this.marked(upto);
    } else if (this.phase !== 'joined') {
      // It was left, or all of it comes again.
    } else if (type === 'access') {
      if (permissions === '') this.close(reason);
      else this.#setAccess(permissions);
    } else if (type === 'read') {
      this.#hints.read(hint);
      this.emit('read', emitter, upto);
    } else if (type === 'typing') {
      this.#hints.types(emitter);
      this.emit('typing', emitter, true);
    } else if (type === 'presence') {
      this.#hints.presence(hint);
      this.emit('presence');
    }
    this.#changed();
  }

  /** @internal The user's own marker is at a number. */
  marked(upto: number): void {
    this.readUpto = upto;
    this.emit('read', this.#userUUID, upto);
    this.#changed();
  }

  /** @internal A command was settled; `seq` is the number of its entry, undefined if it was refused. */
  settled(pending: Pending, seq?: number): void {
    const { ref, type } = pending.command;
    if (this.#sent === ref) this.#sent = undefined;
    this.#failures = 0;
    if (seq !== undefined) {
      if (type === 'read') this.marked(seq);
      else if (type === 'message' && this.#isOpen) {
        this.#state.sent(this.#messageOf(pending), seq);
      }
    }
    this.transmit();
    this.#changed();
  }

  /** @internal A command, or the `join`, was UNAVAILABLE: it is sent again. */
  unavailable({ retry_after_ms: leastMs = 0 }: Status): void {
    clearTimeout(this.#retry);
    this.#doubt();
    this.#retry = setTimeout(
      () => {
        this.#sent = undefined;
        if (this.phase === 'joining') this.#host.placeChanged(this);
        this.transmit();
      },
      leastMs + backoff(this.#failures, MOST_RETRY_MS),
    );
    this.#failures += 1;
  }

  /** @internal Sends the oldest command that is not settled, once the room is joined, or if nobody wants to join it. */
  transmit(): void {
    const { outbox, connection, client } = this.#host;
    const isOnline = connection.state === 'online';
    if (!isOnline || !outbox.isLoaded || this.phase === 'joining' || this.#sent !== undefined)
      return;
    const pending = outbox.oldest(this.id);
    if (pending === undefined) return;
    const { command } = pending;
    const frame = JSON.stringify(command);
    if (new TextEncoder().encode(frame).length > (client.limits?.frame ?? Infinity)) {
      // The server would close the socket, again and again.
      outbox.refuse(command.ref, new ChatError('TOO_LARGE'));
      this.settled(pending);
      return;
    }
    this.#sent = command.ref;
    this.#host.connection.send(frame);
  }

  /** @internal What was sent to it is still sent: the server says what becomes of it. */
  close(reason: string): void {
    if (this.phase === 'closed') return;
    this.phase = 'closed';
    this.closed = reason;
    this.joining = undefined;
    this.#isOpen = false;
    this.#isFollowed = false;
    this.#setAccess('');
    this.#forget();
    this.emit('closed', reason);
    this.transmit();
  }

  async #do(type: UnsentCommand['type'] | 'read', fields: object): Promise<number> {
    if (this.#isStopped) throw new ChatError('CLOSED');
    // As it is now: if the application changes its `data` later, the same is sent again all the same.
    const given = JSON.parse(JSON.stringify(fields)) as object;
    const outcome = this.#host.outbox.add({ type, ref: newRef(), room_id: this.id, ...given });
    this.transmit();
    this.#changed();
    return outcome;
  }

  #unsent(): Message[] {
    if (!this.#isOpen) return [];
    return this.#host.outbox
      .of(this.id)
      .filter(({ command, isHidden }) => command.type === 'message' && !isHidden)
      .map((pending) => this.#messageOf(pending));
  }

  #messageOf({ command, at }: Pending): Message {
    return messageOf({ ...command, emitter: this.#userUUID, createdAt: at }, undefined);
  }

  /** Forgets what is known, and goes on with the entries beyond a number, or beyond the head. */
  #drop(from?: number, epoch?: string): void {
    this.#state.drop(from, epoch);
    this.#hints.readers.clear();
    this.hasOlder = true;
    this.#older = undefined;
  }

  /** Likewise, because entries were missed, or are no more. */
  #reset(from?: number, epoch?: string): void {
    this.#drop(from, epoch);
    this.#needsPage = this.#isOpen;
    this.emit('reset');
  }

  #loadPage(): void {
    clearTimeout(this.#pageRetry);
    this.loadOlder().catch(({ reason }: Partial<ChatError>) => {
      if (!this.#needsPage || !PASSING.has(reason)) return;
      this.#pageRetry = setTimeout(
        () => {
          if (this.#needsPage && this.phase === 'joined') this.#loadPage();
        },
        backoff(this.#failures, MOST_RETRY_MS),
      );
      this.#failures += 1;
    });
  }

  async #loadOlder(limit: number): Promise<boolean> {
    const { first } = this.#state;
    const isLast = this.#needsPage || first === undefined;
    const range = isLast ? { limit } : { limit, before: first };
    const answer = await this.#state.read(() => this.#load(range));
    if (answer !== undefined) {
      this.hasOlder = answer.hasMore;
      if (isLast) {
        this.#needsPage = false;
        this.#doubt();
        this.#hide();
      }
      this.#changed();
    }
    return this.hasOlder;
  }

  /** The command that is on its way may be stored. */
  #doubt(): void {
    const pending = this.#host.outbox.get(this.#sent ?? '');
    if (pending !== undefined) pending.isDoubtful = true;
  }

  /** What may be stored, and is likely to be in the page, is shown by the page alone. */
  #hide(): void {
    const own = this.#state.messages.filter(({ emitter }) => emitter === this.#userUUID);
    const texts = new Set(own.map(({ content }) => content));
    for (const pending of this.#host.outbox.of(this.id)) {
      pending.isHidden = pending.isDoubtful && texts.has(pending.command.content ?? '');
    }
  }

  async #load(range: Range) {
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const [name, value] of Object.entries(range)) query.set(name, String(value));
    const path = `/rooms/${this.id}/messages?${query.toString()}`;
    const { meta, content } = await this.#host.client.request<readonly MessageRow[]>('GET', path);
    const { head = 0, epoch = '', next } = meta;
    return { head, epoch, rows: content, hasMore: next !== undefined };
  }

  /** @returns whether it is wanted now: unless the client has ended */
  #want(): boolean {
    if (this.isWanted) return true;
    if (this.#isStopped) {
      this.close('CLOSED');
      return false;
    }
    this.#drop();
    this.phase = 'joining';
    this.closed = undefined;
    return true;
  }

  get #userUUID(): string {
    return this.#host.client.user?.userUUID ?? '';
  }

  get #isStopped(): boolean {
    return this.#host.connection.state === 'stopped';
  }

  #setAccess(permissions: string): void {
    if (permissions === this.permissions) return;
    this.permissions = permissions;
    this.emit('access', permissions);
  }

  /** Nothing is shown any more. */
  #forget(): void {
    this.#drop(this.#state.last, this.#state.epoch);
    this.#needsPage = false;
    clearTimeout(this.#pageRetry);
    this.#hints.disconnected();
    this.#changed();
  }

  #changed(): void {
    this.#messages = undefined;
    this.emit('change');
  }
}
