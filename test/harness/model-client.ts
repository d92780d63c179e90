import { randomUUID } from 'node:crypto';
import { roomStateOf, type MemberState, type RoomState } from './room-state.js';

/** Until what was UNAVAILABLE is tried again. */
const RETRY_MS = 100;

/** A frame of the server. An answer has its details beside `data`; an entry and an event have theirs in it. */
export interface Frame {
  readonly type: string;
  readonly data: unknown;
  readonly ref?: string;
  readonly room_id?: number;
  readonly seq?: number;
  readonly from?: number;
  readonly epoch?: string;
  readonly permissions?: string;
  readonly reason?: string;
  readonly read?: number;
  readonly upto?: number;
}

/** The data of an entry; each type has some of the optional fields, unless they are withheld. */
export interface Entry {
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly ref?: string;
  readonly target?: number;
  readonly content?: string;
  readonly data?: object | null;
  readonly reply_to?: number;
  readonly mentions?: readonly string[];
  readonly emoji?: string;
  readonly on?: boolean;
  readonly count?: number;
  readonly entity_UUID?: string;
  readonly permissions?: string;
  readonly level?: number;
  readonly accepted?: boolean;
  readonly name?: string;
}

/** A message of an answer of the REST API, with all that was done to it up to `rev`. */
interface MessageRow {
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  readonly data?: object;
  readonly reply_to?: number;
  readonly mentions?: readonly string[];
  readonly reactions?: readonly { emoji: string; count: number; mine: boolean }[];
  readonly rev?: number;
}

/** A room as the REST API has it, begun when the number of its last entry was `head`. */
export interface Page {
  readonly head: number;
  readonly epoch: string;
  readonly messages: readonly MessageRow[];
  readonly members: readonly MemberState[];
  readonly settings: NonNullable<RoomState['settings']>;
}

/** A command that is stored, so that it is sent until it is settled. */
export interface StoredCommand {
  readonly type: 'message' | 'edit' | 'delete' | 'reaction';
  readonly room_id: number;
  readonly [key: string]: unknown;
}

/** The data of the event about one's own permissions. */
interface Access {
  readonly room_id: number;
  readonly permissions: string;
  readonly reason?: string;
}

/** The data of the event about how far a user has read. */
interface Marked {
  readonly room_id: number;
  readonly emitter: string;
  readonly upto: number;
}

interface MessageView {
  readonly seq: number;
  readonly emitter: string;
  readonly replyTo: number | undefined;
  mentions: readonly string[] | undefined;
  /** Undefined if it is withheld here: an entry that follows has it, or says that the message was deleted. */
  content: string | undefined;
  data: object | undefined;
  isDeleted: boolean;
  /** By emoji, those with a count above 0. */
  readonly reactions: Map<string, { count: number; isMine: boolean }>;
  /** Number of the last entry whose change it has, or the head of the answer that it came in. */
  asOf: number;
}

/** One room as a client shows it: what its entries make of it. */
export class RoomView {
  readonly roomId: number;
  readonly messages = new Map<number, MessageView>();
  readonly members = new Map<string, MemberState>();
  /** Undefined until an entry tells of them. */
  settings: RoomState['settings'];
  /** How far the user has read, on any device. */
  marker = 0;
  /** The number behind which the entries begin; up to it, or further, the room is known by a page. */
  from = 0;
  /** Whether the page is missing. */
  needsPage = false;
  /** Number of the last entry that was taken. */
  last = 0;
  /** The log that this number belongs to; undefined before the first CONNECTED. */
  epoch: string | undefined;
  /** Whether the user wants to be in it. */
  isWanted = false;
  /** Whether it is joined. Entries that come while a `join` is on its way come again. */
  isJoined = false;
  /** The `ref` of the `join` that is on its way. */
  joining: string | undefined;
  readonly #userUUID: string;
  /** What was taken while the page was on its way: the page may be older, and have the message that it is about. */
  #early: (readonly [type: string, entry: Entry])[] = [];
  /** The members that entries have told of. */
  readonly #told = new Set<string>();

  constructor(roomId: number, userUUID: string) {
    this.roomId = roomId;
    this.#userUUID = userUUID;
  }

  /** Number of messages beyond the marker that are neither deleted nor the user's own. */
  get unread(): number {
    return [...this.messages.values()].filter(
      ({ seq, emitter, isDeleted }) =>
        seq > this.marker && !isDeleted && emitter !== this.#userUUID,
    ).length;
  }

