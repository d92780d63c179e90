import { Retry } from './backoff.js';
import type { Message } from './message.js';
import { queryOf } from './rest.js';
import { RoomState } from './room-state.js';
import type { Answer, MessageRow } from './wire.js';

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

/** What it needs of its room. */
interface PagedRoom {
  readonly id: number;
  readonly phase: string;
  /** A page was added to the state. */
  paged: (rows: readonly MessageRow[]) => void;
}

interface Client {
  request: (method: string, path: string) => Promise<Answer<readonly MessageRow[]>>;
}

/** Messages of a page, by default of the server's. */
const PAGE = 50;
/** Loads the pages of a room into its state: the last one, and those before. */
export class RoomPages {
  /** Whether there may be messages before those of the state. */
  hasOlder = true;
  /** Whether the last page is to be loaded, or to be loaded anew. */
  isDue = false;
  readonly #room: PagedRoom;
  readonly #client: Client;
  readonly #state: RoomState;
  #older: Promise<boolean> | undefined;
  readonly #retry = new Retry();

  constructor(room: PagedRoom, client: Client, state: RoomState) {
    this.#room = room;
    this.#client = client;
    this.#state = state;
  }

  /** Loads the last page if it is due, again and again until that works, or the room is closed. */
  loadDue(): void {
    if (!this.isDue) return;
    this.loadOlder().catch(() => {
      // If it is not joined, the answer to its `join` is the occasion.
      if (this.#room.phase !== 'joined') return;
      this.#retry.failed(() => {
        this.loadDue();
      });
    });
  }

  /**
   * Loads messages before those of the state.
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

  /** Reads messages without adding them to the state. @throws {ChatError} */
  async read(range: Range): Promise<MessagePage> {
    const page = new RoomState();
    const answer = await page.read(() => this.#load(range));
    return { messages: page.messages, hasMore: answer?.hasMore ?? false };
  }

  /** The state was dropped: what is on its way does not belong to it. */
  drop(): void {
    this.hasOlder = true;
    this.#older = undefined;
    this.#retry.cancel();
  }

  async #loadOlder(limit: number): Promise<boolean> {
    const { first } = this.#state;
    const isLast = this.isDue || first === undefined;
    const range = isLast ? { limit } : { limit, before: first };
    const answer = await this.#state.read(() => this.#load(range));
    if (answer !== undefined) {
      this.hasOlder = answer.hasMore;
      if (isLast) {
        this.isDue = false;
        this.#retry.worked();
      }
      this.#room.paged(answer.rows);
    }
    return this.hasOlder;
  }

  async #load(range: Range) {
    const path = `/rooms/${this.#room.id}/messages${queryOf({ limit: PAGE, ...range })}`;
    const { meta, content } = await this.#client.request('GET', path);
    const { head = 0, epoch = '', next } = meta;
    return { head, epoch, rows: content, hasMore: next !== undefined };
  }
}
