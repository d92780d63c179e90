import type { Caller } from '../access/permissions.js';
import type { Log } from '../store/log.js';
import type { Outbox } from './outbox.js';
import { Pages, writePage, type Page } from './pages.js';
import type { Divisible, Turn } from './turn.js';

/** Why a room ended for all its sessions: it was deleted, or its log went back. */
export type EndReason = 'ROOM_DELETED' | 'LOG_RESET';

/** Why a session lost its room. */
export type LossReason = 'REVOKED' | EndReason;

/** A session, as a room that it looks at sees it. */
export interface Listener {
  readonly identity: Caller;
  readonly outbox: Outbox;
  /** The room is gone for this session; it has had every entry before. */
  lostRoom(roomId: number, reason: LossReason): void;
}

/** Where a session is in the room's log. */
interface Place {
  readonly listener: Listener;
  /** The listener's: a round over thousands of places is bound by what it has to fetch from memory. */
  readonly outbox: Outbox;
  /** Number of the last entry that went to it. */
  at: number;
  /** Whether it is paged up from the log; else everything beyond `at` is among the recent frames. */
  isBehind: boolean;
  /** Whether it is being caught up. */
  isCatchingUp: boolean;
  /** The page that is read for it, while one is. */
  reading: Promise<Page> | undefined;
}

/** One passage along all places. */
interface Round {
  readonly places: Iterator<Place>;
  /** The room's number when it began: whom it has passed has had all up to there. */
  readonly from: number;
}

/**
 * The sessions of this node that look at one room, and what each has had. A frame is built once for all of them;
 * each gets what it has not had as one write, in rounds, so that a large room does not keep the others waiting.
 */
export class Audience implements Divisible {
  readonly #turn: Turn;
  readonly #onReadFailure: (error: unknown) => void;
  readonly #pages: Pages;
  readonly #places = new Map<Listener, Place>();
  /** Frames of the entries beyond `#recentFrom`, in order. */
  #recent: { readonly seq: number; readonly frame: Buffer }[] = [];
  #recentFrom = 0;
  /** Recent frames beyond a number up to the room's own, as one buffer for all who are there. */
  readonly #joined = new Map<number, Buffer>();
  #round: Round | undefined;
  #number = 0;
  /** How many are being caught up. */
  #catchingUp = 0;

  constructor(options: {
    roomId: number;
    log: Log;
    turn: Turn;
    /** A page was not read: `catchUpAll` comes back to it. */
    onReadFailure: (error: unknown) => void;
  }) {
    this.#turn = options.turn;
    this.#onReadFailure = options.onReadFailure;
    this.#pages = new Pages(options.roomId, options.log);
  }

  get size(): number {
    return this.#places.size;
  }

  has(listener: Listener): boolean {
    return this.#places.has(listener);
  }

  /** Those who are there now; who leaves meanwhile is left out. */
  listeners(): Iterable<Listener> {
    return this.#places.keys();
  }

  /** Begins at a number: nothing before it is recent. */
  beginAt(number: number): void {
    this.#number = number;
    this.#recentFrom = number;
  }

  /** The room's next entry; without a frame it is not shown. */
  show(seq: number, frame: Buffer | undefined): void {
    this.#number = seq;
    this.#joined.clear();
    if (frame !== undefined && this.#places.size > 0) {
      this.#recent.push({ seq, frame });
      this.#turn.roomChanged(this);
    } else if (this.#recent.length === 0) {
      this.#recentFrom = seq;
    }
  }

  /** Somebody comes: live, or, with `after`, behind that number. */
  join(listener: Listener, after = this.#number): void {
    const isBehind = after < this.#number;
    const { outbox } = listener;
    const place: Place = {
      listener,
      outbox,
      at: after,
      isBehind,
      isCatchingUp: false,
      reading: undefined,
    };
    this.#places.set(listener, place);
    this.#catchUp(place);
  }

