import type { Hint as HintType } from '../protocol/v2/commands.js';
import { Connection, type ConnectionState } from './connection.js';
import { ChatError } from './errors.js';
import { Emitter } from './events.js';
import { Outbox, refusalOf } from './outbox.js';
import { RoomList } from './room-list.js';
import { platform, type SocketClass } from './platform.js';
import { Room, type RoomHost } from './room.js';
import type { UnsentStorage } from './storage.js';
import { Users } from './users.js';
import type { Answer, Entry, Frame, Hint, Limits, MessageRow, Status, StopReason } from './wire.js';

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
}

export interface ChatClientEvents extends Record<string, readonly unknown[]> {
  /** `reason` says why it has stopped. */
  state: [state: ConnectionState, reason: StopReason | undefined];
  /** A rule was added that lets the user, or their entity, into a room. */
  invited: [roomId: number, permissions: string];
  /** Names of users have come. */
  users: [];
}

/** 500 entries are some 100 KB, about as much as a page and what belongs to it. */
const MOST_REPLAYED = 500;

/** A chat for one user: one connection, any number of rooms. */
export class ChatClient extends Emitter<ChatClientEvents> {
  readonly #url: URL;
  readonly #options: ChatClientOptions;
  readonly #connection: Connection;
  readonly #outbox: Outbox;
  readonly #rooms = new Map<number, Room>();
  readonly #users: Users;
  #list: RoomList | undefined;
  #user: { readonly userUUID: string; readonly entityUUID: string } | undefined;
  #limits: Limits | undefined;
  /** The token that was fetched last. */
  #token: Promise<string> | undefined;
  /** Rooms whose `join` is not answered, by its ref. */
  readonly #joins = new Map<string, Set<Room>>();
  /** Rooms that are to be joined, at the end of the event. */
  readonly #toJoin = new Set<Room>();
  readonly #host: RoomHost;

