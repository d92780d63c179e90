import type { Caller } from '../access/permissions.js';
import type { Log } from '../store/log.js';
import type { SocketWriter } from './socket-writer.js';
import { CatchUpPages, writePage, type FramePage } from './catch-up.js';
import type { FlushableRoom, FlushQueue } from './flush-queue.js';

/** Why a room ended for all its sessions: it was deleted, or its log went back. */
export type EndReason = 'ROOM_DELETED' | 'LOG_RESET';

/** Why a session lost its room. */
export type LossReason = 'REVOKED' | EndReason;

/** A session, as a room that it looks at sees it. */
export interface Subscriber {
  readonly identity: Caller;
  readonly writer: SocketWriter;
  /** The room is gone for this session; it has had every entry before. */
  roomLost(roomId: number, reason: LossReason): void;
}

/** Where a session is in the room's log. */
interface Cursor {
  readonly subscriber: Subscriber;
  /** The listener's: a round over thousands of places is bound by what it has to fetch from memory. */
  readonly writer: SocketWriter;
  /** Number of the last entry that went to it. */
  position: number;
  /** Whether it is paged up from the log; else everything beyond `at` is among the recent frames. */
  isBehind: boolean;
  /** Whether it is being caught up. */
  isCatchingUp: boolean;
  /** The page that is read for it, while one is. */
  reading: Promise<FramePage> | undefined;
}

/** One passage along all places. */
interface Pass {
  readonly cursors: Iterator<Cursor>;
  /** The room's number when it began: whom it has passed has had all up to there. */
  readonly from: number;
}

/**
 * The sessions of this node that look at one room, and what each has had. A frame is built once for all of them;
 * each gets what it has not had as one write, in rounds, so that a large room does not keep the others waiting.
 */
export class Subscribers implements FlushableRoom {
  readonly #flushQueue: FlushQueue;
  readonly #onReadFailure: (error: unknown) => void;
  readonly #pages: CatchUpPages;
  readonly #cursors = new Map<Subscriber, Cursor>();
  /** Frames of the entries beyond `#recentFrom`, in order. */
  #recent: { readonly seq: number; readonly frame: Buffer }[] = [];
  #recentFrom = 0;
  /** Recent frames beyond a number up to the room's own, as one buffer for all who are there. */
  readonly #joined = new Map<number, Buffer>();
  #pass: Pass | undefined;
  #head = 0;
  /** How many are being caught up. */
  #catchingUp = 0;

  constructor(options: {
    roomId: number;
    log: Log;
    flushQueue: FlushQueue;
    /** A page was not read: `catchUpAll` comes back to it. */
    onReadFailure: (error: unknown) => void;
  }) {
    this.#flushQueue = options.flushQueue;
    this.#onReadFailure = options.onReadFailure;
    this.#pages = new CatchUpPages(options.roomId, options.log);
  }

  get size(): number {
    return this.#cursors.size;
  }

  has(subscriber: Subscriber): boolean {
    return this.#cursors.has(subscriber);
  }

  /** Those who are there now; who leaves meanwhile is left out. */
  all(): Iterable<Subscriber> {
    return this.#cursors.keys();
  }

  /** Begins at a number: nothing before it is recent. */
  beginAt(head: number): void {
    this.#head = head;
    this.#recentFrom = head;
  }

  /** The room's next entry; without a frame it is not shown. */
  deliver(seq: number, frame: Buffer | undefined): void {
    this.#head = seq;
    this.#joined.clear();
    if (frame !== undefined && this.#cursors.size > 0) {
      this.#recent.push({ seq, frame });
      this.#flushQueue.addRoom(this);
    } else if (this.#recent.length === 0) {
      this.#recentFrom = seq;
    }
  }

  /** Somebody comes: live, or, with `after`, behind that number. */
  join(subscriber: Subscriber, after = this.#head): void {
    const isBehind = after < this.#head;
    const { writer } = subscriber;
    const cursor: Cursor = {
      subscriber,
      writer,
      position: after,
      isBehind,
      isCatchingUp: false,
      reading: undefined,
    };
    this.#cursors.set(subscriber, cursor);
    this.#catchUp(cursor);
  }

