import { may, type Caller, type RoomAccess } from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { DebugLog } from '../logger.js';
import type { Observer } from '../observer.js';
import { ENTRY_KINDS, isKnownKind } from '../protocol/entry-kinds.js';
import type { Tracer } from '../tracer.js';
import type { Hint } from '../protocol/v2/commands.js';
import type { Entry } from '../store/entry.js';
import type { LiveRoom } from '../store/live-room.js';
import type { Log, RoomState } from '../store/log.js';
import { applyEntry, liveAccessOf, replaceAccess, type LiveAccess } from './apply-entry.js';
import { Subscribers, type EndReason, type Subscriber, type LossReason } from './subscribers.js';
import { frameOf } from './catch-up.js';
import type { PeerHints } from './peer-messages.js';
import { RoomHints } from './room-hints.js';
import type { FlushQueue } from './flush-queue.js';

/** Entries per read while a gap is repaired: two pages of catch-up. A trade-off, not a measurement. */
const GAP_PAGE_ENTRIES = 500;
/** Entries that may wait behind a gap: two reads' worth. Any beyond them are read from Postgres with the gap. */
const MAX_EARLY = 1_000;
const NO_HINTS: ReadonlySet<Hint> = new Set();

/** An entry that a feed has taken. An entry with the same seq and another date belongs to another log. */
export interface EntryMark {
  readonly seq: number;
  readonly createdAt: string;
}

/**
 * One room on this node: puts the log's entries in order, repairs gaps from Postgres, applies rules, and delivers the
 * entries to its subscribers. `position` is the seq of the last entry that it has taken. Its rules are exact there, so
 * that joining and sending cost no query.
 */
export class Feed implements LiveRoom {
  readonly roomId: number;
  readonly hints: RoomHints;
  readonly #log: Log;
  readonly #debug: DebugLog | undefined;
  readonly #observer: Observer | undefined;
  readonly #publish: (entries: readonly Entry[]) => void;
  readonly #repairsGaps: boolean;
  readonly #onOldSeqs: () => Promise<void> | void;
  readonly #onReadFailure: (error: unknown) => void;
  readonly #onLost: () => void;
  /** One for each version, in their order. */
  readonly #subscribers: readonly [Subscribers, Subscribers];
  readonly #early = new Map<number, Entry>();
  #active = false;
  #uuid = '';
  #position = 0;
  /** The date of the entry at the position. */
  #lastCreatedAt = '';
  #unverified: EntryMark | undefined;
  #rulesHead = 0;
  #rulesDate: string | null = null;
  #access: LiveAccess;
  /** The largest head that a peer or a comparison has reported, even before the feed is active. */
  #knownHead = 0;
  #announcedHead = 0;
  #reading: Promise<void> | undefined;
  #gapSeen = false;
  #idleSince = performance.now();
  #endedBy: EndReason | undefined;