  /** The room in a form that can be compared. */
  get state(): RoomState {
    const shown = [...this.messages.values()].filter(({ isDeleted }) => !isDeleted);
    return roomStateOf(
      shown.map(({ seq, emitter, content, data, replyTo, mentions, reactions }) => ({
        seq,
        emitter,
        content,
        data,
        replyTo,
        mentions,
        reactions: [...reactions].map(([emoji, reaction]) => ({ emoji, ...reaction })),
      })),
      [...this.members.values()],
      this.settings,
    );
  }

  /**
   * Takes an entry. One that was taken before changes nothing, and one of an unknown type only moves the place.
   * @returns false if an entry before it is missing
   */
  take(type: string, entry: Entry): boolean {
    if (entry.seq <= this.last) return true;
    if (entry.seq > this.last + 1) return false;
    this.last = entry.seq;
    if (this.needsPage) this.#early.push([type, entry]);
    if (type === 'message') this.#add(entry);
    else if (type === 'member') this.#setMember(entry);
    else if (type === 'room') this.settings = { name: entry.name ?? '', data: entry.data ?? null };
    else this.#change(type, entry);
    return true;
  }

  /** Forgets everything that is known of the room, and goes on with the entries beyond `from`. */
  drop(from = 0): void {
    this.messages.clear();
    this.members.clear();
    this.#told.clear();
    this.#early = [];
    this.settings = undefined;
    this.epoch = undefined;
    this.last = from;
    this.from = from;
    this.needsPage = from > 0;
  }

  /** Takes a page, which was asked for behind CONNECTED. What entries have told of since counts, too. */
  fold({ head, messages, members, settings }: Page): void {
    this.needsPage = false;
    for (const row of messages) {
      const asOf = Math.max(head, row.rev ?? row.seq);
      if ((this.messages.get(row.seq)?.asOf ?? 0) <= asOf) this.#addRow(row, asOf);
    }
    for (const [type, entry] of this.#early) this.#change(type, entry);
    this.#early = [];
    for (const member of members) {
      if (!this.#told.has(member.uuid)) this.members.set(member.uuid, member);
    }
    this.settings ??= settings;
  }

  #addRow(
    { data, reply_to: replyTo, mentions, reactions = [], ...row }: MessageRow,
    asOf: number,
  ): void {
    this.messages.set(row.seq, {
      seq: row.seq,
      emitter: row.emitter,
      content: row.content,
      data,
      replyTo,
      mentions,
      isDeleted: false,
      reactions: new Map(
        reactions.map(({ emoji, count, mine }) => [emoji, { count, isMine: mine }]),
      ),
      asOf,
    });
  }

  #add({ seq, emitter, content, data, reply_to: replyTo, mentions }: Entry): void {
    // It may have come with a page, and later changes, already.
    if (this.messages.has(seq)) return;
    this.messages.set(seq, {
      seq,
      emitter,
      content,
      data: data ?? undefined,
      replyTo,
      mentions,
      isDeleted: false,
      reactions: new Map(),
      asOf: seq,
    });
  }

  /** Applies a change of a message, unless the message is not held, or has the change already. */
  #change(type: string, entry: Entry): void {
    const message = this.messages.get(entry.target ?? 0);
    if (message === undefined || entry.seq <= message.asOf) return;
    message.asOf = entry.seq;
    if (type === 'edit') {
      message.content = entry.content;
      message.data = entry.data ?? undefined;
    } else if (type === 'delete') {
      Object.assign(message, { content: undefined, data: undefined, mentions: undefined });
      message.isDeleted = true;
      message.reactions.clear();
    } else if (type === 'reaction') {
      this.#react(message.reactions, entry);
    }
  }

  #react(
    reactions: MessageView['reactions'],
    { emitter, emoji, on = false, count = 0 }: Entry,
  ): void {
    // Withheld: a later entry says that the message was deleted.
    if (emoji === undefined) return;
    const isMine = emitter === this.#userUUID ? on : (reactions.get(emoji)?.isMine ?? false);
    // The count is set, never added to.
    if (count === 0) reactions.delete(emoji);
    else reactions.set(emoji, { count, isMine });
  }

  #setMember({ entity_UUID = '', permissions = '', level = 0, accepted = false }: Entry): void {
    this.#told.add(entity_UUID);
    if (permissions === '') this.members.delete(entity_UUID);
    else this.members.set(entity_UUID, { uuid: entity_UUID, permissions, level, accepted });
  }
}

