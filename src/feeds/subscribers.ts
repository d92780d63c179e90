import type { Caller, RoomAccess } from '../access/permissions.js';
import type { Version } from '../protocol/versions.js';
import type { Observer } from '../observer.js';
import type { Tracer } from '../tracer.js';
import type { Log } from '../store/log.js';
import type { SocketWriter } from './socket-writer.js';
import { CatchUpPages, writePage, type FramePage, type Reach } from './catch-up.js';
import type { FlushableRoom, FlushQueue } from './flush-queue.js';

/** Why a room ended for all its subscribers: it was deleted, or its log went back. */
export type EndReason = 'ROOM_DELETED' | 'LOG_RESET';

/** Why a subscriber lost a room. */
export type LossReason = 'REVOKED' | EndReason;

/** What a feed needs to know of a subscribed session. */
export interface Subscriber {
  /** The version of the wire that it gets its frames in. */
  readonly version: Version;
  readonly identity: Caller;
  readonly writer: SocketWriter;
  /** Its rights, or those of its entity, may be others than before; it may still read. */
  accessChanged?(roomId: number, access: RoomAccess): void;
  /** The subscriber is no longer subscribed; it has received every entry before. */
  roomLost(roomId: number, reason: LossReason): void;
}

/** The position of one subscriber in the room's log. */
interface Cursor {
  readonly subscriber: Subscriber;
  /** The subscriber's own, copied: a pass over thousands of cursors is bound by memory access. */
  readonly writer: SocketWriter;
  /** Whom its rights were last checked for. */
  caller: Caller;
  /** The seq of the last entry that was sent to it. */
  position: number;
  /** Whether it needs pages from the log; else all entries beyond its position are recent. */
  isBehind: boolean;
  /** Whether it is being caught up. */
  isCatchingUp: boolean;
  /** The page that is being read for it. */
  reading: Promise<FramePage> | undefined;
}

/** The frame of an entry that some cursors have not got yet. */
interface RecentFrame {
  readonly seq: number;
  readonly frame: Buffer;
  /** By `performance.now()`; undefined if nobody traces. */
  readonly takenAt: number | undefined;
}

/** One walk over all cursors. */
interface Pass {
  readonly cursors: Iterator<Cursor>;
  /** The head when the pass began: each cursor that it has passed is at least there. */
  readonly from: number;
  /** The date of that entry; undefined if nobody measures. */
  readonly date: string | undefined;
}

/**
 * The sessions of one version in one room on this node, and the position of each. A frame is built once for all of them.
 * Each session gets its due frames in one write, in passes that stop in between, so that a large room does not delay
 * other rooms.
 */
export class Subscribers implements FlushableRoom {
  readonly version: Version;
  readonly #flushQueue: FlushQueue;
  readonly #onReadFailure: (error: unknown) => void;
  readonly #onLive: ((subscriber: Subscriber) => void) | undefined;
  readonly #observer: Observer | undefined;
  readonly #lastDate: (() => string) | undefined;
  readonly #pages: CatchUpPages;
  readonly #cursors = new Map<Subscriber, Cursor>();
  readonly #roomId: number;
  readonly #tracer: Tracer | undefined;
  /** Frames of the entries beyond `#recentFrom`, in order. */
  #recent: RecentFrame[] = [];
  #recentFrom = 0;
  /** By position, the recent frames beyond it as one buffer for all cursors there. */
  readonly #dueFrames = new Map<number, Buffer>();
  #pass: Pass | undefined;
  #head = 0;
  /** Number of cursors that are being caught up. */
  #catchingUp = 0;

  constructor(options: {
    roomId: number;
    version: Version;
    log: Log;
    reach: Reach;
    flushQueue: FlushQueue;
    /** A page could not be read; `resumeCatchUp` tries again. */
    onReadFailure: (error: unknown) => void;
    /** A subscriber that was behind is live. */
    onLive?: (subscriber: Subscriber) => void;
    observer?: Observer | undefined;
    tracer?: Tracer | undefined;
    /** The date of the last entry that was delivered, for the observer. */
    lastDate?: (() => string) | undefined;
  }) {
    this.version = options.version;
    this.#flushQueue = options.flushQueue;
    this.#onReadFailure = options.onReadFailure;
    this.#onLive = options.onLive;
    this.#roomId = options.roomId;
    this.#observer = options.observer;
    this.#tracer = options.tracer;
    this.#lastDate = options.lastDate;
    this.#pages = new CatchUpPages(options);
  }