  /**
   * Somebody goes, with every entry up to the room's number, unless they were behind.
   * @returns resolves when nothing is read for them any more
   */
  leave(subscriber: Subscriber): Promise<void> | undefined {
    this.flushTo(subscriber);
    const cursor = this.#cursors.get(subscriber);
    this.#cursors.delete(subscriber);
    // Nobody is owed anything, and what comes now is not kept for anybody.
    if (this.#cursors.size === 0) this.#forgetUpTo(this.#head);
    return cursor?.reading?.then(
      () => undefined,
      () => undefined,
    );
  }

  /** Adds to a listener's answers what it has not had of the room: what is answered next comes behind it. */
  flushTo(subscriber: Subscriber): void {
    const cursor = this.#cursors.get(subscriber);
    const frames = cursor && this.#takeDue(cursor);
    if (frames !== undefined) cursor?.writer.add(frames);
  }

  /** Goes on paging up who is behind, where that had broken off. */
  catchUpAll(): void {
    for (const cursor of this.#cursors.values()) this.#catchUp(cursor);
  }

  flush(sockets: number): number {
    let left = sockets;
    while (left > 0 && this.#recent.length > 0) {
      this.#pass ??= { cursors: this.#cursors.values(), from: this.#head };
      const next = this.#pass.cursors.next();
      if (next.done === true) {
        this.#forgetUpTo(this.#pass.from);
        continue;
      }
      const frames = this.#takeDue(next.value);
      if (frames === undefined) continue;
      next.value.writer.write(frames);
      left -= 1;
    }
    return left;
  }

  /** What a live place has not had; it has had it then. Undefined where that is nothing, or it takes nothing more. */
  #takeDue(cursor: Cursor): Buffer | undefined {
    if (cursor.isBehind || cursor.position === this.#head) return undefined;
    const frames = this.#framesBeyond(cursor.position);
    if (frames !== undefined && cursor.writer.isFull) {
      cursor.isBehind = true;
      this.#catchUp(cursor);
      return undefined;
    }
    cursor.position = this.#head;
    return frames;
  }

  #framesBeyond(head: number): Buffer | undefined {
    let joined = this.#joined.get(head);
    if (joined !== undefined) return joined;
    const frames = this.#recent.filter(({ seq }) => seq > head).map(({ frame }) => frame);
    const [first] = frames;
    if (first === undefined) return undefined;
    joined = frames.length === 1 ? first : Buffer.concat(frames);
    this.#joined.set(head, joined);
    return joined;
  }

  /** Ends the round: everybody has had all up to `number`. */
  #forgetUpTo(head: number): void {
    this.#pass = undefined;
    this.#recent = this.#recent.filter(({ seq }) => seq > head);
    this.#recentFrom = this.#recent.length === 0 ? this.#head : head;
    if (this.#recent.length === 0) this.#joined.clear();
  }

  #catchUp(cursor: Cursor): void {
    if (!cursor.isBehind || cursor.isCatchingUp || !this.#isHere(cursor)) return;
    // Not before whoever joins is told so.
    cursor.isCatchingUp = true;
    this.#catchingUp += 1;
    void Promise.resolve()
      .then(() => this.#pageUp(cursor))
      .then(
        () => {
          cursor.isCatchingUp = false;
          this.#catchingUp -= 1;
          // It may have got behind again since.
          this.#catchUp(cursor);
        },
        (error: unknown) => {
          cursor.isCatchingUp = false;
          this.#catchingUp -= 1;
          this.#onReadFailure(error);
        },
      );
  }

  /**
   * Sends pages until the rest is among the recent frames; the session is live in the same turn. No page goes
   * beyond the room's number here: a revocation that was not applied yet can't be overtaken by one.
   */
  async #pageUp(cursor: Cursor): Promise<void> {
    const { writer } = cursor;
    while (this.#isHere(cursor) && cursor.isBehind) {
      if (writer.isFull) {
        await writer.drained();
      } else if (cursor.position >= this.#recentFrom) {
        cursor.isBehind = false;
        const frames = this.#takeDue(cursor);
        if (frames !== undefined) writer.write(frames);
      } else {
        await this.#sendPage(cursor);
      }
    }
  }

  /** A function of its own: while the outbox drains, nobody keeps the page. */
  async #sendPage(cursor: Cursor): Promise<void> {
    const { writer } = cursor;
    const others = this.#catchingUp > 1;
    cursor.reading = this.#pages.read(cursor.position, this.#head, writer.space, others);
    const page = await cursor.reading.finally(() => {
      cursor.reading = undefined;
    });
    if (this.#isHere(cursor)) cursor.position = writePage(page, writer);
  }

  /** Whether there is still somebody to read for: a socket may have begun to close long before it is gone. */
  #isHere(cursor: Cursor): boolean {
    return cursor.writer.isOpen && this.#cursors.get(cursor.subscriber) === cursor;
  }
}
