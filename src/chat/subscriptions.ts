import type { Feed } from '../feeds/feed.js';
import type { Hint } from '../protocol/v2/commands.js';
import type { Subscriber } from '../feeds/subscribers.js';

/** The rooms that one session has joined. Version 1 joins at most one: the selected room. */
export class Subscriptions {
  readonly #subscriber: Subscriber;
  readonly #feeds = new Map<number, Feed>();
  #selected: Feed | undefined;

  constructor(subscriber: Subscriber) {
    this.#subscriber = subscriber;
  }

  /** Number of joined rooms. */
  get size(): number {
    return this.#feeds.size;
  }

  /** The id of a joined room by its uuid. */
  idOf(uuid: string): number | undefined {
    for (const [roomId, feed] of this.#feeds) if (feed.uuid === uuid) return roomId;
    return undefined;
  }

  /**
   * Joins a room that is not joined, live or behind the entry `after`, with hints if it asked for some.
   * @throws {ChatError} as `Feed.join` does
   */
  join(feed: Feed, after?: number, hints?: ReadonlySet<Hint>): void {
    feed.join(this.#subscriber, after, hints);
    this.#feeds.set(feed.roomId, feed);
  }

  /** @returns resolves when nothing of the room is being read for this session: one page at a time, whatever it asks */
  leave(roomId: number): Promise<void> | undefined {
    const feed = this.#feeds.get(roomId);
    return feed && this.#leave(feed);
  }

  /** The room of version 1. */
  get selected(): Feed | undefined {
    return this.#selected;
  }

  /**
   * Joins a room, live or behind the entry `after`, and selects it; a room that is selected already stays as it is.
   * @throws {ChatError} as `Feed.join` does
   */
  select(feed: Feed, after?: number): void {
    if (this.#selected === feed) return;
    this.join(feed, after);
    this.#selected = feed;
  }

  /** As `leave`, of the selected room. */
  leaveSelected(): Promise<void> | undefined {
    return this.#selected && this.#leave(this.#selected);
  }

  /** @returns resolves when nothing is being read for this session */
  async leaveAll(): Promise<void> {
    const reading = Array.from(this.#feeds.values(), (feed) => this.#leave(feed));
    for (const left of reading) await left;
  }

  /** The feed has dropped the session. */
  lost(roomId: number): void {
    if (this.#selected?.roomId === roomId) this.#selected = undefined;
    this.#feeds.delete(roomId);
  }

  /** Asks each room for the rights of the session's new token. */
  recheck(): void {
    for (const feed of this.#feeds.values()) feed.recheck(this.#subscriber);
  }

  /** Queues the pending frames of a room, so that the next answer comes behind them. */
  flush(roomId: number): void {
    this.#feeds.get(roomId)?.flushTo(this.#subscriber);
  }

  #leave(feed: Feed): Promise<void> | undefined {
    this.lost(feed.roomId);
    return feed.leave(this.#subscriber);
  }
}