  get size(): number {
    return this.#cursors.size;
  }

  has(subscriber: Subscriber): boolean {
    return this.#cursors.has(subscriber);
  }

  /** Whom a subscriber's rights were last checked for; undefined if it is none. */
  callerOf(subscriber: Subscriber): Caller | undefined {
    return this.#cursors.get(subscriber)?.caller;
  }

  /** A subscriber has another token; returns whom its rights were checked for before. */
  identify(subscriber: Subscriber): Caller | undefined {
    const cursor = this.#cursors.get(subscriber);
    const before = cursor?.caller;
    if (cursor !== undefined) cursor.caller = subscriber.identity;
    return before;
  }

  /** Whether a subscriber gets each entry as it comes. */
  isLive(subscriber: Subscriber): boolean {
    return this.#cursors.get(subscriber)?.isBehind === false;
  }

  /** All subscribers; one that leaves during the iteration is left out. */
  all(): Iterable<Subscriber> {
    return this.#cursors.keys();
  }

  /** Starts at a head: no entry before it is recent. */
  beginAt(head: number): void {
    this.#head = head;
    this.#recentFrom = head;
  }

  /** Takes the room's next entry. Without a frame it is not sent. */
  deliver(seq: number, frame: Buffer | undefined): void {
    this.#head = seq;
    if (this.#dueFrames.size > 0) this.#dueFrames.clear();
    if (frame !== undefined && this.#cursors.size > 0) {
      this.#recent.push({ seq, frame, takenAt: this.#tracer && performance.now() });
      this.#flushQueue.addRoom(this);
    } else if (this.#recent.length === 0) {
      this.#recentFrom = seq;
    }
  }

  /**
   * Takes the room's next entry, a message that has the text of a later edit. It may be sent once the feed has taken the
   * edit, too, so all subscribers get it by pages.
   */
  deliverByPages(seq: number): void {
    for (const cursor of this.#cursors.values()) {
      this.#addDue(cursor);
      cursor.isBehind = true;
      this.#catchUp(cursor);
    }
    this.#forgetUpTo(this.#head);
    this.#head = seq;
    this.#recentFrom = seq;
  }

  /** A message has changed: who joins from now on gets no page that was read before. */
  forgetPages(): void {
    this.#pages.forgetShared();
  }

  /** Adds a subscriber, live, or behind the entry `after`. */
  join(subscriber: Subscriber, after = this.#head): void {
    const isBehind = after < this.#head;
    const { writer } = subscriber;
    const cursor: Cursor = {
      subscriber,
      writer,
      caller: subscriber.identity,
      position: after,
      isBehind,
      isCatchingUp: false,
      reading: undefined,
    };
    this.#cursors.set(subscriber, cursor);
    this.#catchUp(cursor);
  }

  /**
   * Removes a subscriber. It gets every entry up to the head first, unless it is being caught up.
   * @returns resolves when no page is being read for it
   */
  leave(subscriber: Subscriber): Promise<void> | undefined {
    const cursor = this.#cursors.get(subscriber);
    if (cursor === undefined) return undefined;
    this.#addDue(cursor);
    this.#cursors.delete(subscriber);
    // Recent frames are kept for cursors only.
    if (this.#cursors.size === 0) this.#forgetUpTo(this.#head);
    return cursor.reading?.then(
      () => undefined,
      () => undefined,
    );
  }

  /** Queues a subscriber's due frames, so that its next answer comes behind them. */
  flushTo(subscriber: Subscriber): void {
    const cursor = this.#cursors.get(subscriber);
    if (cursor !== undefined) this.#addDue(cursor);
  }

  /** Resumes catching up each cursor that is behind. */
  resumeCatchUp(): void {
    for (const cursor of this.#cursors.values()) this.#catchUp(cursor);
  }

  flush(sockets: number): number {
    let left = sockets;
    while (left > 0 && this.#recent.length > 0) {
      this.#pass ??= {
        cursors: this.#cursors.values(),
        from: this.#head,
        date: this.#lastDate?.(),
      };
      const next = this.#pass.cursors.next();
      if (next.done === true) {
        if (this.#pass.date !== undefined) this.#observer?.delivered(this.#pass.date);
        if (this.#tracer !== undefined) this.#traceUpTo(this.#pass.from, this.#tracer);
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

  #addDue(cursor: Cursor): void {
    const frames = this.#takeDue(cursor);
    if (frames !== undefined) cursor.writer.add(frames);
  }

  /**
   * Takes the due frames of a live cursor, which moves to the head. Undefined if there are none, or its writer is
   * full.
   */
  #takeDue(cursor: Cursor): Buffer | undefined {
    if (cursor.isBehind || cursor.position === this.#head) return undefined;
    const frames = this.#framesBeyond(cursor.position);
    if (frames !== undefined && cursor.writer.isFull) {
      this.#observer?.fellBehind();
      cursor.isBehind = true;
      this.#catchUp(cursor);
      return undefined;
    }
    cursor.position = this.#head;
    return frames;
  }

  #framesBeyond(head: number): Buffer | undefined {
    let joined = this.#dueFrames.get(head);
    if (joined !== undefined) return joined;
    const frames = this.#recent.filter(({ seq }) => seq > head).map(({ frame }) => frame);
    const [first] = frames;
    if (first === undefined) return undefined;
    joined = frames.length === 1 ? first : Buffer.concat(frames);
    this.#dueFrames.set(head, joined);
    return joined;
  }

  #traceUpTo(head: number, tracer: Tracer): void {
    const to = performance.now();
    for (const { seq, takenAt = to } of this.#recent) {
      if (seq > head) break;
      const place = { roomId: this.#roomId, seq };
      tracer.delivered(place, { from: takenAt, to }, this.version);
    }
  }

  /** Ends the pass: every cursor is at `head` at least. */
  #forgetUpTo(head: number): void {
    this.#pass = undefined;
    this.#recent = this.#recent.filter(({ seq }) => seq > head);
    this.#recentFrom = this.#recent.length === 0 ? this.#head : head;
    if (this.#recent.length === 0) this.#dueFrames.clear();
  }

  #catchUp(cursor: Cursor): void {
    if (!cursor.isBehind || cursor.isCatchingUp || !this.#isConnected(cursor)) return;
    // Deferred, so CONNECTED is queued before the first page.
    cursor.isCatchingUp = true;
    this.#catchingUp += 1;
    void Promise.resolve()
      .then(() => this.#sendPages(cursor))
      .then(
        () => {
          cursor.isCatchingUp = false;
          this.#catchingUp -= 1;
          // It may have fallen behind again.
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
   * Sends pages until all entries beyond the position are recent; the cursor goes live in the same turn. No page goes
   * beyond the feed's head, so that none overtakes a revocation that is not applied yet.
   */
  async #sendPages(cursor: Cursor): Promise<void> {
    const { writer } = cursor;
    while (this.#isConnected(cursor) && cursor.isBehind) {
      if (writer.isFull) {
        await writer.drained();
      } else if (cursor.position >= this.#recentFrom) {
        cursor.isBehind = false;
        const frames = this.#takeDue(cursor);
        if (frames !== undefined) writer.write(frames);
        if (!cursor.isBehind) this.#onLive?.(cursor.subscriber);
      } else {
        await this.#sendPage(cursor);
      }
    }
  }

  /** A function of its own, so that no page is kept in memory while the writer drains. */
  async #sendPage(cursor: Cursor): Promise<void> {
    const { writer } = cursor;
    const others = this.#catchingUp > 1;
    cursor.reading = this.#pages.read(cursor.position, this.#head, writer.space, others);
    const page = await cursor.reading.finally(() => {
      cursor.reading = undefined;
    });
    if (this.#isConnected(cursor)) cursor.position = writePage(page, writer);
  }

  /** Whether there is still a socket to read for: it may begin to close long before it is gone. */
  #isConnected(cursor: Cursor): boolean {
    return cursor.writer.isOpen && this.#cursors.get(cursor.subscriber) === cursor;
  }
}
