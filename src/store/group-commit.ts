import type { Caller } from '../access/permissions.js';
import type { Limits } from '../config/load.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { Logger } from '../logger.js';
import type { CheckedDraft, Outcome } from './append.js';
import { entryOf, type Entry, type EntryDraft } from './entry.js';
import type { LiveRoom } from './live-room.js';
import { isUnavailable } from './pg-errors.js';
import {
  UnsettledMessages,
  type UnsettledLimits,
  type UnsettledMessage,
} from './unsettled-messages.js';

/**
 * Entries of one statement, and characters of their content and data together. Postgres stores 1,000 short messages in
 * about 20 ms (measured on two cores); a larger batch would only keep its rooms locked for longer. A million characters,
 * 125 of the longest messages by default, is a trade-off.
 */
const MAX_BATCH_ENTRIES = 1_000;
const MAX_BATCH_CHARACTERS = 1_000_000;
/** Batches in flight that move: while Postgres writes the commit of one to the disk, it works on the next. */
const MAX_MOVING = 2;
/** A batch in flight for longer is stalled. As long as append_batch waits for one room's lock on behalf of several. */
const STALLED_AFTER_MS = 100;

const NO_ANSWERED = 'reply_to is no message of the room';
const GONE: Outcome = { outcome: 'gone' };

interface QueuedMessage extends UnsettledMessage {
  readonly room: LiveRoom;
  readonly caller: Caller;
  readonly draft: EntryDraft;
  readonly resolve: (appended: Appended) => void;
}

/** Where a message stands in its room's log. */
export interface Appended {
  readonly seq: number;
  /** It had been stored before, with the same ref. */
  readonly known: boolean;
}

/**
 * Stores a batch: one outcome a draft, in their order.
 * @param waitsForLocks whether to wait for rooms that another transaction has locked, rather than say `busy` soon
 */
export type StoreBatch = (
  checked: readonly CheckedDraft[],
  waitsForLocks: boolean,
) => Promise<readonly Outcome[]>;

export type GroupCommitLimits = UnsettledLimits & Pick<Limits, 'logBatchesInFlight'>;

/** A batch in flight. */
interface Batch {
  readonly roomIds: ReadonlySet<number>;
  readonly waitsForLocks: boolean;
  /** By `performance.now()`. */
  readonly sentAt: number;
  /** Resolves when the statement has ended and all its messages are dealt with. */
  settled: Promise<void> | undefined;
}

/**
 * Queues messages and stores them in batches: messages that arrive while batches are in flight make up the next one.
 * There is no timer, so a message that is alone is sent at once, and the busier a node is the more messages share a
 * commit.
 *
 * A message is in one of these places:
 *
 * - `waiting`, in the order of arrival. It goes into the next batch, unless a batch of its room is in flight: entries
 *   of a room never overtake each other. As the batch is made up, its room is asked for a `refusal`.
 * - `in flight`, in a statement. Its outcome answers it, with two exceptions: a `stale` room is held back, and a
 *   message of a `busy` room waits again, in front of the others.
 * - `held back`, with everything of its room, while the room reads its newer rules (`refresh`). After that it waits
 *   again, in front of the others; if the rules can't be read, it is answered with UNAVAILABLE.
 *
 * Wherever it is, it counts for the bounds of `UnsettledMessages` until it is settled, and may be given up.
 *
 * A batch in flight is `moving` at first, and `stalled` after 100 ms: it waits for a lock, or its connection hangs. Two
 * may move at a time. Others may start beside stalled ones, LOG_BATCHES_IN_FLIGHT in flight altogether.
 *
 * A room is `contended` after a batch of several rooms found it `busy`. It then goes in a batch of contended rooms,
 * which waits for their locks, so that no other room does; when that batch has ended, it is a room like the others.
 */
