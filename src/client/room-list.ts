import type { ConnectionState } from './connection.js';
import type { ChatError } from './errors.js';
import { Emitter } from './events.js';
import type { Room } from './room.js';
import type { Answer, Entry, Limits, MessageRow, RoomRow } from './wire.js';

export interface RoomListEvents {
  change: [];
}

/** What the list needs of its client. */
interface Client {
  readonly state: ConnectionState;
  readonly user: { readonly userUUID: string; readonly entityUUID: string } | undefined;
  readonly limits: Limits | undefined;
  request<Content>(method: string, path: string): Promise<Answer<Content>>;
}

interface Options {
  readonly client: Client;
  readonly roomOf: (id: number) => Room;
  readonly ended: () => void;
}

/** What is not known by the entries alone is asked for after a rest: many entries, one request. */
const REFRESH_MS = 500;
/** Before what was not answered is asked for again. */
const RETRY_MS = 2_000;
/** The server counts unread messages as far. */
const MOST_UNREAD = 100;
/** Rooms of `GET /me/rooms` that are none any more. */
const GONE: ReadonlySet<string> = new Set(['FORBIDDEN', 'NOT_FOUND']);

/**
 * The user's rooms, those with the newest messages first. It follows as many of them as half of what one socket may join;
 * the others are as they were when they were loaded, until they are opened.
 */
export class RoomList extends Emitter<RoomListEvents> {
  /** Whether a page was loaded. */
  isLoaded = false;
  hasMore = true;
  readonly #options: Options;
  #items: readonly RoomRow[] = [];
  readonly #followed = new Map<
    number,
    { readonly room: Room; readonly ends: readonly (() => void)[] }
  >();
  /** Requests that wait for their time: by room, and for the whole list. */
  readonly #refreshes = new Map<number | 'all', ReturnType<typeof setTimeout>>();
  /** One request at a time. */
  #requests: Promise<unknown> = Promise.resolve();
  /** What came since the request on its way was sent: its answer may be older. Undefined if there is none. */
  #early: (() => void)[] | undefined;
  #next: string | undefined;
  #isClosed = false;

  constructor(options: Options) {
    super();
    this.#options = options;
    if (options.client.state === 'online') this.connected();
  }

  /** Another list at each change. */
  get items(): readonly RoomRow[] {
    return this.#items;
  }

  /** Whether the other user of a direct room is online, as far as it is followed. */
  isOnline({ id, with: other }: RoomRow): boolean {
    return this.#followed.get(id)?.room.online.has(other?.userUUID ?? '') ?? false;
  }

