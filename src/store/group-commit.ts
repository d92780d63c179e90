import type { Caller } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { CheckedDraft, Outcome } from './append.js';
import type { Entry, EntryDraft } from './entry.js';

/** Entries of one statement; larger ones only lengthen the time that its rooms are locked. */
const MAX_BATCH_ENTRIES = 1_000;
const MAX_BATCH_CHARACTERS = 1_000_000;
/** Statements at a time: the next one is worked on while the commit of the one before is on its way to the disk. */
const USUAL_IN_FLIGHT = 2;
/** How long statements may keep rooms waiting that they have nothing of. */
const STALLED_AFTER_MS = 100;

/** A room as its messages are written: what is known of its rules here, and who takes what was stored. */
export interface LiveRoom {
  readonly roomId: number;
  /** Number of the last rule entry that `refusal` knows. */
  readonly rulesHead: number;
  /** Why the author may not write, if so. Asked as the batch is made up, with nothing awaited before it is sent. */
  refusal(caller: Caller): ChatError | undefined;
  /**
   * Resolves when the room's newer rules are known.
   * @param isStale if the log told that there are some: without any, it went back
   */
  refresh(isStale: boolean): Promise<void>;
  /**
   * Takes the entries of one batch, in the order of their numbers. What it returns resolves, if not at once,
   * when they have gone out: only then are their senders told.
   */
  stored(entries: readonly Entry[]): Promise<void> | void;
}

/** A message that waits for its number. */
export interface QueuedMessage {
  readonly room: LiveRoom;
  readonly caller: Caller;
  readonly draft: EntryDraft;
  /** Its sender was told that it is not known to be stored: it is not sent any more. */
  readonly isGivenUp?: boolean;
  resolve(appended: Appended): void;
  reject(error: ChatError): void;
}

/** Where a message stands in its room's log; `known` if its ref was stored with the same content before. */
export interface Appended {
  readonly seq: number;
  readonly known: boolean;
}

/** @param waitsForLocks whether it waits for rooms that somebody else has locked; else they are `busy` soon */
export type StoreBatch = (
  checked: readonly CheckedDraft[],
  waitsForLocks: boolean,
) => Promise<readonly Outcome[]>;

/** A batch in flight. */
interface Batch {
  readonly roomIds: ReadonlySet<number>;
  /** Whether it waits for rooms that somebody else has locked. */
  readonly waitsForLocks: boolean;
  /** By `performance.now()`. */
  readonly sentAt: number;
  /** Resolves when it is back, and all that waited for it is told. */
  settled: Promise<void> | undefined;
}

/**
 * Messages on their way into the log, two statements in flight at a time: what comes in meanwhile is the next batch.
 * Only those that hang, on the lock of a room say, are not waited for, up to so many at a time; a batch of several rooms
 * does not wait long for one that is locked, as its others would. What is in flight of a room is waited for in any case:
 * its entries never overtake each other.
 */
export class GroupCommit {
  readonly #append: StoreBatch;
  readonly #onError: (error: unknown, entries: number) => void;
  readonly #maxInFlight: number;
  #waiting: QueuedMessage[] = [];
  /** Rooms whose newer rules are being read, with what waits for them. */
  readonly #heldBack = new Map<number, QueuedMessage[]>();
  /** The reading of those rules. */
  readonly #refreshes = new Set<Promise<void>>();
  readonly #inFlight = new Set<Batch>();
  /** Rooms that somebody else had locked: they go in batches of their own, which wait for the locks. */
  readonly #contended = new Set<number>();
  #scheduled: Promise<void> | undefined;
  /** A look at what hangs, while something waits. */
  #stallTimer: NodeJS.Timeout | undefined;

  constructor(
    append: StoreBatch,
    onError: (error: unknown, entries: number) => void,
    maxInFlight: number,
  ) {
    this.#append = append;
    this.#onError = onError;
    this.#maxInFlight = maxInFlight;
  }