  /** @param url of the server; its socket is at `chat` below it */
  constructor(url: string | URL, options: ChatClientOptions) {
    super();
    this.#url = new URL(url, platform.location?.href);
    if (!this.#url.pathname.endsWith('/')) this.#url.pathname += '/';
    this.#options = options;
    this.#outbox = new Outbox(options.storage);
    this.#users = new Users(this, () => {
      this.emit('users');
    });
    const isOnline = (): boolean => this.state === 'online';
    const userUUID = (): string => this.#user?.userUUID ?? '';
    this.#host = {
      get userUUID() {
        return userUUID();
      },
      get isOnline() {
        return isOnline();
      },
      outbox: this.#outbox,
      send: (command) => {
        this.#connection.send(command);
      },
      request: (method, path) => this.request(method, path),
      placeChanged: (room) => {
        this.#placeChanged(room);
      },
    };
    const socketUrl = new URL('chat', this.#url);
    socketUrl.protocol = socketUrl.protocol === 'https:' ? 'wss:' : 'ws:';
    const WebSocket = options.WebSocket ?? platform.WebSocket;
    if (WebSocket === undefined) throw new Error('no WebSocket: give one in the options');
    this.#connection = new Connection({
      url: socketUrl.href,
      WebSocket,
      token: () => this.#freshToken(),
      onState: (state, ready) => {
        this.#stateChanged(state, ready);
      },
      onFrame: (frame) => {
        this.#received(frame);
      },
    });
    this.#outbox.loaded.then(
      () => {
        this.#transmit();
      },
      () => undefined,
    );
  }

  get state(): ConnectionState {
    return this.#connection?.state ?? 'connecting';
  }

  /** Who the token says that the user is; undefined until it was accepted. */
  get user(): { readonly userUUID: string; readonly entityUUID: string } | undefined {
    return this.#user;
  }

  /** What the server takes; undefined until a token was accepted. */
  get limits(): Limits | undefined {
    return this.#limits;
  }

  /** Commands that are not stored yet. */
  get unsent(): number {
    return this.#outbox.size;
  }

  /** Names and pictures of users. */
  get users(): Users {
    return this.#users;
  }

  /** Opens a room: its last messages are loaded, and those that come are told. The same object each time. */
  room(id: number): Room {
    const room = this.#roomOf(id);
    room.want({ isOpen: true });
    return room;
  }

  /** The rooms that the user may read, or is invited to, kept live. */
  rooms(): RoomList {
    this.#list ??= new RoomList({
      client: this,
      follow: (id) => {
        const room = this.#roomOf(id);
        room.want({ isOpen: false });
        return room;
      },
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
    const query = new URLSearchParams({ q: text });
    if (roomId !== undefined) query.set('room', String(roomId));
    if (cursor !== undefined) query.set('cursor', cursor);
    const { meta, content } = await this.request<readonly MessageRow[]>(
      'GET',
      `/messages?${query.toString()}`,
    );
    const next = new URLSearchParams(meta.next).get('cursor') ?? undefined;
    return { rows: content, cursor: next };
  }

  /**
   * Asks the REST API; docs/HTTP-API.md has its routes.
   * @throws {ChatError} the reason of the server's, or OFFLINE if it does not answer
   */
  async request<Content>(method: string, path: string, body?: object): Promise<Answer<Content>> {
    // Another token if this one has ended meanwhile.
    for (const isLast of [false, true]) {
      const response = await this.#fetch(method, path, body, isLast);
      if (response.status === 401 && !isLast) continue;
      const answer = (await response.json()) as Answer<Content>;
      if (response.ok) return answer;
      const { reason = 'INTERNAL', detail, seq } = answer.meta;
      throw new ChatError(reason, { detail, seq });
    }
    throw new ChatError('UNAUTHORIZED');
  }

  /** Connects at once if it waits to; if it is online, asks the server for a sign of life. */
  reconnect(): void {
    this.#connection.check();
  }

  /** Ends the client. What is not sent yet is rejected, and kept by the storage. */
  close(): void {
    this.#connection.stop('CLOSED');
  }

  async #fetch(
    method: string,
    path: string,
    body: object | undefined,
    isFresh: boolean,
  ): Promise<Response> {
    const token = await (isFresh ? this.#freshToken() : (this.#token ?? this.#freshToken()));
    try {
      return await fetch(new URL(path.slice(1), this.#url), {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    } catch {
      throw new ChatError('OFFLINE');
    }
  }

  #freshToken(): Promise<string> {
    this.#token = Promise.resolve().then(this.#options.token);
    return this.#token;
  }

  #roomOf(id: number): Room {
    let room = this.#rooms.get(id);
    if (room === undefined) {
      room = new Room(id, this.#host);
      this.#rooms.set(id, room);
    }
    return room;
  }

  #stateChanged(state: ConnectionState, ready: Status | undefined): void {
    if (ready !== undefined) {
      const { userUUID = '', entityUUID = '', limits } = ready;
      this.#user = { userUUID, entityUUID };
      this.#limits = limits;
      for (const room of this.#rooms.values()) if (room.isWanted) this.#toJoin.add(room);
      this.#join();
      this.#transmit();
      this.#list?.connected();
    } else if (state !== 'connecting') {
      this.#joins.clear();
      for (const room of this.#rooms.values()) {
        room.disconnected();
        if (state === 'stopped') room.close('CLOSED');
      }
    }
    // The first state is told from within the connection's constructor.
    this.emit('state', state, this.#connection?.stopReason);
  }

  /** Sends what is not settled to rooms that need not be joined for it. */
  #transmit(): void {
    for (const id of this.#outbox.rooms) this.#roomOf(id).transmit();
  }

  #placeChanged(room: Room): void {
    if (this.state !== 'online') return;
    if (!room.isWanted) {
      this.#connection.send({ type: 'leave', room_id: room.id });
      return;
    }
    if (this.#toJoin.size === 0) {
      queueMicrotask(() => {
        this.#join();
      });
    }
    this.#toJoin.add(room);
  }

  #join(): void {
    const rooms = [...this.#toJoin].filter((room) => room.isWanted);
    this.#toJoin.clear();
    const { with: hints = ['typing', 'presence', 'read'], max = MOST_REPLAYED } = this.#options;
    const most = this.#limits?.rooms ?? rooms.length;
    for (const isOpen of [true, false]) {
      const some = rooms.filter((room) => room.isOpen === isOpen);
      for (let from = 0; from < some.length; from += most) {
        const list = some.slice(from, from + most);
        const ref = crypto.randomUUID();
        this.#joins.set(ref, new Set(list));
        this.#connection.send({
          type: 'join',
          rooms: list.map((room) => room.place),
          max,
          ...(isOpen && { with: hints }),
          ref,
        });
      }
    }
  }

  #received(frame: Frame): void {
    if (frame.type === 'status') {
      this.#answered(frame as Status);
      return;
    }
    const { room_id: roomId, seq } = frame.data as Partial<Entry>;
    if (roomId === undefined) return;
    if (frame.type === 'invited') {
      this.#list?.refresh(roomId);
      this.emit('invited', roomId, (frame.data as Hint).permissions);
    } else if (seq === undefined) {
      this.#rooms.get(roomId)?.hinted(frame.type, frame.data as Hint);
    } else {
      const entry = frame.data as Entry;
      const { emitter, ref } = entry;
      if (ref !== undefined && emitter === this.#user?.userUUID) this.#settle(ref, seq);
      this.#rooms.get(roomId)?.take(frame.type, entry);
    }
  }

  #answered(status: Status): void {
    const { data: word, ref = '', room_id: roomId, seq, upto } = status;
    const join = this.#joins.get(ref);
    if (join !== undefined) {
      for (const room of join) {
        // If the list was refused, no room is named.
        if (roomId !== undefined && room.id !== Number(roomId)) continue;
        join.delete(room);
        if (join.size === 0) this.#joins.delete(ref);
        room.joinAnswered(status);
      }
    } else if (word === 'SENT' || word === 'OK') {
      this.#settle(ref, seq ?? upto ?? 0);
    } else {
      const pending = this.#outbox.get(ref);
      if (pending === undefined) return;
      const room = this.#roomOf(pending.command.room_id);
      if (word === 'UNAVAILABLE') {
        room.retryIn(status.retry_after_ms);
      } else {
        this.#outbox.refuse(ref, refusalOf(status));
        room.settled(pending);
      }
    }
  }

  #settle(ref: string, seq: number): void {
    const pending = this.#outbox.settle(ref, seq);
    if (pending !== undefined) this.#roomOf(pending.command.room_id).settled(pending, seq);
  }
}
