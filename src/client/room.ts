import { Emitter } from './events.js';
import type { Message } from './message.js';
import type { Pending } from './outbox.js';
import { RoomHints } from './room-hints.js';
import { RoomPages, type MessagePage, type Range } from './room-pages.js';
import { RoomSender, type SenderHost } from './room-sender.js';
import { RoomState } from './room-state.js';
import type { Answer, Entry, Hint, Json, MessageRow, RoomRow, Status } from './wire.js';

/**
 * `idle`: nobody looks at it. `joining`: until the server has let the client in, again after each reconnect. `closed`: by
 * the server, or with the client; `closed` has the reason.
 */
export type RoomPhase = 'idle' | 'joining' | 'joined' | 'closed';

export interface RoomEvents {
  /** Something that can be seen has changed. */
  change: [];
  /** Somebody has sent a message; it is not told of those of pages. */
  message: [message: Message];
  /** An entry of the room's log, as the server sent it: each once, in order. */
  entry: [type: string, entry: Entry];
  /** The room began anew: the client was away for too long, the log was set back, or what a user wrote was erased. */
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

/** What a room needs of its client. */
export interface RoomHost extends SenderHost {
  readonly client: SenderHost['client'] & {
    request<Content>(method: string, path: string): Promise<Answer<Content>>;
  };
  /** The room is to be joined, or left, as it says now. */
  placeChanged: (room: Room) => void;
  /** An entry of a type, or a message, is stored. */
  stored: (type: string, row: Entry | MessageRow) => void;
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

/** The server tells of one a second; who types on is told of in time. */
const TYPING_AGAIN_MS = 2_000;

/** A room as the user sees it. It stays the same object through reconnects. */
export class Room extends Emitter<RoomEvents> {
  readonly id: number;
  phase: RoomPhase = 'idle';
  /** Why it is closed. */
  closed: string | undefined;
  /** The user's own: letters of `rwa`. */
  permissions = '';
  /** Number up to which the user has read, on any device. */
  readUpto = 0;
  /** @internal The `ref` of the `join` that is on its way. */
  joining: string | undefined;
  /** @internal Of those that are followed: of direct ones, one sees who is online. */
  type: RoomRow['type'] | undefined;
  /** @internal Its commands. */
  readonly sender: RoomSender;
  readonly #host: RoomHost;
  readonly #state = new RoomState();
  readonly #pages: RoomPages;
  readonly #hints = new RoomHints((user) => {
    this.emit('typing', user, false);
    this.#changed();
  });
  #messages: readonly Message[] | undefined;
  /** Whether messages are kept. If not, the room is followed for its entries. */
  #isOpen = false;
  #isFollowed = false;
  #head = 0;
  #typedAt = -Infinity;

  constructor(id: number, host: RoomHost) {
    super();
    this.id = id;
    this.#host = host;
    this.#pages = new RoomPages(this, host.client, this.#state);
    this.sender = new RoomSender(this, host);
  }

  /** Its messages, the oldest first; those that are not stored yet, without a `seq`, are last. Another list whenever one of them changes. */
  get messages(): readonly Message[] {
    if (this.#messages === undefined) {
      const unsent = this.#isOpen ? this.sender.messages : [];
      const { messages } = this.#state;
      this.#messages = unsent.length === 0 ? messages : [...messages, ...unsent];
    }
    return this.#messages;
  }

  /** Whether there may be messages before those in `messages`. */
  get hasOlder(): boolean {
    return this.#pages.hasOlder;
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
    const { replyTo, ...draft } = typeof message === 'string' ? { content: message } : message;
    // Who writes the next message types anew.
    this.#typedAt = -Infinity;
    return this.#do('message', { ...draft, reply_to: replyTo });
  }

  /** Replaces text and data of an own message. @throws {ChatError} */
  edit(seq: number, text: Pick<Draft, 'content' | 'data' | 'ref'>): Promise<number> {
    return this.#do('edit', { ...text, target: seq });
  }

  /** @throws {ChatError} */
  delete(seq: number, how: Pick<Draft, 'ref'> = {}): Promise<number> {
    return this.#do('delete', { ...how, target: seq });
  }

  /** Puts an emoji on a message, or takes it off. @throws {ChatError} */
  react(seq: number, emoji: string, on = true, how: Pick<Draft, 'ref'> = {}): Promise<number> {
    return this.#do('reaction', { ...how, target: seq, emoji, on });
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
    this.#host.connection.send({ type: 'typing', room_id: this.id });
  }