export class GroupCommit {
  readonly #storeBatch: StoreBatch;
  readonly #batchesInFlight: number;
  readonly #logger: Logger;
  readonly #unsettled: UnsettledMessages;
  #waiting: QueuedMessage[] = [];
  /** By room. */
  readonly #heldBack = new Map<number, QueuedMessage[]>();
  /** The reading of the rules of rooms that are held back. */
  readonly #refreshes = new Set<Promise<void>>();
  readonly #inFlight = new Set<Batch>();
  readonly #contended = new Set<number>();
  #scheduled: Promise<void> | undefined;
  /** Set while messages wait for a batch to end or to stall. */
  #stallTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor({
    storeBatch,
    limits,
    logger,
  }: {
    storeBatch: StoreBatch;
    limits: GroupCommitLimits;
    logger: Logger;
  }) {
    this.#storeBatch = storeBatch;
    this.#batchesInFlight = limits.logBatchesInFlight;
    this.#logger = logger;
    this.#unsettled = new UnsettledMessages(limits, logger);
  }

  /** As `Log.append`. */
  append(room: LiveRoom, caller: Caller, draft: EntryDraft): Promise<Appended> {
    const bytes = Buffer.byteLength(draft.content) + Buffer.byteLength(draft.data ?? '');
    if (this.#isClosed) return unavailable('the server is going down');
    if (!this.#unsettled.hasSpaceFor(bytes)) {
      return unavailable('too many messages wait to be stored');
    }
    return new Promise((resolve, reject) => {
      const message: QueuedMessage = {
        room,
        caller,
        draft,
        bytes,
        sweptBefore: 0,
        isGivenUp: false,
        resolve,
        reject,
      };
      this.#unsettled.add(message);
      this.#enqueue(message);
    });
  }

  /** As `Log.unsettled`. */
  get unsettled(): UnsettledMessages['size'] {
    return this.#unsettled.size;
  }

  /** As `Log.settledIn`. */
  settledIn(roomId: number): Promise<void> | undefined {
    for (const { roomIds, settled } of this.#inFlight) if (roomIds.has(roomId)) return settled;
    return undefined;
  }

  /** Takes no more messages, and resolves when all it took are settled. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#waiting.length > 0 || this.#inFlight.size > 0 || this.#refreshes.size > 0) {
      const settled = [...this.#inFlight].map(({ settled }) => settled);
      await Promise.all([this.#scheduled, ...settled, ...this.#refreshes]);
    }
    clearTimeout(this.#stallTimer);
    this.#unsettled.close();
  }

  #enqueue(message: QueuedMessage): void {
    const heldBack = this.#heldBack.get(message.room.roomId);
    if (heldBack !== undefined) {
      heldBack.push(message);
      return;
    }
    this.#waiting.push(message);
    // If a batch of its room is in flight, the end of that batch sends it.
    if (!this.#isInFlight(message.room.roomId)) this.#schedule();
  }

  /** Sends the next batch after the current microtask, so that frames of one read of a socket leave together. */
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

  /** Tries again once a batch in flight may have stalled. */
  #checkForStalled(): void {
    this.#stallTimer ??= setTimeout(() => {
      this.#stallTimer = undefined;
      this.#schedule();
    }, STALLED_AFTER_MS);
  }

  #maySend(): boolean {
    if (this.#inFlight.size >= this.#batchesInFlight) return false;
    if (this.#inFlight.size < MAX_MOVING) return true;
    const before = performance.now() - STALLED_AFTER_MS;
    let moving = 0;
    for (const { sentAt } of this.#inFlight) if (sentAt > before) moving += 1;
    return moving < MAX_MOVING;
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
    // Contended rooms and others go in batches of their own, beside each other.
    if (this.#contended.size > 0) this.#schedule();
  }

  /**
   * Takes messages for a batch, of rooms that have none in flight, and rejects those whose callers may not write now.
   */
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
        this.#unsettled.remove(message);
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
        // Set by a message that goes, not by a refused one: the others would be left for nothing.
        isContended = ofContended;
        characters += message.draft.content.length + (message.draft.data?.length ?? 0);
        messages.push(message);
      } else {
        this.#reject(message, refusal);
      }
    }
    this.#waiting = [...left, ...this.#waiting.slice(taken)];
    return messages;
  }

  #isInFlight(roomId: number): boolean {
    for (const { roomIds } of this.#inFlight) if (roomIds.has(roomId)) return true;
    return false;
  }

  async #send(batch: Batch, messages: readonly QueuedMessage[]): Promise<void> {
    try {
      const outcomes = await this.#storeBatch(check(messages), batch.waitsForLocks);
      this.#handleOutcomes(batch, messages, outcomes);
    } catch (error) {
      this.#rejectAll(messages, error);
    }
    this.#inFlight.delete(batch);
    if (batch.waitsForLocks) for (const roomId of batch.roomIds) this.#contended.delete(roomId);
    this.#sendNext();
  }

  #handleOutcomes(
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
        pushTo(stored, message.room, entryOf(message.draft, seq, createdAt));
      } else if (outcome?.outcome === 'stale') {
        pushTo(stale, message.room.roomId, message);
      } else if (outcome?.outcome === 'busy' && !waitsForLocks) {
        this.#contended.add(message.room.roomId);
        again.push(message);
      }
    }
    if (again.length > 0) this.#waiting = [...again, ...this.#waiting];
    const echoes = new Map<LiveRoom, Promise<void>>();
    for (const [room, entries] of stored) {
      const echoed = room.stored(entries);
      if (echoed !== undefined) echoes.set(room, echoed);
    }
    for (const [roomId, messages] of stale) this.#holdBack(roomId, messages);
    for (const [index, message] of messages.entries()) {
      const outcome = outcomes[index] ?? GONE;
      if (outcome.outcome === 'stale' || (outcome.outcome === 'busy' && !waitsForLocks)) continue;
      this.#answer(message, outcome, echoes.get(message.room));
    }
  }

  /** @param echoed resolves when the room's subscribers have been sent the entry: a sender sees its echo before SENT */
  #answer(message: QueuedMessage, outcome: Outcome, echoed: Promise<void> | undefined): void {
    if (outcome.outcome === 'stored' || outcome.outcome === 'known') {
      const appended = { seq: outcome.seq, known: outcome.outcome === 'known' };
      if (echoed === undefined) this.#resolve(message, appended);
      else
        void echoed.then(() => {
          this.#resolve(message, appended);
        });
    } else if (outcome.outcome === 'used') {
      this.#reject(message, new ChatError('REF_USED', { seq: outcome.seq }));
    } else if (outcome.outcome === 'orphan') {
      this.#reject(message, new ChatError('NO_SUCH_MESSAGE', { detail: NO_ANSWERED }));
    } else if (outcome.outcome === 'refused') {
      this.#reject(message, outcome.error);
    } else if (outcome.outcome === 'busy') {
      this.#reject(message, new ChatError('UNAVAILABLE', { detail: 'the room is locked' }));
    } else {
      this.#reject(message, noSuchRoom());
    }
  }

  /** UNAVAILABLE, whatever failed: a commit whose answer did not come may have been made. */
  #rejectAll(messages: readonly QueuedMessage[], error: unknown): void {
    if (!isUnavailable(error)) {
      this.#logger.error({ err: error, entries: messages.length }, 'storing a batch failed');
    }
    const unavailable = new ChatError('UNAVAILABLE', { cause: error });
    for (const message of messages) this.#reject(message, unavailable);
  }

  /** Holds back a room's messages, and those that arrive meanwhile, until its newer rules are known. */
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

  #resolve(message: QueuedMessage, appended: Appended): void {
    this.#unsettled.remove(message);
    message.resolve(appended);
  }

  #reject(message: QueuedMessage, error: ChatError): void {
    this.#unsettled.remove(message);
    message.reject(error);
  }
}

/**
 * Drafts with the rules under which they were checked: the room's `rulesHead` now, in the same turn as its `refusal`.
 * If a room has two LiveRooms for a moment, as a feed is closed and opened again, the older knowledge counts.
 */
function check(messages: readonly QueuedMessage[]): CheckedDraft[] {
  const oldest = new Map<number, LiveRoom>();
  for (const { room } of messages) {
    const other = oldest.get(room.roomId) ?? room;
    oldest.set(room.roomId, room.rulesHead < other.rulesHead ? room : other);
  }
  return messages.map(({ draft, room }) => {
    const { rulesHead, rulesDate } = oldest.get(room.roomId) ?? room;
    return { draft, rulesHead, rulesDate };
  });
}

function unavailable(detail: string): Promise<never> {
  return Promise.reject(new ChatError('UNAVAILABLE', { detail }));
}

function pushTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