  push(message: QueuedMessage): void {
    const heldBack = this.#heldBack.get(message.room.roomId);
    if (heldBack !== undefined) {
      heldBack.push(message);
      return;
    }
    this.#waiting.push(message);
    // Behind one in flight of its room it departs when that is back.
    if (!this.#isInFlight(message.room.roomId)) this.#schedule();
  }

  /** Resolves once nothing waits or flies; nothing may be pushed any more. */
  async close(): Promise<void> {
    while (this.#waiting.length > 0 || this.#inFlight.size > 0 || this.#refreshes.size > 0) {
      const settled = [...this.#inFlight].map(({ settled }) => settled);
      await Promise.all([this.#scheduled, ...settled, ...this.#refreshes]);
    }
    clearTimeout(this.#stallTimer);
  }

  /** Sends what waits as soon as what runs now is through: frames that came in with one read leave together. */
  #schedule(): void {
    if (this.#scheduled !== undefined || this.#waiting.length === 0) return;
    if (!this.#maySend()) {
      this.#checkForStalled();
      return;
    }
    this.#scheduled = Promise.resolve().then(() => {
      this.#scheduled = undefined;
      this.#sendNext();
    });
  }

  /** What flies may hang: then what waits departs beside it. */
  #checkForStalled(): void {
    this.#stallTimer ??= setTimeout(() => {
      this.#stallTimer = undefined;
      this.#schedule();
    }, STALLED_AFTER_MS);
  }

  /** A statement that hangs is overtaken by others. */
  #maySend(): boolean {
    if (this.#inFlight.size >= this.#maxInFlight) return false;
    if (this.#inFlight.size < USUAL_IN_FLIGHT) return true;
    const before = performance.now() - STALLED_AFTER_MS;
    let moving = 0;
    for (const { sentAt } of this.#inFlight) if (sentAt > before) moving += 1;
    return moving < USUAL_IN_FLIGHT;
  }

  /** Sends a batch, and the next one as soon as it is back. */
  #sendNext(): void {
    const messages = this.#maySend() ? this.#takeBatch() : [];
    if (this.#waiting.length > 0) this.#checkForStalled();
    const [first] = messages;
    if (first === undefined) return;
    const roomIds = new Set(messages.map(({ room }) => room.roomId));
    const waitsForLocks = roomIds.size === 1 || this.#contended.has(first.room.roomId);
    const batch: Batch = { roomIds, waitsForLocks, sentAt: performance.now(), settled: undefined };
    this.#inFlight.add(batch);
    batch.settled = this.#send(batch, messages);
    // What may not go with it goes beside it.
    if (this.#contended.size > 0) this.#schedule();
  }

  /** Takes what fits in a batch of the rooms that nothing is in flight of, and turns away who may not write any more. */
  #takeBatch(): QueuedMessage[] {
    const messages: QueuedMessage[] = [];
    const left: QueuedMessage[] = [];
    let characters = 0;
    let taken = 0;
    let isContended: boolean | undefined;
    for (const message of this.#waiting) {
      if (messages.length >= MAX_BATCH_ENTRIES || characters >= MAX_BATCH_CHARACTERS) break;
      taken += 1;
      if (message.isGivenUp) {
        message.reject(new ChatError('UNAVAILABLE'));
        continue;
      }
      const { roomId } = message.room;
      const ofContended = this.#contended.has(roomId);
      if (this.#isInFlight(roomId) || ofContended !== (isContended ?? ofContended)) {
        left.push(message);
        continue;
      }
      const refusal = message.room.refusal(message.caller);
      if (refusal === undefined) {
        // Not by one that is turned away: what may not go with it would wait for nothing.
        isContended = ofContended;
        characters += message.draft.content.length;
        messages.push(message);
      } else {
        message.reject(refusal);
      }
    }
    this.#waiting = [...left, ...this.#waiting.slice(taken)];
    return messages;
  }

  #isInFlight(roomId: number): boolean {
    for (const { roomIds } of this.#inFlight) if (roomIds.has(roomId)) return true;
    return false;
  }

  /** Stores a batch, and tells everybody. */
  async #send(batch: Batch, messages: readonly QueuedMessage[]): Promise<void> {
    try {
      this.#settle(batch, messages, await this.#append(check(messages), batch.waitsForLocks));
    } catch (error) {
      this.#rejectAll(messages, error);
    }
    this.#inFlight.delete(batch);
    if (batch.waitsForLocks) for (const roomId of batch.roomIds) this.#contended.delete(roomId);
    this.#sendNext();
  }

  #settle(
    { waitsForLocks }: Batch,
    messages: readonly QueuedMessage[],
    outcomes: readonly Outcome[],
  ): void {
    const stored = new Map<LiveRoom, Entry[]>();
    const stale = new Map<number, QueuedMessage[]>();
    const again: QueuedMessage[] = [];
    for (const [index, message] of messages.entries()) {
      const outcome = outcomes[index];
      if (outcome?.outcome === 'stored') {
        const { seq, createdAt } = outcome;
        pushTo(stored, message.room, { ...message.draft, seq, createdAt });
      } else if (outcome?.outcome === 'stale') {
        pushTo(stale, message.room.roomId, message);
      } else if (outcome?.outcome === 'busy' && !waitsForLocks) {
        this.#contended.add(message.room.roomId);
        again.push(message);
      }
    }
    // In front of what came in meanwhile.
    this.#waiting = [...again, ...this.#waiting];
    const goingOut = new Map<LiveRoom, Promise<void>>();
    for (const [room, entries] of stored) {
      const gone = room.stored(entries);
      if (gone !== undefined) goingOut.set(room, gone);
    }
    for (const [roomId, messages] of stale) this.#holdBack(roomId, messages);
    for (const [index, message] of messages.entries()) {
      const outcome = outcomes[index];
      if (outcome?.outcome === 'stored' || outcome?.outcome === 'known') {
        const appended = { seq: outcome.seq, known: outcome.outcome === 'known' };
        // After the echo: a sender sees its message before the word that it is stored.
        const echoed = goingOut.get(message.room);
        if (echoed === undefined) message.resolve(appended);
        else
          void echoed.then(() => {
            message.resolve(appended);
          });
      } else if (outcome?.outcome === 'used') {
        message.reject(new ChatError('REF_USED', { seq: outcome.seq }));
      } else if (outcome?.outcome === 'refused') {
        message.reject(outcome.error);
      } else if (outcome?.outcome === 'busy') {
        if (!waitsForLocks) continue;
        message.reject(new ChatError('UNAVAILABLE', { detail: 'the room is locked' }));
      } else if (outcome?.outcome !== 'stale') {
        message.reject(new ChatError('NOT_FOUND', { detail: 'there is no such room' }));
      }
    }
  }