  constructor(options: {
    roomId: number;
    log: Log;
    /** Undefined if the level is off. */
    debug?: DebugLog | undefined;
    observer?: Observer | undefined;
    tracer?: Tracer | undefined;
    flushQueue: FlushQueue;
    /** False only to show that the proof can fail: then missed entries are skipped. */
    repairsGaps?: boolean;
    /** Publishes entries to the peers. */
    publish: (entries: readonly Entry[]) => void;
    /** Publishes hints to the peers. */
    publishHints?: (hints: PeerHints) => void;
    /** Numbers that this process has not used before, rising from 1 on. */
    nextVersion?: () => number;
    /** Entries came with seqs that the feed has passed: it read them a moment ago, or the log went back. */
    onOldSeqs: () => Promise<void> | void;
    /** A read failed. A comparison of heads is due: it tries again, by `headFound` and `resumeCatchUp`. */
    onReadFailure: (error: unknown) => void;
    /** Entries that it has not taken were deleted, because they are old: it can't go on. */
    onLost: () => void;
  }) {
    this.roomId = options.roomId;
    this.#log = options.log;
    this.#debug = options.debug;
    this.#observer = options.observer;
    this.#publish = options.publish;
    this.#onOldSeqs = options.onOldSeqs;
    this.#onReadFailure = options.onReadFailure;
    this.#onLost = options.onLost;
    this.#repairsGaps = options.repairsGaps ?? true;
    const reach = (seq: number): Promise<void> => this.#reach(seq);
    const { observer } = options;
    const lastDate = observer && ((): string => this.#lastCreatedAt);
    this.#subscribers = [
      new Subscribers({ ...options, reach, lastDate, version: 1 }),
      new Subscribers({
        ...options,
        reach,
        lastDate,
        version: 2,
        onLive: (subscriber) => {
          this.hints.wake(subscriber);
        },
      }),
    ];
    this.hints = new RoomHints({
      roomId: this.roomId,
      flushQueue: options.flushQueue,
      publish: options.publishHints,
      nextVersion: options.nextVersion,
      isLive: (subscriber) => this.#of(subscriber).isLive(subscriber),
    });
    // Nothing is permitted until the room's state is known.
    this.#access = {
      type: 'group',
      entityOwner: '',
      levelAdmin: 0,
      maxEntityRules: 0,
      rules: new Map(),
    };
  }

  /** The room's uuid; empty until it is active. */
  get uuid(): string {
    return this.#uuid;
  }

  /** The seq of the last entry that was taken. */
  get position(): number {
    return this.#position;
  }

  /** The largest head that a node, this one included, has announced: heads that only a comparison found don't count. */
  get announcedHead(): number {
    return this.#announcedHead;
  }

  get rulesHead(): number {
    return this.#rulesHead;
  }

  get rulesDate(): string | null {
    return this.#rulesDate;
  }

  get access(): RoomAccess {
    return this.#access;
  }

  /** Why the feed has ended, if it has. */
  get endedBy(): EndReason | undefined {
    return this.#endedBy;
  }

  /** An entry that the log may no longer have, as newer entries came with smaller seqs; undefined if there is none. */
  get unverified(): EntryMark | undefined {
    return this.#unverified;
  }

  /** The log still has the unverified entry. */
  markVerified(): void {
    this.#unverified = undefined;
  }

  /** Since when the room has no subscribers, by `performance.now()`; undefined while it has some. */
  get idleSince(): number | undefined {
    const isIdle = this.#subscribers.every(({ size }) => size === 0);
    return isIdle ? this.#idleSince : undefined;
  }

  /** Starts at `state`; entries that came since the broker was subscribed to follow. */
  activate(state: RoomState): void {
    this.#active = true;
    this.#uuid = state.uuid;
    this.#position = state.head;
    this.#lastCreatedAt = state.headCreatedAt;
    this.#announcedHead = Math.max(this.#announcedHead, state.head);
    for (const subscribers of this.#subscribers) subscribers.beginAt(state.head);
    this.#rulesHead = state.rulesHead;
    this.#rulesDate = state.rulesDate;
    this.#access = liveAccessOf(state.access);
    this.#takeEarly();
    if (this.#early.size > 0) this.#repairGap();
    this.headFound(this.#knownHead);
  }

  /** A session is about to join. */
  touch(): void {
    this.#idleSince = performance.now();
  }

  /**
   * Adds a session, live, or behind the entry `after`, with the hints that it asked for.
   * @throws {ChatError} FORBIDDEN without `r`; AHEAD if `after` is beyond the room's last entry
   */
  join(subscriber: Subscriber, after?: number, hints: ReadonlySet<Hint> = NO_HINTS): void {
    if (!may(subscriber.identity, this.#access, 'r')) throw new ChatError('FORBIDDEN');
    if (after !== undefined && after > this.#position) {
      throw new ChatError('AHEAD', {
        detail: `after is beyond the room's head, ${this.#position}`,
      });
    }
    this.#of(subscriber).join(subscriber, after);
    this.hints.join(subscriber, hints);
  }

  /**
   * Removes a session. It gets every entry up to the feed's position first, unless it is being caught up.
   * @returns resolves when no page is being read for it
   */
  leave(subscriber: Subscriber): Promise<void> | undefined {
    return this.#remove(subscriber, false);
  }

  /** A user of this node types. */
  typed(userUUID: string): void {
    this.hints.typed(userUUID, true);
  }

  /** A user has read up to a seq: others are told, unless the user may not read any more. */
  readBy(userUUID: string, upto: number): void {
    if (this.#isIn(userUUID)) this.hints.read(userUUID, upto);
  }

  /** Users of a peer type, who may by the rules that the peer knows: they may have lost the right since. */
  typedElsewhere(userUUIDs: readonly string[], rulesHead: number): void {
    if (rulesHead < this.#rulesHead) return;
    for (const userUUID of userUUIDs) this.hints.typed(userUUID, false);
  }

  /** Queues a session's due frames, so that its next answer comes behind them. */
  flushTo(subscriber: Subscriber): void {
    this.#of(subscriber).flushTo(subscriber);
  }

  /** Checks a session's rights again, after its token has changed. */
  recheck(subscriber: Subscriber): void {
    const before = this.#of(subscriber).identify(subscriber);
    if (before !== undefined) this.hints.identify(subscriber, before);
    if (!this.#dropIfRevoked(subscriber)) this.#tellAccess(subscriber);
  }

  permits(caller: Caller): boolean {
    return may(caller, this.#access, 'w');
  }

  refusal(caller: Caller): ChatError | undefined {
    if (this.#endedBy === 'LOG_RESET') {
      return new ChatError('UNAVAILABLE', { detail: 'the log went back' });
    }
    if (this.permits(caller)) return undefined;
    return new ChatError('FORBIDDEN', { detail: 'this needs the permission w' });
  }

  /**
   * Resolves when the feed has taken every entry that was in the log at the time of the call.
   * @param isStale if an append found the feed's rules stale: without newer entries, the log went back
   */
  async refresh(isStale = false): Promise<void> {
    const before = this.#position;
    // A read in progress may have begun before the wanted entry.
    await this.#reading?.catch(() => undefined);
    await this.#readToEnd();
    if (isStale && this.#position === before) await this.#onOldSeqs();
  }

  stored(entries: readonly Entry[]): Promise<void> | void {
    const taken = this.takeOwn(entries);
    this.#publish(entries);
    return taken;
  }

  /**
   * Takes entries that this node has appended.
   * @returns resolves when they are delivered, if they wait behind a gap
   */
  takeOwn(entries: readonly Entry[]): Promise<void> | void {
    const [first] = entries;
    const isOld = first !== undefined && this.#active && first.seq <= this.#position;
    this.take(entries);
    if (isOld) void this.#onOldSeqs();
    const last = entries.at(-1);
    if (this.#active && last !== undefined && last.seq > this.#position) {
      // If the entries before can't be read, the head poll tries again.
      return this.refresh().catch(this.#onReadFailure);
    }
  }

  /** Takes entries from any source, in any order and any number of times. */
  take(entries: readonly Entry[]): void {
    if (this.#endedBy !== undefined) return;
    this.#announcedHead = Math.max(this.#announcedHead, entries.at(-1)?.seq ?? 0);
    for (const entry of entries) {
      const isNext = entry.seq === this.#position + 1 || !this.#repairsGaps;
      // A log that went back may have given rights otherwise: entries wait until this one is known to be the same.
      const isOpen = this.#active && this.#unverified === undefined && isKnownKind(entry.kind);
      if (isOpen && isNext && entry.seq > this.#position) this.#deliver(entry);
      else if (!this.#active || entry.seq > this.#position) this.#keepEarly(entry);
      else if (entry.createdAt > this.#lastCreatedAt) this.#markUnverified(this.#lastMark());
    }
    if (!this.#active) return;
    this.#takeEarly();
    if (this.#early.size > 0 || this.#gapSeen) this.#repairGap();
  }

  /** A peer has announced a head of the room. */
  headAnnounced(head: number): void {
    this.#announcedHead = Math.max(this.#announcedHead, head);
    this.headFound(head);
  }

  /** The log has reached a head: if the feed has not, it reads on. */
  headFound(head: number): void {
    this.#knownHead = Math.max(this.#knownHead, head);
    if (this.#active && head > this.#position && this.#repairsGaps) this.#repairGap();
  }

  /** Resumes catching up after a failed read. */
  resumeCatchUp(): void {
    for (const subscribers of this.#subscribers) subscribers.resumeCatchUp();
  }

  /** Ends the feed: the room was deleted, or its log went back. */
  end(reason: EndReason): void {
    this.#endedBy = reason;
    for (const subscriber of this.#all()) this.#drop(subscriber, reason);
    this.#access.rules.clear();
    this.close();
  }

  /** The room is not open on this node any more. */
  close(): void {
    this.hints.close();
  }

  #deliver(entry: Entry, changed = applyEntry(entry, this.#access)): void {
    this.#position = entry.seq;
    this.#lastCreatedAt = entry.createdAt;
    let concerned: readonly Subscriber[] | undefined;
    if (changed !== undefined) {
      this.#access = changed.access;
      this.#rulesHead = entry.seq;
      this.#rulesDate = entry.createdAt;
      concerned = this.#among(changed.concerns).filter((one) => !this.#dropIfRevoked(one));
      this.hints.recheck(
        (caller) => may(caller, this.#access, 'r'),
        (userUUID) => this.#isIn(userUUID),
        changed.rules,
      );
    }
    const { seq, kind, textSeq, emitter } = entry;
    if (kind === 'message') this.hints.sent(emitter);
    for (const subscribers of this.#subscribers) {
      // What this node does not know may change anything.
      if (!isKnownKind(kind) || ENTRY_KINDS[kind].changesMessages) subscribers.forgetPages();
      if (textSeq !== undefined && subscribers.version === 1) {
        subscribers.deliverByPages(seq);
      } else {
        const frame = subscribers.size > 0 ? frameOf(entry, subscribers.version) : undefined;
        subscribers.deliver(seq, frame);
      }
    }
    if (concerned !== undefined) for (const subscriber of concerned) this.#tellAccess(subscriber);
  }

  /**
   * Takes the next entry, of a kind that this node does not know: during an upgrade a newer node may have stored it. It may
   * have changed any right, so they are read anew.
   * @param state of this entry or a later one: the entries between set the rights again
   */
  #deliverUnknown(entry: Entry, state: RoomState): void {
    const isSame = state.rulesHead === this.#rulesHead;
    this.#deliver(entry, isSame ? undefined : replaceAccess(this.#access, state.access));
  }

  /** @throws {ChatError} NOT_FOUND */
  async #readState(): Promise<RoomState> {
    const state = await this.#log.state(this.roomId);
    if (state === undefined) throw noSuchRoom();
    return state;
  }

  /** As `Reach`. */
  async #reach(seq: number): Promise<void> {
    if (this.#position < seq) await this.refresh();
    if (this.#position < seq) throw new ChatError('UNAVAILABLE', { detail: 'the log went back' });
  }

  /** The entry at the position. */
  #lastMark(): EntryMark {
    return { seq: this.#position, createdAt: this.#lastCreatedAt };
  }

  #markUnverified(mark: EntryMark): void {
    if (this.#unverified !== undefined) return;
    this.#unverified = mark;
    void this.#onOldSeqs();
  }

  /** The subscribers who are one of these users, or of one of these entities. */
  #among(uuids: ReadonlySet<string>): Subscriber[] {
    const concerned: Subscriber[] = [];
    // Not over `#all`, which takes several times as long: thousands may enter a room at once, each by an entry.
    for (const subscribers of this.#subscribers) {
      for (const one of subscribers.all()) {
        const { userUUID, entityUUID } = one.identity;
        if (uuids.has(userUUID) || uuids.has(entityUUID)) concerned.push(one);
      }
    }
    return concerned;
  }

  /** Whether a user may be in the room: by an own rule, or online by that of their entity. */
  #isIn(userUUID: string): boolean {
    const own = this.#access.rules.get(userUUID)?.permissions ?? '';
    return (own.includes('r') || this.hints.presence.has(userUUID)) && !own.includes('b');
  }

  /** Drops a subscriber if it may not read any more; returns whether it is none, or no longer one. */
  #dropIfRevoked(subscriber: Subscriber): boolean {
    if (!this.#of(subscriber).has(subscriber)) return true;
    if (may(subscriber.identity, this.#access, 'r')) return false;
    this.#drop(subscriber, 'REVOKED');
    return true;
  }

  #tellAccess(subscriber: Subscriber): void {
    subscriber.accessChanged?.(this.roomId, this.#access);
  }

  /** The subscribers of a subscriber's version. */
  #of({ version }: Subscriber): Subscribers {
    return this.#subscribers[version === 1 ? 0 : 1];
  }

  /** All subscribers; one that leaves during the iteration is left out. */
  *#all(): Iterable<Subscriber> {
    for (const subscribers of this.#subscribers) yield* subscribers.all();
  }

  #drop(subscriber: Subscriber, reason: LossReason): void {
    void this.#remove(subscriber, true);
    subscriber.roomLost(this.roomId, reason);
  }

  /** `isRemoved`: it may not read any more. */
  #remove(subscriber: Subscriber, isRemoved: boolean): Promise<void> | undefined {
    this.touch();
    const subscribers = this.#of(subscriber);
    const caller = subscribers.callerOf(subscriber);
    if (caller !== undefined) this.hints.leave(subscriber, caller, isRemoved);
    return subscribers.leave(subscriber);
  }

  #keepEarly(entry: Entry): void {
    this.#gapSeen = true;
    this.#knownHead = Math.max(this.#knownHead, entry.seq);
    if (this.#early.size < MAX_EARLY) this.#early.set(entry.seq, entry);
  }

  /** Delivers the early entries that are next, and drops those at or below the position. */
  #takeEarly(): void {
    if (this.#early.size === 0 || this.#unverified !== undefined) return;
    for (;;) {
      const next = this.#early.get(this.#position + 1);
      if (next === undefined || !isKnownKind(next.kind)) break;
      this.#deliver(next);
    }
    for (const seq of this.#early.keys()) if (seq <= this.#position) this.#early.delete(seq);
    if (this.#early.size === 0) this.#gapSeen = false;
  }

  /** Repairs the gap in the background. If Postgres does not answer, the next head poll tries again. */
  #repairGap(): void {
    this.#readToEnd().catch(this.#onReadFailure);
  }

  /** Reads the log to its end, one read at a time. */
  #readToEnd(): Promise<void> {
    this.#reading ??= this.#readPages().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readPages(): Promise<void> {
    const from = this.#position;
    for (;;) {
      this.#gapSeen = false;
      const last = this.#lastMark();
      const unverified = this.#unverified;
      // The read begins at the feed's last entry: a log that went back has another one there.
      const after = Math.max(0, last.seq - 1);
      const range = { after, upTo: Number.MAX_SAFE_INTEGER, limit: GAP_PAGE_ENTRIES };
      const entries = await this.#log.read(this.roomId, range);
      const [had] = entries;
      const isGap = (had?.seq ?? Infinity) > this.#position + 1;
      if (isGap && ((await this.#log.horizon(this.roomId)) ?? 0) > this.#position) {
        return this.#onLost();
      }
      const isOverwritten = had?.seq === last.seq && had.createdAt !== last.createdAt;
      if (isOverwritten) return this.#markUnverified(last);
      if (had?.seq === last.seq && this.#unverified === unverified) this.markVerified();
      let state: RoomState | undefined;
      for (const entry of entries) {
        if (entry.seq !== this.#position + 1) continue;
        if (isKnownKind(entry.kind)) {
          this.#deliver(entry);
        } else {
          if (state === undefined || state.head < entry.seq) state = await this.#readState();
          this.#deliverUnknown(entry, state);
        }
      }
      const sawGap = this.#gapSeen;
      this.#takeEarly();
      // A short page is the end of the log, unless an entry beyond it came during the read.
      if ((entries.at(-1)?.seq ?? 0) < after + GAP_PAGE_ENTRIES && !sawGap) break;
    }
    if (this.#position > from) {
      this.#observer?.gapRepaired(this.#position - from);
      this.#debug?.({ room: this.roomId, after: from, upTo: this.#position }, 'gap repaired');
    }
    // An entry that is still early is not in the log: no node has appended it.
    this.#early.clear();
  }
}
