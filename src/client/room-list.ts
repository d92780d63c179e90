import { Emitter } from './events.js';
import type { ConnectionState } from './connection.js';
import type { Room } from './room.js';
import type { Answer, Entry, Limits, RoomRow } from './wire.js';

export interface RoomListEvents extends Record<string, readonly unknown[]> {
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
  readonly follow: (id: number) => Room;
  readonly ended: () => void;
}

/** What is not known by the entries alone is asked for after a rest: many entries, one request. */
const REFRESH_MS = 500;
/** The server counts unread messages as far. */
const MOST_UNREAD = 100;

/**
 * The user's rooms, those with the newest messages first. It follows as many of them as one socket may join; the others
 * are as they were when they were loaded.
 */
export class RoomList extends Emitter<RoomListEvents> {
  /** Whether a page was loaded. */
  isLoaded = false;
  hasMore = true;
  readonly #options: Options;
  #items: readonly RoomRow[] = [];
  readonly #followed = new Map<number, { readonly room: Room; readonly end: () => void }>();
  readonly #refreshes = new Map<number, ReturnType<typeof setTimeout>>();
  #next: string | undefined;
  #loading: Promise<void> | undefined;

  constructor(options: Options) {
    super();
    this.#options = options;
    if (options.client.state === 'online') void this.#reload();
  }

  /** Another list at each change. */
  get items(): readonly RoomRow[] {
    return this.#items;
  }

  /** Loads the next page. @throws {ChatError} */
  async loadMore(): Promise<void> {
    await this.#loading;
    if (!this.hasMore) return;
    this.#loading = this.#load(this.#next).finally(() => {
      this.#loading = undefined;
    });
    await this.#loading;
  }

  /** @internal The client is online again: rooms may have come and gone. */
  connected(): void {
    void this.#reload();
  }

  /** Asks for a room again, or for one that was made or opened just now. */
  refresh(roomId: number): void {
    this.#refresh(roomId, 0);
  }

  /** Ends it: nothing is followed any more. */
  close(): void {
    for (const timer of this.#refreshes.values()) clearTimeout(timer);
    for (const id of this.#followed.keys()) this.#unfollow(id);
    this.#options.ended();
  }

  async #reload(): Promise<void> {
    const count = this.#items.length;
    try {
      await this.#load(undefined);
      while (this.hasMore && this.#items.length < count) await this.#load(this.#next);
    } catch {
      // The next reconnect asks again.
    }
  }

  async #load(next: string | undefined): Promise<void> {
    const { client } = this.#options;
    const { meta, content } = await client.request<readonly RoomRow[]>(
      'GET',
      `/me/rooms${next ?? ''}`,
    );
    const ids = new Set(content.map(({ id }) => id));
    const before = next === undefined ? [] : this.#items.filter(({ id }) => !ids.has(id));
    this.#next = meta.next;
    this.hasMore = meta.next !== undefined;
    this.isLoaded = true;
    this.#show([...before, ...content]);
    for (const row of content) this.#follow(row);
  }

  /** To join a room accepts the invitation: that is left to the user. */
  #follow({ id, permissions, accepted }: RoomRow): void {
    const { client, follow } = this.#options;
    if (!accepted || !permissions.includes('r')) return;
    if (this.#followed.has(id) || this.#followed.size >= (client.limits?.rooms ?? 0) / 2) return;
    const room = follow(id);
    const ends = [
      room.on('entry', (type, entry) => {
        this.#take(type, entry);
      }),
      room.on('reset', () => {
        this.#refresh(id);
      }),
      room.on('read', (userUUID) => {
        if (userUUID === client.user?.userUUID) this.#read(id, room.readUpto);
      }),
      room.on('access', (permissions) => {
        this.#change(id, (row) => ({ ...row, permissions }));
      }),
      room.on('closed', () => {
        this.#unfollow(id);
        this.#show(this.#items.filter((row) => row.id !== id));
      }),
    ];
    const end = (): void => {
      for (const end of ends) end();
    };
    this.#followed.set(id, { room, end });
  }

  #unfollow(id: number): void {
    const followed = this.#followed.get(id);
    this.#followed.delete(id);
    followed?.end();
    followed?.room.unfollow();
  }

  #take(type: string, entry: Entry): void {
    const row = this.#items.find(({ id }) => id === entry.room_id);
    // The row may be younger.
    if (row === undefined || entry.seq <= row.head) return;
    const head = entry.seq;
    if (type === 'message' && entry.content !== undefined) {
      const { user } = this.#options.client;
      const { content = '', mentions = [] } = entry;
      const isOther = entry.emitter !== user?.userUUID;
      const isMentioned =
        isOther && mentions.some((uuid) => uuid === user?.userUUID || uuid === user?.entityUUID);
      const now = {
        ...row,
        head,
        unread: Math.min(MOST_UNREAD, row.unread + (isOther ? 1 : 0)),
        mentions: row.mentions + (isMentioned ? 1 : 0),
        last_message: { ...entry, content, data: entry.data ?? {} },
      };
      this.#show([now, ...this.#items.filter((other) => other !== row)]);
    } else {
      // A reaction changes nothing here; of others the server knows what follows from it.
      this.#change(row.id, (row) => ({ ...row, head }));
      if (type !== 'reaction') this.#refresh(row.id);
    }
  }

  #read(id: number, upto: number): void {
    const row = this.#items.find((row) => row.id === id);
    if (row === undefined) return;
    if (upto >= (row.last_message?.seq ?? 0)) {
      this.#change(id, (row) => ({ ...row, read: upto, unread: 0, mentions: 0 }));
    } else {
      this.#refresh(id);
    }
  }

  #refresh(id: number, ms = REFRESH_MS): void {
    if (this.#refreshes.has(id)) return;
    const timer = setTimeout(() => {
      this.#refreshes.delete(id);
      void this.#loadOne(id);
    }, ms);
    this.#refreshes.set(id, timer);
  }

  async #loadOne(id: number): Promise<void> {
    try {
      const { content } = await this.#options.client.request<RoomRow>('GET', `/rooms/${id}`);
      const known = this.#items.find((row) => row.id === id);
      if (known === undefined) this.#show([content, ...this.#items]);
      // Entries that came meanwhile are newer.
      else if (content.head >= known.head) this.#change(id, () => content);
      else this.#refresh(id);
      this.#follow(content);
    } catch {
      // It is gone, or the next reconnect asks again.
    }
  }

  #change(id: number, change: (row: RoomRow) => RoomRow): void {
    this.#show(this.#items.map((row) => (row.id === id ? change(row) : row)));
  }

  #show(items: readonly RoomRow[]): void {
    this.#items = items;
    this.emit('change');
  }
}
