import { may, type Caller, type RoomAccess, type Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import { ruleOf, type Entry, type RoomState } from '../store/entries.js';
import type { Writer } from '../store/lane.js';
import type { Log } from '../store/log.js';
import { Audience, type EndReason, type Listener, type LossReason } from './audience.js';
import { frameOf } from './pages.js';
import type { Turn } from './turn.js';

/** Entries of one read while a gap is repaired. */
const PAGE = 500;
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
export class Feed implements Writer {
  readonly roomId: number;
  readonly #log: Log;
  readonly #publish: (entries: readonly Entry[]) => void;
  readonly #repairsGaps: boolean;
  readonly #onOldNumbers: () => Promise<void> | void;
  readonly #onReadFailure: (error: unknown) => void;
  readonly #audience: Audience;
  readonly #early = new Map<number, Entry>();
  #active = false;
  #number = 0;
  /** When the entry with this number was made. */
  #madeAt = '';
  #doubted: EntryMark | undefined;
  #rulesHead = 0;
  #access: RoomAccess & { rules: Map<string, Rule> };
  /** The largest number that anybody has told of, or a comparison found: some do before the feed is active. */
  #headTold = 0;
  #told = 0;
  #repair: Promise<void> | undefined;
  #gapSeen = false;
  #idleSince = performance.now();
  #endedBy: EndReason | undefined;

  constructor(options: {
    roomId: number;
    log: Log;
    turn: Turn;
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
    this.#publish = options.publish;
    this.#onOldNumbers = options.onOldNumbers;
    this.#onReadFailure = options.onReadFailure;
    this.#repairsGaps = options.repairsGaps ?? true;
    this.#audience = new Audience(options);
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

  /** Number up to which nodes, this one among them, have told of the log: not what was only found there. */
  get told(): number {
    return this.#told;
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
    return this.#audience.size === 0 ? this.#idleSince : undefined;
  }

  /** Begins at `state`; what came in since the subscription follows. */
  activate(state: RoomState): void {
    this.#active = true;
    this.#number = state.head;
    this.#madeAt = state.headMadeAt;
    this.#told = Math.max(this.#told, state.head);
    this.#audience.beginAt(state.head);
    this.#rulesHead = state.rulesHead;
    this.#access = { ...state.access, rules: new Map(state.access.rules) };
    this.#takeEarly();
    if (this.#early.size > 0) this.#mend();
    this.headIs(this.#headTold);
  }

  /** Somebody is about to join. */
  touch(): void {
    this.#idleSince = performance.now();
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
    this.#audience.join(listener, after);
  }

  /**
   * A session goes; it has had every entry up to the feed's number, unless it was behind.
   * @returns resolves when nothing is read for it any more
   */
  leave(listener: Listener): Promise<void> | undefined {
    this.touch();
    return this.#audience.leave(listener);
  }

  /** Before something is answered to a session: what it has not had of the room yet. */
  bringUp(listener: Listener): void {
    this.#audience.bringUp(listener);
  }

  /** Asks a session's rights again, after its token or the rules have changed. */
  recheck(listener: Listener): void {
    if (this.#audience.has(listener) && !may(listener.identity, this.#access, 'r')) {
      this.#drop(listener, 'REVOKED');
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
    const before = this.#number;
    // A reading that is under way may have begun before the entry that is wanted.
    await this.#repair?.catch(() => undefined);
    await this.#readOn();
    if (isStale && this.#number === before) await this.#onOldNumbers();
  }

  stored(entries: readonly Entry[]): Promise<void> | void {
    this.takeOwn(entries);
    this.#publish(entries);
    // Behind a gap they wait for what is before them; if that can't be read, the poll comes back to it.
    const last = entries.at(-1);
    if (last !== undefined && last.seq > this.#number) {
      return this.refresh().catch(this.#onReadFailure);
    }
  }

  /** Takes entries that this node has just appended. */
  takeOwn(entries: readonly Entry[]): void {
    const [first] = entries;
    const isOld = first !== undefined && this.#active && first.seq <= this.#number;
    this.take(entries);
    if (isOld) void this.#onOldNumbers();
  }

  /** Takes entries from wherever they come, in any order and any number of times. */
  take(entries: readonly Entry[]): void {
    if (this.#endedBy !== undefined) return;
    this.#told = Math.max(this.#told, entries.at(-1)?.seq ?? 0);
    for (const entry of entries) {
      const isNext = entry.seq === this.#number + 1 || !this.#repairsGaps;
      if (this.#active && isNext && entry.seq > this.#number) this.#deliver(entry);
      else if (!this.#active || entry.seq > this.#number) this.#keepEarly(entry);
      else if (entry.createdAt > this.#madeAt) this.#doubt(this.#number, this.#madeAt);
    }
    if (!this.#active) return;
    this.#takeEarly();
    if (this.#early.size > 0 || this.#gapSeen) this.#mend();
  }

  /** Another node has the room up to this number. */
  hearOf(number: number): void {
    this.#told = Math.max(this.#told, number);
    this.headIs(number);
  }

  /** The log's head, as it was a moment ago. */
  headIs(head: number): void {
    this.#headTold = Math.max(this.#headTold, head);
    if (this.#active && head > this.#number && this.#repairsGaps) this.#mend();
  }

  /** Comes back to what had broken off. */
  goOn(): void {
    this.#audience.catchUpAll();
  }

  /** The room is gone, or its log is another one. */
  end(reason: EndReason): void {
    this.#endedBy = reason;
    for (const listener of this.#audience.listeners()) this.#drop(listener, reason);
    this.#access.rules.clear();
  }

  #deliver(entry: Entry): void {
    this.#number = entry.seq;
    this.#madeAt = entry.createdAt;
    if (entry.kind === 'rule') {
      this.#applyRule(ruleOf(entry));
      this.#rulesHead = entry.seq;
    }
    this.#audience.show(entry.seq, this.#audience.size > 0 ? frameOf(entry) : undefined);
  }

  #doubt(seq: number, madeAt: string): void {
    if (this.#doubted !== undefined) return;
    this.#doubted = { seq, madeAt };
    void this.#onOldNumbers();
  }

  #applyRule(rule: Rule): void {
    const { rules } = this.#access;
    if (rule.permissions === '') rules.delete(rule.entity_UUID);
    else rules.set(rule.entity_UUID, rule);
    for (const listener of this.#audience.listeners()) {
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
    this.#headTold = Math.max(this.#headTold, entry.seq);
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
    for (;;) {
      this.#gapSeen = false;
      const [last, madeAt] = [this.#number, this.#madeAt];
      // Together with the one that the feed has had last: in another log it is another one.
      const after = Math.max(0, last - 1);
      const range = { after, upTo: Number.MAX_SAFE_INTEGER, limit: PAGE };
      const entries = await this.#log.read(this.roomId, range);
      const [had] = entries;
      if (had?.seq === last && had.createdAt !== madeAt) return this.#doubt(last, madeAt);
      for (const entry of entries) if (entry.seq === this.#number + 1) this.#deliver(entry);
      const sawGap = this.#gapSeen;
      this.#takeEarly();
      // A page that ends before the range was the log's end, unless an entry beyond it came in while it was read.
      if ((entries.at(-1)?.seq ?? 0) < after + PAGE && !sawGap) break;
    }
    // What is still early is not in the log: no node of ours has sent it.
    this.#early.clear();
  }
}