/** What became of a stored command: it has a number, or was refused. */
export type Outcome = { readonly seq: number } | { readonly reason: string };

/** What a client needs of the world, and whom it tells. */
interface Surroundings {
  readonly userUUID: string;
  /** A fresh one for each connection. */
  readonly token: () => string;
  /** Sends a command over the socket, which may be broken. */
  readonly send: (command: object) => void;
  readonly settled: (ref: string, command: StoredCommand, outcome: Outcome) => void;
  /** The room can't be joined, or not stay joined, until somebody wants to again. */
  readonly lost: (roomId: number, reason: string) => void;
  /** For a client that loads a page if it is too far behind; without it, a client has every entry. */
  readonly pages?: {
    /** So many entries, at most, are replayed. */
    readonly max: number;
    /** Rejects if there is no answer, or a refusal. */
    readonly load: (roomId: number) => Promise<Page>;
  };
}

/**
 * A client's whole duty in version 2, without its socket: the frames that come are given to `received`, and the commands
 * go to `send`. Who has the socket says when it is closed, and opens another one, on any node.
 *
 * 1. Each stored command has a `ref` of its own, and is sent until it is settled: once its room is joined, again behind
 *    each CONNECTED, the oldest first, and again after UNAVAILABLE.
 * 2. `last` is the place in a room. What is at or below it is dropped; if an entry is missing, the room is joined again.
 * 3. The entry with one's own `emitter` and `ref` settles a command, or SENT does, whichever comes first.
 * 4. A change of a message counts only above the number as of which the message is held: that of the last change, or the
 *    head of the answer that it came in. While an answer is on its way, changes are kept for the messages in it.
 * 5. If the room begins beyond that place, or the log is another one (AHEAD), what is known of the room is dropped.
 * 6. Each connection begins with a fresh token.
 */
export class ModelClient {
  readonly rooms = new Map<number, RoomView>();
  readonly #around: Surroundings;
  /** By ref, in the order of sending. */
  readonly #unsettled = new Map<string, StoredCommand>();
  readonly #retries = new Set<NodeJS.Timeout>();
  #isReady = false;

  constructor(surroundings: Surroundings) {
    this.#around = surroundings;
  }

  /** Number of stored commands without an outcome. */
  get unsettled(): number {
    return this.#unsettled.size;
  }

  /** Whether it is in all rooms that it wants to be in. */
  get isWhole(): boolean {
    return (
      this.#isReady &&
      [...this.rooms.values()].every(
        ({ isJoined, needsPage, isWanted }) => (isJoined && !needsPage) || !isWanted,
      )
    );
  }

