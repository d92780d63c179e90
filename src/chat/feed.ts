import { may, type Caller, type RoomAccess, type Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import { ruleOf, type Entry, type RoomState } from '../store/entries.js';
import type { Writer } from '../store/lane.js';
import type { Log } from '../store/log.js';
import type { Outbox } from './outbox.js';
import { Pages, frameOf, writePage } from './pages.js';
import type { Flushable, Turn } from './turn.js';

/** Entries of one read while a gap is repaired. */
const PAGE = 500;
/** Entries that may wait for a gap before them; beyond that they are read from Postgres with it. */
const MAX_EARLY = 1_000;

/** Why a session lost its room. */
export type LossReason = 'REVOKED' | 'ROOM_DELETED';

/** A session, as the feed of its room sees it. */
export interface Listener {
  readonly identity: Caller;
  readonly outbox: Outbox;
  /** The room is gone for this session; it has had every entry before. */
  lostRoom(roomId: number, reason: LossReason): void;
}

/** Where a session is in the room's log. */
interface Place {
  readonly listener: Listener;
  /** Number of the last entry that went to it; undefined while it is live, at the feed's own number. */
  behindAt: number | undefined;
  /** The catching up, while it is under way. */
  work: Promise<void> | undefined;
}

/**
 * One room on this node: puts the log's entries in order, repairs gaps from Postgres, applies revocations,
 * and hands frames that are built once to every session here. `number` is its place in the log; its rules
 * are exact at that number, so that joining and sending cost no query.
 */
export class Feed implements Writer, Flushable {
  readonly roomId: number;
  readonly #log: Log;
  readonly #turn: Turn;
  readonly #logger: Logger;
  readonly #publish: (entries: readonly Entry[]) => void;
  readonly #repairsGaps: boolean;
  readonly #places = new Map<Listener, Place>();
  readonly #early = new Map<number, Entry>();
  readonly #pages: Pages;
  #active = false;
  #number = 0;
  #rulesHead = 0;
  #access: RoomAccess & { rules: Map<string, Rule> };
  /** Frames taken in during this turn: those of the entries from `#written` on. */
  #frames: Buffer[] = [];
  #written = 0;
  #repair: Promise<void> | undefined;
  #gapSeen = false;
  #idleSince = Date.now();

  constructor(options: {
    roomId: number;
    log: Log;
    turn: Turn;
    logger: Logger;
    /** False only to show that the proof can fail: then what was missed is skipped. */
    repairsGaps?: boolean;
    /** Tells the other nodes. */
    publish: (entries: readonly Entry[]) => void;
  }) {
    this.roomId = options.roomId;
    this.#log = options.log;
    this.#turn = options.turn;
    this.#logger = options.logger;
    this.#publish = options.publish;
    this.#repairsGaps = options.repairsGaps ?? true;
    this.#pages = new Pages(options.roomId, options.log);
    // Nobody may do anything until the room's state is known.
    this.#access = {
      type: 'group',
      entity_owner: '',
      level_admin: 0,
      max_entity_rules: 0,
      rules: new Map(),
    };
  }

  /** Number of the last entry that was taken in. */
  get number(): number {
    return this.#number;
  }

  get rulesHead(): number {
    return this.#rulesHead;
  }

  get access(): RoomAccess {
    return this.#access;
  }

  /** Milliseconds since the epoch from which on nobody looks; undefined while somebody does. */
  get idleSince(): number | undefined {
    return this.#places.size === 0 ? this.#idleSince : undefined;
  }

  /** Begins at `state`; what came in since the subscription follows. */
  activate(state: RoomState): void {
    this.#active = true;
    this.#number = state.head;
    this.#written = state.head;
    this.#rulesHead = state.rulesHead;
    this.#access = { ...state.access, rules: new Map(state.access.rules) };
    this.#takeEarly();
    if (this.#early.size > 0) this.#mend();
  }

  /** Somebody is about to join. */
  touch(): void {
    this.#idleSince = Date.now();
  }

  /**
   * A session joins: live, or, with `after`, behind it.
   * @throws {ChatError} FORBIDDEN without `r`; INVALID where `after` is beyond the room's last entry
   */
  join(listener: Listener, after?: number): void {
    if (!may(listener.identity, this.#access, 'r')) throw new ChatError('FORBIDDEN');
    if (after !== undefined && after > this.#number) {
      throw new ChatError('INVALID', {
        detail: `after is beyond the room's head, ${this.#number}`,
      });
    }
    // What was taken in before is not for who comes now.
    this.flush();
    const place: Place = {
      listener,
      behindAt: after === this.#number ? undefined : after,
      work: undefined,
    };
    this.#places.set(listener, place);
    this.#catchUp(place);
  }

  /**
   * A session goes; it has had every entry up to the feed's number, unless it was behind.
   * @returns resolves when nothing is read for it any more
   */
  leave(listener: Listener): Promise<void> | undefined {
    const place = this.#places.get(listener);
    if (place === undefined) return undefined;
    this.flush();
    this.#places.delete(listener);
    this.touch();
    return place.work;
  }

  /** Asks a session's rights again, after its token or the rules have changed. */
  recheck(listener: Listener): void {
    if (this.#places.has(listener) && !may(listener.identity, this.#access, 'r')) {
      this.#drop(listener, 'REVOKED');
    }
  }

  permits(author: Caller): boolean {
    return may(author, this.#access, 'w');
  }

  /** Resolves when everything is taken in that was in the log at the time of the call. */
  async refresh(): Promise<void> {
    // A reading that is under way may have begun before the entry that is wanted.
    await this.#repair?.catch(() => undefined);
    await this.#readOn();
  }

  stored(entries: readonly Entry[]): Promise<void> | void {
    this.take(entries);
    this.#publish(entries);
    // Behind a gap they wait for what is before them; where that can't be read, the poll comes back to it.
    const last = entries.at(-1);
    if (last !== undefined && last.seq > this.#number) {
      return this.refresh().catch((error: unknown) => {
        this.#logger.warn({ err: error, room: this.roomId }, 'a gap could not be read');
      });
    }
  }

  /** Takes entries from wherever they come, in any order and any number of times. */
  take(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const isNext = entry.seq === this.#number + 1 || !this.#repairsGaps;
      if (this.#active && isNext && entry.seq > this.#number) this.#deliver(entry);
      else if (!this.#active || entry.seq > this.#number) this.#keepEarly(entry);
    }
    if (!this.#active) return;
    this.#takeEarly();
    if (this.#early.size > 0 || this.#gapSeen) this.#mend();
  }

  /** The log's head, as it was read from Postgres a moment ago. */
  headIs(head: number): void {
    if (head > this.#number && this.#repairsGaps) this.#mend();
    for (const place of this.#places.values()) this.#catchUp(place);
  }

  /** The room is gone. */
  deleted(): void {
    for (const listener of this.#places.keys()) this.#drop(listener, 'ROOM_DELETED');
    this.#access.rules.clear();
  }

  flush(): void {
    const [first] = this.#frames;
    if (first !== undefined) {
      const bytes = this.#frames.length === 1 ? first : Buffer.concat(this.#frames);
      this.#frames = [];
      for (const place of this.#places.values()) {
        if (place.behindAt !== undefined) continue;
        if (place.listener.outbox.isFull) {
          place.behindAt = this.#written;
          this.#catchUp(place);
        } else {
          place.listener.outbox.write(bytes);
        }
      }
    }
    this.#written = this.#number;
  }

  #deliver(entry: Entry): void {
    this.#number = entry.seq;
    if (entry.kind === 'rule') {
      this.#applyRule(ruleOf(entry));
      this.#rulesHead = entry.seq;
      return;
    }
    if (this.#places.size === 0) {
      this.#written = entry.seq;
      return;
    }
    const frame = frameOf(entry);
    if (frame === undefined) return;
    this.#frames.push(frame);
    this.#turn.feedChanged(this);
  }

  #applyRule(rule: Rule): void {
    const { rules } = this.#access;
    if (rule.permissions === '') rules.delete(rule.entity_UUID);
    else rules.set(rule.entity_UUID, rule);
    for (const listener of this.#places.keys()) {
      const { userUUID, entityUUID } = listener.identity;
      const isConcerned = rule.entity_UUID === userUUID || rule.entity_UUID === entityUUID;
      if (isConcerned) this.recheck(listener);
    }
  }

  #drop(listener: Listener, reason: LossReason): void {
    void this.leave(listener);
    listener.lostRoom(this.roomId, reason);
  }

  #keepEarly(entry: Entry): void {
    this.#gapSeen = true;
    if (this.#early.size < MAX_EARLY) this.#early.set(entry.seq, entry);
  }

  /** Delivers what had come early and is next now, and forgets what is past. */
  #takeEarly(): void {
    if (this.#early.size === 0) return;
    for (;;) {
      const next = this.#early.get(this.#number + 1);
      if (next === undefined) break;
      this.#deliver(next);
    }
    for (const seq of this.#early.keys()) if (seq <= this.#number) this.#early.delete(seq);
    if (this.#early.size === 0) this.#gapSeen = false;
  }

  /** Closes the gap in the background; where Postgres does not answer, the next poll comes back to it. */
  #mend(): void {
    this.#readOn().catch((error: unknown) => {
      this.#logger.warn({ err: error, room: this.roomId }, 'a gap could not be read');
    });
  }

  /** Reads the log to its end, one reader at a time. */
  #readOn(): Promise<void> {
    this.#repair ??= this.#read().finally(() => {
      this.#repair = undefined;
    });
    return this.#repair;
  }

  async #read(): Promise<void> {
    for (;;) {
      this.#gapSeen = false;
      const entries = await this.#log.read(this.roomId, {
        after: this.#number,
        upTo: Number.MAX_SAFE_INTEGER,
        limit: PAGE,
      });
      for (const entry of entries) if (entry.seq === this.#number + 1) this.#deliver(entry);
      const sawGap = this.#gapSeen;
      this.#takeEarly();
      // A short page was the log's end, unless an entry beyond it came in while it was read.
      if (entries.length < PAGE && !sawGap) break;
    }
    // What is still early is not in the log: no node of ours has sent it.
    this.#early.clear();
  }

  #catchUp(place: Place): void {
    if (place.behindAt === undefined || place.work !== undefined) return;
    place.work = this.#pageUp(place)
      .catch((error: unknown) => {
        // The next poll comes back to it.
        this.#logger.warn({ err: error, room: this.roomId }, 'a page could not be read');
      })
      .finally(() => {
        place.work = undefined;
      });
  }

  /**
   * Sends pages until the place is at the feed's own number; the session is live in the same turn. No page goes
   * beyond that number: a revocation that was not applied yet can't be overtaken by one.
   */
  async #pageUp(place: Place): Promise<void> {
    const { outbox } = place.listener;
    const isHere = (): boolean => this.#places.get(place.listener) === place;
    while (isHere() && place.behindAt !== undefined) {
      if (outbox.isFull) {
        await outbox.drained();
        continue;
      }
      this.flush();
      if (place.behindAt === this.#number) {
        place.behindAt = undefined;
        return;
      }
      const page = await this.#pages.read(place.behindAt, this.#number);
      if (isHere()) place.behindAt = writePage(page, outbox);
    }
  }
}