  /** Loads the next page. @throws {ChatError} */
  loadMore(): Promise<void> {
    return this.#queue(async () => {
      if (!this.hasMore) return;
      const rows = await this.#loadPage(this.#next);
      const ids = new Set(rows.map(({ id }) => id));
      this.#show([...this.#items.filter(({ id }) => !ids.has(id)), ...rows]);
    });
  }

  /** Asks for a room again, or for one that was made or opened just now. */
  refresh(roomId: number): void {
    this.#later(roomId);
  }

  /** Ends it: nothing is followed any more. */
  close(): void {
    this.#isClosed = true;
    for (const timer of this.#refreshes.values()) clearTimeout(timer);
    this.#refreshes.clear();
    for (const id of this.#followed.keys()) this.#unfollow(id);
    this.#options.ended();
  }

  /** @internal The client is online again: rooms may have come and gone. */
  connected(): void {
    this.#later('all');
  }

  /** @internal The client has entered a room: an invitation is accepted by that. */
  joined({ id }: Room): void {
    if (!this.#followed.has(id)) this.#later(id);
  }

  /** @internal The user has read a room up to a number. */
  marked(roomId: number, upto: number): void {
    this.#do(() => {
      const row = this.#row(roomId);
      if (row === undefined || row.read === upto) return;
      if (upto >= (row.last_message?.seq ?? 0)) {
        this.#change(roomId, { read: upto, unread: 0, mentions: 0 });
      } else {
        this.#change(roomId, { read: upto });
        this.#later(roomId, REFRESH_MS);
      }
    });
  }

  /** Loads as many rooms as there are, at least a page. */
  async #loadAll(): Promise<void> {
    const rows = [...(await this.#loadPage())];
    while (this.hasMore && rows.length < this.#items.length) {
      rows.push(...(await this.#loadPage(this.#next)));
    }
    // A room with a new message may have moved to a page that was loaded before.
    this.#show([...new Map(rows.map((row) => [row.id, row])).values()]);
  }

  async #loadPage(next = ''): Promise<readonly RoomRow[]> {
    const { meta, content } = await this.#options.client.request<readonly RoomRow[]>(
      'GET',
      `/me/rooms${next}`,
    );
    this.#next = meta.next;
    this.hasMore = meta.next !== undefined;
    this.isLoaded = true;
    return content;
  }

  async #loadOne(id: number): Promise<void> {
    try {
      const { content } = await this.#options.client.request<RoomRow>('GET', `/rooms/${id}`);
      this.#show(this.#placed(content));
    } catch (error) {
      if (!GONE.has((error as ChatError).reason)) throw error;
      this.#remove(id);
    }
  }

  /** Shows rows of an answer, to which is done what came since it was asked for. */
  #show(rows: readonly RoomRow[]): void {
    if (this.#isClosed) return;
    this.#items = rows;
    const early = this.#early ?? [];
    for (const change of early) change();
    for (const row of this.#items) this.#follow(row);
    this.emit('change');
  }

  /** To join a room accepts the invitation: that is left to the user. */
  #follow({ id, permissions, accepted, head, epoch, type }: RoomRow): void {
    const { client, roomOf } = this.#options;
    if (!accepted || !permissions.includes('r')) return;
    if (this.#followed.has(id) || this.#followed.size >= (client.limits?.rooms ?? 0) / 2) return;
    const room = roomOf(id);
    const ends = [
      room.on('entry', (type, entry) => {
        this.#do(() => {
          this.#take(type, entry);
        });
      }),
      room.on('reset', () => {
        this.#later(id, REFRESH_MS);
      }),
      room.on('presence', () => {
        this.emit('change');
      }),
      room.on('access', (permissions) => {
        if (permissions === '') return;
        this.#do(() => {
          this.#change(id, { permissions });
        });
      }),
      room.on('closed', (reason) => {
        this.#unfollow(id);
        if (reason !== 'TOO_MANY_ROOMS' && reason !== 'CLOSED') this.#remove(id);
      }),
    ];
    this.#followed.set(id, { room, ends });
    room.type = type;
    room.follow(head, epoch);
    // It was open before, and entries that the row has not were told to nobody here.
    if (room.last > head) this.#later(id);
  }

  #unfollow(id: number): void {
    const followed = this.#followed.get(id);
    this.#followed.delete(id);
    for (const end of followed?.ends ?? []) end();
    followed?.room.unfollow();
  }

  #take(type: string, entry: Entry): void {
    const { room_id: id, seq: head, target, content } = entry;
    const row = this.#row(id);
    if (row === undefined) {
      if (type === 'message') this.#later(id, REFRESH_MS);
      return;
    }
    // An answer may be younger.
    if (head <= row.head) return;
    const last = row.last_message;
    if (type === 'message') {
      this.#messageCame(row, entry);
    } else if (type === 'edit' && last !== null && last.seq === target && content !== undefined) {
      // Without `data`, the message has none any more.
      const { data, createdAt: edited_at } = entry;
      this.#change(id, { head, last_message: { ...last, content, data, edited_at } as MessageRow });
    } else if (type === 'room') {
      this.#change(id, { head, name: entry.name ?? row.name, data: entry.data ?? null });
    } else {
      this.#change(id, { head });
      // Of a change of the user's own rule tells `access`.
      const isCounted = target !== undefined && (target > row.read || target === last?.seq);
      if (type === 'delete' && isCounted) this.#later(id, REFRESH_MS);
    }
  }

  #messageCame(row: RoomRow, entry: Entry): void {
    const { user } = this.#options.client;
    const { content, mentions = [], seq: head } = entry;
    const isOther = entry.emitter !== user?.userUUID;
    const isMention =
      isOther && mentions.some((uuid) => uuid === user?.userUUID || uuid === user?.entityUUID);
    // What it says now, or whether it was deleted, is not known yet; of the mentions, only the newest messages' count.
    if (content === undefined || (row.unread === MOST_UNREAD && row.mentions > 0)) {
      this.#later(row.id, REFRESH_MS);
    }
    const now = {
      ...row,
      head,
      unread: Math.min(MOST_UNREAD, row.unread + (isOther ? 1 : 0)),
      mentions: row.mentions + (isMention ? 1 : 0),
      // An entry of this type is a row as well.
      ...(content !== undefined && { last_message: entry as MessageRow }),
    };
    this.#items = this.#placed(now);
    this.emit('change');
  }

  /** The rows with this one, in the order of `GET /me/rooms`. */
  #placed(row: RoomRow): readonly RoomRow[] {
    const others = this.#items.filter(({ id }) => id !== row.id);
    return [row, ...others].toSorted((a, b) => dateOf(b) - dateOf(a) || b.id - a.id);
  }

  #row(id: number): RoomRow | undefined {
    return this.#items.find((row) => row.id === id);
  }

  #change(id: number, change: Partial<RoomRow>): void {
    this.#items = this.#items.map((row) => (row.id === id ? { ...row, ...change } : row));
    this.emit('change');
  }

  #remove(id: number): void {
    this.#items = this.#items.filter((row) => row.id !== id);
    this.emit('change');
  }

  /** Does what follows from an event, and does it again to the answer of a request that is on its way. */
  #do(change: () => void): void {
    change();
    this.#early?.push(change);
  }

  #queue(request: () => Promise<void>): Promise<void> {
    const done = this.#requests.then(async () => {
      this.#early = [];
      try {
        await request();
      } finally {
        this.#early = undefined;
      }
    });
    this.#requests = done.catch(() => undefined);
    return done;
  }

  /** Asks for a room, or for all, after a wait; if there is no answer, again. */
  #later(what: number | 'all', ms = 0): void {
    if (this.#isClosed || this.#refreshes.has(what)) return;
    const timer = setTimeout(() => {
      this.#refreshes.delete(what);
      this.#queue(() => (what === 'all' ? this.#loadAll() : this.#loadOne(what))).catch(() => {
        // At the next reconnect all is asked for anyway.
        if (this.#options.client.state === 'online') this.#later(what, RETRY_MS);
      });
    }, ms);
    this.#refreshes.set(what, timer);
  }
}

/** By which the server sorts: of the last message, or else of the room. */
function dateOf(row: RoomRow): number {
  return Date.parse((row.last_message ?? row).createdAt);
}
