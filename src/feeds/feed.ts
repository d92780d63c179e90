import { may, type Caller, type RoomAccess, type Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { DebugLog } from '../logger.js';
import type { Entry } from '../store/entry.js';
import type { LiveRoom } from '../store/group-commit.js';
import type { Log, RoomState } from '../store/log.js';
import { applyEntry } from './apply-entry.js';
import { Subscribers, type EndReason, type Subscriber, type LossReason } from './subscribers.js';
import { frameOf } from './catch-up.js';
import type { FlushQueue } from './flush-queue.js';

/** Entries of one read while a gap is repaired. */
const GAP_PAGE_ENTRIES = 500;
/** Entries that may wait for a gap before them; beyond that they are read from Postgres with it. */
const MAX_EARLY = 1_000;

/** An entry that a feed has had: one with its number that was made at another time is of another log. */
export interface EntryMark {
  readonly seq: number;
  readonly madeAt: string;
}

/**
 * One room on this node: puts the log's entries in order, repairs gaps from Postgres, applies revocations,
 * and shows the entries to its audience. `number` is its place in the log; its rules are exact at that number,
 * so that joining and sending cost no query.
 */
export class Feed implements LiveRoom {
  readonly roomId: number;
  readonly #log: Log;
  readonly #debug: DebugLog | undefined;
  readonly #publish: (entries: readonly Entry[]) => void;
  readonly #repairsGaps: boolean;
  readonly #onOldNumbers: () => Promise<void> | void;
  readonly #onReadFailure: (error: unknown) => void;
  readonly #subscribers: Subscribers;
  readonly #early = new Map<number, Entry>();
  #active = false;
  #position = 0;
  /** When the entry with this number was made. */
  #madeAt = '';
  #doubted: EntryMark | undefined;
  #rulesHead = 0;
  #access: RoomAccess & { rules: Map<string, Rule> };
  /** The largest number that anybody has told of, or a comparison found: some do before the feed is active. */
  #knownHead = 0;
  #announcedHead = 0;
  #repair: Promise<void> | undefined;
  #gapSeen = false;
  #idleSince = performance.now();
  #endedBy: EndReason | undefined;

  constructor(options: {
    roomId: number;
    log: Log;
    /** Undefined if the level is off. */
    debug?: DebugLog | undefined;
    flushQueue: FlushQueue;
    /** False only to show that the proof can fail: then what was missed is skipped. */
    repairsGaps?: boolean;
    /** Tells the other nodes. */
    publish: (entries: readonly Entry[]) => void;
    /** Entries have numbers that the feed has had: it read them a moment ago, or the log went back. */
    onOldNumbers: () => Promise<void> | void;
    /** Something was not read that `headIs` and `goOn` come back to: a comparison of heads is due. */
    onReadFailure: (error: unknown) => void;
  }) {
    this.roomId = options.roomId;
    this.#log = options.log;
    this.#debug = options.debug;
    this.#publish = options.publish;
    this.#onOldNumbers = options.onOldNumbers;
    this.#onReadFailure = options.onReadFailure;
    this.#repairsGaps = options.repairsGaps ?? true;
    this.#subscribers = new Subscribers(options);
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
  get position(): number {
    return this.#position;
  }

  /** Number up to which nodes, this one among them, have told of the log: not what was only found there. */
  get announcedHead(): number {
    return this.#announcedHead;
  }

  get rulesHead(): number {
    return this.#rulesHead;
  }

  get access(): RoomAccess {
    return this.#access;
  }

  /** Why nothing comes of this feed any more. */
  get endedBy(): EndReason | undefined {
    return this.#endedBy;
  }

  /** What the log no longer has, maybe: others store newer entries under older numbers. */
  get doubted(): EntryMark | undefined {
    return this.#doubted;
  }

  /** The log still has it. */
  endDoubt(): void {
    this.#doubted = undefined;
  }

  /** Since when nobody looks, by `performance.now()`; undefined while somebody does. */
  get idleSince(): number | undefined {
    return this.#subscribers.size === 0 ? this.#idleSince : undefined;
  }

  /** Begins at `state`; what came in since the subscription follows. */
  activate(state: RoomState): void {
    this.#active = true;
    this.#position = state.head;
    this.#madeAt = state.headMadeAt;
    this.#announcedHead = Math.max(this.#announcedHead, state.head);
    this.#subscribers.beginAt(state.head);
    this.#rulesHead = state.rulesHead;
    this.#access = { ...state.access, rules: new Map(state.access.rules) };
    this.#takeEarly();
    if (this.#early.size > 0) this.#mend();
    this.headIs(this.#knownHead);
  }

  /** Somebody is about to join. */
  touch(): void {
    this.#idleSince = performance.now();
  }

  /**
   * A session joins: live, or, with `after`, behind it.
   * @throws {ChatError} FORBIDDEN without `r`; INVALID where `after` is beyond the room's last entry
   */
  join(subscriber: Subscriber, after?: number): void {
    if (!may(subscriber.identity, this.#access, 'r')) throw new ChatError('FORBIDDEN');
    if (after !== undefined && after > this.#position) {
      throw new ChatError('INVALID', {
        detail: `after is beyond the room's head, ${this.#position}`,
      });
    }
    this.#subscribers.join(subscriber, after);
  }

  /**
   * A session goes; it has had every entry up to the feed's number, unless it was behind.
   * @returns resolves when nothing is read for it any more
   */
  leave(subscriber: Subscriber): Promise<void> | undefined {
    this.touch();
    return this.#subscribers.leave(subscriber);
  }

  /** Before something is answered to a session: what it has not had of the room yet. */
  flushTo(subscriber: Subscriber): void {
    this.#subscribers.flushTo(subscriber);
  }

  /** Asks a session's rights again, after its token or the rules have changed. */
  recheck(subscriber: Subscriber): void {
    if (this.#subscribers.has(subscriber) && !may(subscriber.identity, this.#access, 'r')) {
      this.#drop(subscriber, 'REVOKED');
    }
  }

  permits(author: Caller): boolean {
    return may(author, this.#access, 'w');
  }

  refusal(author: Caller): ChatError | undefined {
    if (this.#endedBy === 'LOG_RESET') {
      return new ChatError('UNAVAILABLE', { detail: 'the log went back' });
    }
    if (this.permits(author)) return undefined;
    return new ChatError('FORBIDDEN', { detail: 'this needs the permission w' });
  }

  /**
   * Resolves when everything is taken in that was in the log at the time of the call.
   * @param isStale if the log told that it is not what this feed knows: it may be that it went back
   */
  async refresh(isStale = false): Promise<void> {
    const before = this.#position;
    // A reading that is under way may have begun before the entry that is wanted.
    await this.#repair?.catch(() => undefined);
    await this.#readOn();
    if (isStale && this.#position === before) await this.#onOldNumbers();
  }

  stored(entries: readonly Entry[]): Promise<void> | void {
    this.takeOwn(entries);
    this.#publish(entries);
    // Behind a gap they wait for what is before them; if that can't be read, the poll comes back to it.
    const last = entries.at(-1);
    if (last !== undefined && last.seq > this.#position) {
      return this.refresh().catch(this.#onReadFailure);
    }
  }

  /** Takes entries that this node has just appended. */
  takeOwn(entries: readonly Entry[]): void {
    const [first] = entries;
    const isOld = first !== undefined && this.#active && first.seq <= this.#position;
    this.take(entries);
    if (isOld) void this.#onOldNumbers();
  }

  /** Takes entries from wherever they come, in any order and any number of times. */
  take(entries: readonly Entry[]): void {
    if (this.#endedBy !== undefined) return;
    this.#announcedHead = Math.max(this.#announcedHead, entries.at(-1)?.seq ?? 0);
    for (const entry of entries) {
      const isNext = entry.seq === this.#position + 1 || !this.#repairsGaps;
      if (this.#active && isNext && entry.seq > this.#position) this.#deliver(entry);
      else if (!this.#active || entry.seq > this.#position) this.#keepEarly(entry);
      else if (entry.createdAt > this.#madeAt) this.#doubt(this.#position, this.#madeAt);
    }
    if (!this.#active) return;
    this.#takeEarly();
    if (this.#early.size > 0 || this.#gapSeen) this.#mend();
  }

  /** Another node has the room up to this number. */
  hearOf(position: number): void {
    this.#announcedHead = Math.max(this.#announcedHead, position);
    this.headIs(position);
  }

  /** The log's head, as it was a moment ago. */
  headIs(head: number): void {
    this.#knownHead = Math.max(this.#knownHead, head);
    if (this.#active && head > this.#position && this.#repairsGaps) this.#mend();
  }

  /** Comes back to what had broken off. */
  goOn(): void {
    this.#subscribers.catchUpAll();
  }

  /** The room is gone, or its log is another one. */
  end(reason: EndReason): void {
    this.#endedBy = reason;
    for (const subscriber of this.#subscribers.all()) this.#drop(subscriber, reason);
    this.#access.rules.clear();
  }

  #deliver(entry: Entry): void {
    this.#position = entry.seq;
    this.#madeAt = entry.createdAt;
    const changed = applyEntry(entry, this.#access.rules);
    if (changed !== undefined) {
      this.#rulesHead = entry.seq;
      this.#recheckFor(changed);
    }
    this.#subscribers.deliver(entry.seq, this.#subscribers.size > 0 ? frameOf(entry) : undefined);
  }

  #doubt(seq: number, madeAt: string): void {
    if (this.#doubted !== undefined) return;
    this.#doubted = { seq, madeAt };
    void this.#onOldNumbers();
  }

  /** Drops the subscribers that may not read any more, now that a rule has changed. */
  #recheckFor(rule: Rule): void {
    for (const subscriber of this.#subscribers.all()) {
      const { userUUID, entityUUID } = subscriber.identity;
      const isConcerned = rule.entity_UUID === userUUID || rule.entity_UUID === entityUUID;
      if (isConcerned) this.recheck(subscriber);
    }
  }

  #drop(subscriber: Subscriber, reason: LossReason): void {
    void this.leave(subscriber);
    subscriber.roomLost(this.roomId, reason);
  }

  #keepEarly(entry: Entry): void {
    this.#gapSeen = true;
    this.#knownHead = Math.max(this.#knownHead, entry.seq);
    if (this.#early.size < MAX_EARLY) this.#early.set(entry.seq, entry);
  }

  /** Delivers what had come early and is next now, and forgets what is past. */
  #takeEarly(): void {
    if (this.#early.size === 0) return;
    for (;;) {
      const next = this.#early.get(this.#position + 1);
      if (next === undefined) break;
      this.#deliver(next);
    }
    for (const seq of this.#early.keys()) if (seq <= this.#position) this.#early.delete(seq);
    if (this.#early.size === 0) this.#gapSeen = false;
  }

  /** Closes the gap in the background; if Postgres does not answer, the next poll comes back to it. */
  #mend(): void {
    this.#readOn().catch(this.#onReadFailure);
  }

  /** Reads the log to its end, one reader at a time. */
  #readOn(): Promise<void> {
    this.#repair ??= this.#read().finally(() => {
      this.#repair = undefined;
    });
    return this.#repair;
  }

  async #read(): Promise<void> {
    const from = this.#position;
    for (;;) {
      this.#gapSeen = false;
      const [last, madeAt] = [this.#position, this.#madeAt];
      // Together with the one that the feed has had last: in another log it is another one.
      const after = Math.max(0, last - 1);
      const range = { after, upTo: Number.MAX_SAFE_INTEGER, limit: GAP_PAGE_ENTRIES };
      const entries = await this.#log.read(this.roomId, range);
      const [had] = entries;
      if (had?.seq === last && had.createdAt !== madeAt) return this.#doubt(last, madeAt);
      for (const entry of entries) if (entry.seq === this.#position + 1) this.#deliver(entry);
      const sawGap = this.#gapSeen;
      this.#takeEarly();
      // A page that ends before the range was the log's end, unless an entry beyond it came in while it was read.
      if ((entries.at(-1)?.seq ?? 0) < after + GAP_PAGE_ENTRIES && !sawGap) break;
    }
    if (this.#position > from) {
      this.#debug?.({ room: this.roomId, after: from, upTo: this.#position }, 'gap repaired');
    }
    // What is still early is not in the log: no node of ours has sent it.
    this.#early.clear();
  }
}