  /** The view of a room; made if there is none. */
  room(roomId: number): RoomView {
    let room = this.rooms.get(roomId);
    if (room === undefined) {
      room = new RoomView(roomId, this.#around.userUUID);
      this.rooms.set(roomId, room);
    }
    return room;
  }

  /** Joins rooms at their places, once it is connected, and then after each reconnect. */
  join(...roomIds: readonly number[]): void {
    const rooms = roomIds.map((roomId) => this.room(roomId));
    for (const room of rooms) room.isWanted = true;
    if (this.#isReady) this.#join(rooms);
  }

  leave(roomId: number): void {
    Object.assign(this.room(roomId), { isWanted: false, isJoined: false, joining: undefined });
    this.#around.send({ type: 'leave', room_id: roomId, ref: randomUUID() });
  }

  /** Moves the marker. If this is lost, CONNECTED says where the marker is. */
  read(roomId: number, upto: number): void {
    this.#around.send({ type: 'read', room_id: roomId, upto, ref: randomUUID() });
  }

  /** Sends a command until it is settled; returns its ref. */
  do(command: StoredCommand, ref: string = randomUUID()): string {
    this.#unsettled.set(ref, command);
    this.#transmit(ref);
    return ref;
  }

  received(frame: Frame): void {
    const { type, data } = frame;
    if (type === 'query') this.#around.send({ type: 'token', content: this.#around.token() });
    else if (type === 'status') this.#answered(frame);
    else if (type === 'access') this.#accessChanged(data as Access);
    else if (type === 'read') this.#marked(data as Marked);
    else if ((data as Partial<Entry>).seq !== undefined) this.#happened(type, data as Entry);
  }

  /** The socket is closed: nothing is joined any more, and nothing was answered that had no answer yet. */
  disconnected(): void {
    this.#isReady = false;
    for (const retry of this.#retries) clearTimeout(retry);
    this.#retries.clear();
    for (const room of this.rooms.values()) {
      room.isJoined = false;
      room.joining = undefined;
    }
  }

  #happened(type: string, entry: Entry): void {
    const { ref, seq, emitter, room_id } = entry;
    if (emitter === this.#around.userUUID && ref !== undefined) this.#settle(ref, { seq });
    const room = this.room(room_id);
    if (room.isJoined && !room.take(type, entry)) this.#join([room]);
  }

  #marked({ room_id, emitter, upto }: Marked): void {
    if (emitter === this.#around.userUUID) this.room(room_id).marker = upto;
  }

  #accessChanged({ room_id, permissions, reason = '' }: Access): void {
    if (permissions !== '') return;
    Object.assign(this.room(room_id), { isWanted: false, isJoined: false });
    this.#around.lost(room_id, reason);
  }

  #answered(frame: Frame): void {
    const { data: word, ref = '', seq, reason = '' } = frame;
    const command = this.#unsettled.get(ref);
    if (word === 'READY') {
      this.#isReady = true;
      this.#join([...this.rooms.values()].filter(({ isWanted }) => isWanted));
    } else if (word === 'UNAVAILABLE' && command !== undefined) {
      this.#later(() => {
        this.#transmit(ref);
      });
    } else if (command !== undefined) {
      this.#settle(ref, word === 'SENT' && seq !== undefined ? { seq } : { reason });
    } else if (word === 'OK' && frame.upto !== undefined) {
      this.room(frame.room_id ?? 0).marker = frame.upto;
    } else {
      for (const room of this.rooms.values()) {
        if (room.joining === ref && room.roomId === frame.room_id) this.#joinAnswered(room, frame);
      }
    }
  }

  #joinAnswered(room: RoomView, frame: Frame): void {
    const { data: word, reason = '', epoch, read = 0, from = 0 } = frame;
    room.joining = undefined;
    if (word === 'CONNECTED') {
      if (from > room.last) room.drop(from);
      room.isJoined = true;
      room.epoch = epoch;
      room.marker = read;
      for (const [ref, command] of this.#unsettled) {
        if (command.room_id === room.roomId) this.#transmit(ref);
      }
      if (room.needsPage) void this.#loadPage(room);
    } else if (reason === 'AHEAD') {
      room.drop();
      this.#join([room]);
    } else if (word === 'UNAVAILABLE') {
      this.#later(() => {
        if (room.isWanted) this.#join([room]);
      });
    } else {
      room.isWanted = false;
      this.#around.lost(room.roomId, reason);
    }
  }

  #join(rooms: readonly RoomView[]): void {
    if (rooms.length === 0) return;
    const ref = randomUUID();
    for (const room of rooms) Object.assign(room, { isJoined: false, joining: ref });
    this.#around.send({
      type: 'join',
      rooms: rooms.map(({ roomId, last, epoch }) => ({ room_id: roomId, after: last, epoch })),
      max: this.#around.pages?.max,
      ref,
    });
  }

  /** Loads a page, behind the CONNECTED of a `join`; the next CONNECTED loads another one if it did not come. */
  async #loadPage(room: RoomView): Promise<void> {
    try {
      const page = await this.#around.pages?.load(room.roomId);
      // Meanwhile the room may have been dropped again.
      if (page === undefined || page.epoch !== room.epoch || page.head < room.from) return;
      if (room.needsPage) room.fold(page);
    } catch {
      this.#later(() => {
        if (room.isJoined && room.needsPage) void this.#loadPage(room);
      });
    }
  }

  #transmit(ref: string): void {
    const command = this.#unsettled.get(ref);
    if (command !== undefined && this.room(command.room_id).isJoined) {
      this.#around.send({ ...command, ref });
    }
  }

  #settle(ref: string, outcome: Outcome): void {
    const command = this.#unsettled.get(ref);
    if (command === undefined) return;
    this.#unsettled.delete(ref);
    this.#around.settled(ref, command, outcome);
  }

  #later(retry: () => void): void {
    const timer = setTimeout(() => {
      this.#retries.delete(timer);
      retry();
    }, RETRY_MS);
    this.#retries.add(timer);
  }
}