  /**
   * Somebody goes, with every entry up to the room's number, unless they were behind.
   * @returns resolves when nothing is read for them any more
   */
  leave(listener: Listener): Promise<void> | undefined {
    this.bringUp(listener);
    const place = this.#places.get(listener);
    this.#places.delete(listener);
    // Nobody is owed anything, and what comes now is not kept for anybody.
    if (this.#places.size === 0) this.#forgetUpTo(this.#number);
    return place?.reading?.then(
      () => undefined,
      () => undefined,
    );
  }

  /** Adds to a listener's answers what it has not had of the room: what is answered next comes behind it. */
  bringUp(listener: Listener): void {
    const place = this.#places.get(listener);
    const frames = place && this.#due(place);
    if (frames !== undefined) place?.outbox.add(frames);
  }

  /** Goes on paging up who is behind, where that had broken off. */
  catchUpAll(): void {
    for (const place of this.#places.values()) this.#catchUp(place);
  }

  flush(sockets: number): number {
    let left = sockets;
    while (left > 0 && this.#recent.length > 0) {
      this.#round ??= { places: this.#places.values(), from: this.#number };
      const next = this.#round.places.next();
      if (next.done === true) {
        this.#forgetUpTo(this.#round.from);
        continue;
      }
      const frames = this.#due(next.value);
      if (frames === undefined) continue;
      next.value.outbox.write(frames);
      left -= 1;
    }
    return left;
  }

  /** What a live place has not had; it has had it then. Undefined where that is nothing, or it takes nothing more. */
  #due(place: Place): Buffer | undefined {
    if (place.isBehind || place.at === this.#number) return undefined;
    const frames = this.#framesBeyond(place.at);
    if (frames !== undefined && place.outbox.isFull) {
      place.isBehind = true;
      this.#catchUp(place);
      return undefined;
    }
    place.at = this.#number;
    return frames;
  }

  #framesBeyond(number: number): Buffer | undefined {
    let joined = this.#joined.get(number);
    if (joined !== undefined) return joined;
    const frames = this.#recent.filter(({ seq }) => seq > number).map(({ frame }) => frame);
    const [first] = frames;
    if (first === undefined) return undefined;
    joined = frames.length === 1 ? first : Buffer.concat(frames);
    this.#joined.set(number, joined);
    return joined;
  }

  /** Ends the round: everybody has had all up to `number`. */
  #forgetUpTo(number: number): void {
    this.#round = undefined;
    this.#recent = this.#recent.filter(({ seq }) => seq > number);
    this.#recentFrom = this.#recent.length === 0 ? this.#number : number;
    if (this.#recent.length === 0) this.#joined.clear();
  }

  #catchUp(place: Place): void {
    if (!place.isBehind || place.isCatchingUp || !this.#isHere(place)) return;
    // Not before whoever joins is told so.
    place.isCatchingUp = true;
    this.#catchingUp += 1;
    void Promise.resolve()
      .then(() => this.#pageUp(place))
      .then(
        () => {
          place.isCatchingUp = false;
          this.#catchingUp -= 1;
          // It may have got behind again since.
          this.#catchUp(place);
        },
        (error: unknown) => {
          place.isCatchingUp = false;
          this.#catchingUp -= 1;
          this.#onReadFailure(error);
        },
      );
  }

  /**
   * Sends pages until the rest is among the recent frames; the session is live in the same turn. No page goes
   * beyond the room's number here: a revocation that was not applied yet can't be overtaken by one.
   */
  async #pageUp(place: Place): Promise<void> {
    const { outbox } = place;
    while (this.#isHere(place) && place.isBehind) {
      if (outbox.isFull) {
        await outbox.drained();
      } else if (place.at >= this.#recentFrom) {
        place.isBehind = false;
        const frames = this.#due(place);
        if (frames !== undefined) outbox.write(frames);
      } else {
        await this.#sendPage(place);
      }
    }
  }

  /** A function of its own: while the outbox drains, nobody keeps the page. */
  async #sendPage(place: Place): Promise<void> {
    const { outbox } = place;
    const others = this.#catchingUp > 1;
    place.reading = this.#pages.read(place.at, this.#number, outbox.space, others);
    const page = await place.reading.finally(() => {
      place.reading = undefined;
    });
    if (this.#isHere(place)) place.at = writePage(page, outbox);
  }

  /** Whether there is still somebody to read for: a socket may have begun to close long before it is gone. */
  #isHere(place: Place): boolean {
    return place.outbox.isOpen && this.#places.get(place.listener) === place;
  }
}