  /**
   * Loads messages before those in `messages`.
   * @returns whether there may be more
   * @throws {ChatError}
   */
  loadOlder(limit?: number): Promise<boolean> {
    return this.#pages.loadOlder(limit);
  }

  /** Reads messages without keeping them in `messages`. @throws {ChatError} */
  read(range: Range): Promise<MessagePage> {
    return this.#pages.read(range);
  }

  /**
   * Ends it, for all who use it: nothing is kept, and nothing more is told of it. What was sent is still sent until it is
   * stored.
   */
  leave(): void {
    if (!this.isWanted) return;
    this.#isOpen = false;
    if (!this.#isFollowed) {
      this.phase = 'idle';
      this.joining = undefined;
    }
    this.#forget();
    this.#host.placeChanged(this);
    this.sender.transmit();
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
    this.#pages.isDue = after === undefined;
    if (after !== undefined) {
      // If it is followed already, it goes back.
      this.phase = 'joining';
      this.#drop(after === 'head' ? undefined : after, epoch);
    }
    // Open rooms have other events than those that are followed.
    this.#host.placeChanged(this);
    if (this.phase === 'joined') this.#pages.loadDue();
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
    this.sender.disconnected();
    this.#hints.disconnected();
    this.#changed();
  }

  /** @internal Takes the answer to a `join`. */
  joinAnswered(status: Status): void {
    const { data: word, reason = word, epoch = '', from = 0, head = 0 } = status;
    this.joining = undefined;
    if (word === 'CONNECTED') {
      this.phase = 'joined';
      this.#state.userUUID = this.#userUUID;
      this.#head = head;
      this.readUpto = status.read ?? 0;
      this.#setAccess(status.permissions ?? '');
      const { last } = this.#state;
      if (last === undefined) this.#drop(from, epoch);
      else if (from > last) this.#reset(from, epoch);
      // A number may have been given without it.
      this.#state.epoch = epoch;
      this.#pages.loadDue();
      this.sender.joined();
      this.#changed();
      this.#host.joined(this);
    } else {
      // The server has left it, if it was joined.
      this.phase = 'joining';
      if (reason === 'AHEAD') {
        this.#reset();
        this.#host.placeChanged(this);
      } else if (word === 'UNAVAILABLE' || word === 'INTERNAL') {
        this.sender.unavailable(status);
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
    const message = this.#state.get(entry.seq);
    if (type === 'message') this.#hints.stopsTyping(entry.emitter);
    if (type === 'erase') {
      this.#reset(entry.seq, this.epoch);
      this.#pages.loadDue();
    }
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
    if (seq !== undefined) {
      const { type } = pending.command;
      if (type === 'read') this.marked(seq);
      else if (type === 'message' && this.#isOpen) {
        this.#state.sent(this.sender.messageOf(pending), seq);
      }
    }
    this.sender.settled(pending);
    this.#changed();
  }

  /** @internal A page was loaded. */
  paged(rows: readonly MessageRow[]): void {
    for (const row of rows) this.#host.stored('message', row);
    this.#changed();
  }

  /** @internal Joins it if that was not answered, or was UNAVAILABLE. */
  rejoin(): void {
    if (this.phase === 'joining') this.#host.placeChanged(this);
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
    this.sender.transmit();
  }

  #do(type: Pending['command']['type'], fields: object): Promise<number> {
    const outcome = this.sender.add(type, fields);
    this.#changed();
    return outcome;
  }

  /** Forgets what is known, and goes on with the entries beyond a number, or beyond the head. */
  #drop(from?: number, epoch?: string): void {
    this.#state.drop(from, epoch);
    this.#hints.readers.clear();
    this.#pages.drop();
  }

  /** Likewise, because entries were missed, or are no more. */
  #reset(from?: number, epoch?: string): void {
    this.#drop(from, epoch);
    this.#pages.isDue = this.#isOpen;
    this.emit('reset');
  }

  /** @returns whether it is wanted now: unless the client has ended */
  #want(): boolean {
    if (this.isWanted) return true;
    if (this.#host.connection.state === 'stopped') {
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

  #setAccess(permissions: string): void {
    if (permissions === this.permissions) return;
    this.permissions = permissions;
    this.emit('access', permissions);
  }

  /** Nothing is shown any more. */
  #forget(): void {
    this.#drop(this.#state.last, this.#state.epoch);
    this.#pages.isDue = false;
    this.#hints.disconnected();
    this.#changed();
  }

  #changed(): void {
    this.#messages = undefined;
    this.emit('change');
  }
}
