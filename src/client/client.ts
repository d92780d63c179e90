import type { Hint as HintType } from '../protocol/v2/commands.js';
import { Connection, type ConnectionState } from './connection.js';
import { ChatError } from './errors.js';
import { Emitter } from './events.js';
import { Outbox } from './outbox.js';
import { RoomList } from './room-list.js';
import { defaults, newRef, platform, type SocketClass } from './platform.js';
import { queryOf, Rest } from './rest.js';
import { Room, type Beginning, type RoomHost } from './room.js';
import type { UnsentStorage } from './storage.js';
import { Users } from './users.js';
import type {
  Answer,
  Entry,
  Frame,
  Hint,
  Limits,
  MessageRow,
  OfflineReason,
  Status,
  StopReason,
} from './wire.js';

export interface ChatClientOptions {
  /** A fresh JWT. It is asked for before each connect, and before the one before ends. */
  readonly token: () => string | Promise<string>;
  /** Events about others in open rooms: `typing`, `presence`, `read`; all of them by default. */
  readonly with?: readonly HintType[];
  /** Entries that a room may be behind after a reconnect; if it is further behind, its last page is loaded instead. */
  readonly max?: number;
  /** Keeps what is not sent yet, so that it outlives the page. */
  readonly storage?: UnsentStorage;
  /** If the platform has none, or another one is to be used. */
  readonly WebSocket?: SocketClass;
  /** Likewise. */
  readonly fetch?: typeof fetch;
}

export interface ChatClientEvents {
  /** `reason` says why it is stopped, or, if not because of the network, offline. */
  state: [state: ConnectionState, reason: StopReason | OfflineReason | undefined];
  /** A rule was added that lets the user, or their entity, into a room. */
  invited: [roomId: number, permissions: string];
  /** Names of users have come. */
  users: [];
}

/** Who a token says that the user is. */
interface User {
  readonly userUUID: string;
  readonly entityUUID: string;
}

/** 500 entries are some 100 KB, about as much as a page and what belongs to it. */
const MOST_REPLAYED = 500;

/** A chat for one user: one connection, any number of rooms. */
export class ChatClient extends Emitter<ChatClientEvents> {
  /** Who the token says that the user is; undefined until it was accepted. */
  user: User | undefined;
  /** What the server takes; undefined until a token was accepted. */
  limits: Limits | undefined;
  /** Names and pictures of users. */
  readonly users = new Users(this, () => {
    this.emit('users');
  });
  readonly #options: ChatClientOptions;
  readonly #rest: Rest;
  readonly #connection: Connection;
  readonly #outbox: Outbox;
  readonly #rooms = new Map<number, Room>();
  #list: RoomList | undefined;
  readonly #host: RoomHost;