  /** Answers that nothing is known of these messages: a commit that broke may have been made. */
  #rejectAll(messages: readonly QueuedMessage[], error: unknown): void {
    this.#onError(error, messages.length);
    const unavailable = new ChatError('UNAVAILABLE', { cause: error });
    for (const message of messages) message.reject(unavailable);
  }

  /** Keeps a room's messages, and those that come meanwhile, until its newer rules are known. */
  #holdBack(roomId: number, messages: QueuedMessage[]): void {
    this.#waiting = this.#waiting.filter((message) => {
      if (message.room.roomId !== roomId) return true;
      messages.push(message);
      return false;
    });
    this.#heldBack.set(roomId, messages);
    const rooms = new Set(messages.map(({ room }) => room));
    const refresh: Promise<void> = Promise.all([...rooms].map((room) => room.refresh(true)))
      .then(
        () => {
          this.#heldBack.delete(roomId);
          this.#waiting = [...messages, ...this.#waiting];
          this.#schedule();
        },
        (error: unknown) => {
          this.#heldBack.delete(roomId);
          this.#rejectAll(messages, error);
        },
      )
      .finally(() => {
        this.#refreshes.delete(refresh);
      });
    this.#refreshes.add(refresh);
  }
}

/**
 * Each draft with what is known of its room's rules, read now: nothing is awaited between the permission and
 * the statement. Where a room has two writers for a moment, what the older one knows counts.
 */
function check(messages: readonly QueuedMessage[]): CheckedDraft[] {
  const rulesHeads = new Map<number, number>();
  for (const { roomId, rulesHead } of new Set(messages.map(({ room }) => room))) {
    rulesHeads.set(roomId, Math.min(rulesHead, rulesHeads.get(roomId) ?? rulesHead));
  }
  return messages.map(({ draft }) => ({ draft, rulesHead: rulesHeads.get(draft.room_id) ?? 0 }));
}

function pushTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