  /** @param url of the server; its socket is at `chat` below it */
  constructor(url: string | URL, options: ChatClientOptions) {
    super();
    const WebSocket = options.WebSocket ?? defaults.WebSocket;
    if (WebSocket === undefined) throw new Error('no WebSocket');
    const base = new URL(url, platform.location?.href);
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    const socketUrl = new URL('chat', base);
    socketUrl.protocol = base.protocol === 'https:' ? 'wss:' : 'ws:';
    this.#options = options;
    this.#rest = new Rest({
      url: base,
      token: options.token,
      // The browser's refuses to be called as a method of another object.
      fetch: options.fetch ?? ((...request) => fetch(...request)),
    });
    this.#outbox = new Outbox(options.storage, () => {
      this.#transmit();
    });
    this.#connection = new Connection({
      url: socketUrl.href,
      WebSocket,
      token: () => this.#rest.freshToken(),
      onReady: (ready) => {
        this.#ready(ready);
      },
      onState: (state, reason) => {
        this.#stateChanged(state, reason);
      },
      onFrame: (frame) => {
        this.#received(frame);
      },
    });
    this.#host = {
      client: this,
      connection: this.#connection,
      outbox: this.#outbox,
      placeChanged: (room) => {
        this.#placeChanged(room);
      },
      stored: (type, row) => {
        this.#stored(type, row);
      },
      joined: (room) => {
        this.#list?.joined(room);
      },
    };
    this.#connection.check();
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** Commands that are not stored yet. */
  get unsent(): number {
    return this.#outbox.size;
  }

  /**
   * Opens a room: its last messages are loaded, and those that come are told. The same object each time. A room that was
   * closed is opened again.
   * @param beginning where it begins if no page is to be loaded; a room that is open stays where it is
   */
  room(id: number, beginning: Beginning = {}): Room {
    const room = this.#roomOf(id);
    room.open(beginning);
    return room;
  }

  /** The rooms that the user may read, or is invited to, kept live. */
  rooms(): RoomList {
    this.#list ??= new RoomList({
      client: this,
      roomOf: (id) => this.#roomOf(id),
      ended: () => {
        this.#list = undefined;
      },
    });
    return this.#list;
  }

  /**
   * Messages with all the words, the newest first.
   * @returns a page, and the cursor of the next one
   * @throws {ChatError}
   */
  async search(
    text: string,
    { roomId, cursor }: { readonly roomId?: number; readonly cursor?: string | undefined } = {},
  ): Promise<{ readonly rows: readonly MessageRow[]; readonly cursor: string | undefined }> {
    const { meta, content } = await this.request<readonly MessageRow[]>(
      'GET',
      `/messages${queryOf({ q: text, room: roomId, cursor })}`,
    );
    const next = new URLSearchParams(meta.next).get('cursor') ?? undefined;
    return { rows: content, cursor: next };
  }

  /**
   * Asks the REST API; docs/HTTP-API.md has its routes.
   * @throws {ChatError} the reason of the server's, OFFLINE if it does not answer, NO_TOKEN
   */
  request<Content>(method: string, path: string, body?: object): Promise<Answer<Content>> {
    return this.#rest.request(method, path, body);
  }

  /** Connects at once if it waits to; if it is online, asks the server for a sign of life. */
  reconnect(): void {
    this.#connection.check();
  }

  /** Ends the client. What is not sent yet is rejected, and kept by the storage. */
  close(): void {
    this.#connection.stop('CLOSED');
  }

  #roomOf(id: number): Room {
    let room = this.#rooms.get(id);
    if (room === undefined) {
      room = new Room(id, this.#host);
      this.#rooms.set(id, room);
    }
    return room;
  }

  #ready({ userUUID = '', entityUUID = '', limits }: Status): void {
    if (this.user !== undefined && this.user.userUUID !== userUUID) {
      // What is not sent yet is not theirs.
      this.#connection.stop('TOKEN');
      return;
    }
    this.user = { userUUID, entityUUID };
    this.limits = limits;
    for (const room of this.#rooms.values()) room.rejoin();
    this.#transmit();
    this.#list?.connected();
  }

  #stateChanged(state: ConnectionState, reason?: StopReason | OfflineReason): void {
    if (state === 'offline') {
      for (const room of this.#rooms.values()) room.disconnected();
    } else if (state === 'stopped') {
      this.#outbox.close();
      this.#list?.close();
      for (const room of this.#rooms.values()) {
        room.disconnected();
        room.close('CLOSED');
      }
    }
    this.emit('state', state, reason);
  }

  /** Sends what is not settled to rooms that need not be joined for it. */
  #transmit(): void {
    for (const id of this.#outbox.rooms) this.#roomOf(id).sender.transmit();
  }

  #placeChanged(room: Room): void {
    if (this.state !== 'online') return;
    if (!room.isWanted) {
      this.#connection.send({ type: 'leave', room_id: room.id });
      return;
    }
    const { with: hints = ['typing', 'presence', 'read'], max = MOST_REPLAYED } = this.#options;
    const ref = newRef();
    room.joining = ref;
    // Each by itself: one that is malformed would have the others refused, too.
    const rooms = [room.place];
    const wanted = hints.filter(
      (hint) => room.isOpen || (hint === 'presence' && room.type === 'user2user'),
    );
    this.#connection.send({ type: 'join', rooms, max, with: wanted, ref });
  }

  #received(frame: Frame): void {
    if (frame.type === 'status') {
      this.#answered(frame as Status);
      return;
    }
    const { room_id: roomId, seq } = frame.data as Partial<Entry>;
    if (roomId === undefined) return;
    if (seq !== undefined) {
      const entry = frame.data as Entry;
      this.#stored(frame.type, entry);
      this.#rooms.get(roomId)?.take(frame.type, entry);
      return;
    }
    const hint = frame.data as Hint;
    this.#rooms.get(roomId)?.hinted(frame.type, hint);
    if (frame.type === 'invited') {
      this.#list?.refresh(roomId);
      this.emit('invited', roomId, hint.permissions);
    } else if (frame.type === 'read' && hint.emitter === this.user?.userUUID) {
      this.#list?.marked(roomId, hint.upto);
    }
  }

  #answered(status: Status): void {
    const { data: word, ref, seq, upto, reason = word, detail } = status;
    if (ref === undefined) return;
    const pending = this.#outbox.get(ref);
    if (pending === undefined) {
      for (const room of this.#rooms.values()) if (room.joining === ref) room.joinAnswered(status);
    } else if (word === 'SENT' || word === 'OK') {
      this.#settle(ref, seq ?? upto ?? 0);
    } else if (word === 'UNAVAILABLE' || status.retry_after_ms) {
      // RATELIMITED says when to send it again.
      this.#roomOf(pending.command.room_id).sender.unavailable(status);
    } else {
      this.#outbox.refuse(ref, new ChatError(reason, { detail, seq }));
      this.#roomOf(pending.command.room_id).settled(pending);
    }
  }

  /** Settles the command whose outcome it is, if there is one: others may have the same ref, even in other rooms. */
  #stored(type: string, { room_id: roomId, emitter, ref = '', seq }: Entry | MessageRow): void {
    const command = this.#outbox.get(ref)?.command;
    const isOwn = emitter === this.user?.userUUID;
    if (isOwn && command?.type === type && command.room_id === roomId) this.#settle(ref, seq);
  }

  #settle(ref: string, seq: number): void {
    const pending = this.#outbox.settle(ref, seq);
    if (pending === undefined) return;
    const { type, room_id: roomId } = pending.command;
    this.#roomOf(roomId).settled(pending, seq);
    if (type === 'read') this.#list?.marked(roomId, seq);
  }
}
