import type { Caller } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { CheckedDraft, Entry, EntryDraft, Outcome } from './entries.js';

/** Entries of one statement; larger ones only lengthen the time that its rooms are locked. */
const MAX_BATCH_ENTRIES = 1_000;
const MAX_BATCH_CHARACTERS = 1_000_000;
/** Statements at a time: the next one is worked on while the commit of the one before is on its way to the disk. */
const USUAL_FLIGHTS = 2;
/** How long statements may keep rooms waiting that they have nothing of. */
const PATIENCE_MS = 100;

/** A room as its messages are written: what is known of its rules here, and who takes what was stored. */
export interface Writer {
  readonly roomId: number;
  /** Number of the last rule entry that `refusal` knows. */
  readonly rulesHead: number;
  /** Why the author may not write, if so. Asked as the batch is made up, with nothing awaited before it is sent. */
  refusal(author: Caller): ChatError | undefined;
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
export interface Pending {
  readonly writer: Writer;
  readonly author: Caller;
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

/** @param isPatient whether it waits for rooms that somebody else has locked; else they are `busy` soon */
export type AppendBatch = (
  checked: readonly CheckedDraft[],
  isPatient: boolean,
) => Promise<readonly Outcome[]>;

/** A batch in flight. */
interface Flight {
  readonly rooms: ReadonlySet<number>;
  /** Whether it waits for rooms that somebody else has locked. */
  readonly isPatient: boolean;
  /** By `performance.now()`. */
  readonly departedAt: number;
  /** Resolves when it is back, and all that waited for it is told. */
  landing: Promise<void> | undefined;
}

/**
 * Messages on their way into the log, two statements in flight at a time: what comes in meanwhile is the next batch.
 * Only those that hang, on the lock of a room say, are not waited for, up to so many at a time; a batch of several rooms
 * does not wait long for one that is locked, as its others would. What is in flight of a room is waited for in any case:
 * its entries never overtake each other.
 */
export class Lane {
  readonly #append: AppendBatch;
  readonly #onError: (error: unknown, entries: number) => void;
  readonly #maxFlights: number;
  #waiting: Pending[] = [];
  /** Rooms whose newer rules are being read, with what waits for them. */
  readonly #held = new Map<number, Pending[]>();
  /** The reading of those rules. */
  readonly #refreshes = new Set<Promise<void>>();
  readonly #flights = new Set<Flight>();
  /** Rooms that somebody else had locked: they go in batches of their own, which wait for the locks. */
  readonly #contended = new Set<number>();
  #departure: Promise<void> | undefined;
  /** A look at what hangs, while something waits. */
  #patience: NodeJS.Timeout | undefined;

  constructor(
    append: AppendBatch,
    onError: (error: unknown, entries: number) => void,
    maxFlights: number,
  ) {
    this.#append = append;
    this.#onError = onError;
    this.#maxFlights = maxFlights;
  }

  push(pending: Pending): void {
    const held = this.#held.get(pending.writer.roomId);
    if (held !== undefined) {
      held.push(pending);
      return;
    }
    this.#waiting.push(pending);
    // Behind one in flight of its room it departs when that is back.
    if (!this.#isInFlight(pending.writer.roomId)) this.#depart();
  }

  /** Resolves once nothing waits or flies; nothing may be pushed any more. */
  async close(): Promise<void> {
    while (this.#waiting.length > 0 || this.#flights.size > 0 || this.#refreshes.size > 0) {
      const landings = [...this.#flights].map(({ landing }) => landing);
      await Promise.all([this.#departure, ...landings, ...this.#refreshes]);
    }
    clearTimeout(this.#patience);
  }

  /** Sends what waits as soon as what runs now is through: frames that came in with one read leave together. */
  #depart(): void {
    if (this.#departure !== undefined || this.#waiting.length === 0) return;
    if (!this.#mayDepart()) {
      this.#lookAgain();
      return;
    }
    this.#departure = Promise.resolve().then(() => {
      this.#departure = undefined;
      this.#flyOn();
    });
  }

  /** What flies may hang: then what waits departs beside it. */
  #lookAgain(): void {
    this.#patience ??= setTimeout(() => {
      this.#patience = undefined;
      this.#depart();
    }, PATIENCE_MS);
  }

  /** A statement that hangs is overtaken by others. */
  #mayDepart(): boolean {
    if (this.#flights.size >= this.#maxFlights) return false;
    if (this.#flights.size < USUAL_FLIGHTS) return true;
    const before = performance.now() - PATIENCE_MS;
    let flying = 0;
    for (const { departedAt } of this.#flights) if (departedAt > before) flying += 1;
    return flying < USUAL_FLIGHTS;
  }

  /** Sends a batch, and the next one as soon as it is back. */
  #flyOn(): void {
    const batch = this.#mayDepart() ? this.#board() : [];
    if (this.#waiting.length > 0) this.#lookAgain();
    const [first] = batch;
    if (first === undefined) return;
    const rooms = new Set(batch.map(({ writer }) => writer.roomId));
    const isPatient = rooms.size === 1 || this.#contended.has(first.writer.roomId);
    const flight: Flight = { rooms, isPatient, departedAt: performance.now(), landing: undefined };
    this.#flights.add(flight);
    flight.landing = this.#fly(flight, batch);
    // What may not go with it goes beside it.
    if (this.#contended.size > 0) this.#depart();
  }

  /** Takes what fits in a batch of the rooms that nothing is in flight of, and turns away who may not write any more. */
  #board(): Pending[] {
    const batch: Pending[] = [];
    const left: Pending[] = [];
    let characters = 0;
    let taken = 0;
    let isContended: boolean | undefined;
    for (const pending of this.#waiting) {
      if (batch.length >= MAX_BATCH_ENTRIES || characters >= MAX_BATCH_CHARACTERS) break;
      taken += 1;
      if (pending.isGivenUp) {
        pending.reject(new ChatError('UNAVAILABLE'));
        continue;
      }
      const { roomId } = pending.writer;
      const ofContended = this.#contended.has(roomId);
      if (this.#isInFlight(roomId) || ofContended !== (isContended ?? ofContended)) {
        left.push(pending);
        continue;
      }
      const refusal = pending.writer.refusal(pending.author);
      if (refusal === undefined) {
        // Not by one that is turned away: what may not go with it would wait for nothing.
        isContended = ofContended;
        characters += pending.draft.content.length;
        batch.push(pending);
      } else {
        pending.reject(refusal);
      }
    }
    this.#waiting = [...left, ...this.#waiting.slice(taken)];
    return batch;
  }

  #isInFlight(roomId: number): boolean {
    for (const { rooms } of this.#flights) if (rooms.has(roomId)) return true;
    return false;
  }

  /** Stores a batch, and tells everybody. */
  async #fly(flight: Flight, batch: readonly Pending[]): Promise<void> {
    try {
      this.#deliver(flight, batch, await this.#append(check(batch), flight.isPatient));
    } catch (error) {
      this.#fail(batch, error);
    }
    this.#flights.delete(flight);
    if (flight.isPatient) for (const roomId of flight.rooms) this.#contended.delete(roomId);
    this.#flyOn();
  }

  #deliver({ isPatient }: Flight, batch: readonly Pending[], outcomes: readonly Outcome[]): void {
    const stored = new Map<Writer, Entry[]>();
    const stale = new Map<number, Pending[]>();
    const again: Pending[] = [];
    for (const [index, pending] of batch.entries()) {
      const outcome = outcomes[index];
      if (outcome?.outcome === 'stored') {
        const { seq, createdAt } = outcome;
        pushTo(stored, pending.writer, { ...pending.draft, seq, createdAt });
      } else if (outcome?.outcome === 'stale') {
        pushTo(stale, pending.writer.roomId, pending);
      } else if (outcome?.outcome === 'busy' && !isPatient) {
        this.#contended.add(pending.writer.roomId);
        again.push(pending);
      }
    }
    // In front of what came in meanwhile.
    this.#waiting = [...again, ...this.#waiting];
    const goingOut = new Map<Writer, Promise<void>>();
    for (const [writer, entries] of stored) {
      const gone = writer.stored(entries);
      if (gone !== undefined) goingOut.set(writer, gone);
    }
    for (const [roomId, pendings] of stale) this.#hold(roomId, pendings);
    for (const [index, pending] of batch.entries()) {
      const outcome = outcomes[index];
      if (outcome?.outcome === 'stored' || outcome?.outcome === 'known') {
        const appended = { seq: outcome.seq, known: outcome.outcome === 'known' };
        // After the echo: a sender sees its message before the word that it is stored.
        const echoed = goingOut.get(pending.writer);
        if (echoed === undefined) pending.resolve(appended);
        else
          void echoed.then(() => {
            pending.resolve(appended);
          });
      } else if (outcome?.outcome === 'used') {
        pending.reject(new ChatError('REF_USED', { seq: outcome.seq }));
      } else if (outcome?.outcome === 'refused') {
        pending.reject(outcome.error);
      } else if (outcome?.outcome === 'busy') {
        if (!isPatient) continue;
        pending.reject(new ChatError('UNAVAILABLE', { detail: 'the room is locked' }));
      } else if (outcome?.outcome !== 'stale') {
        pending.reject(new ChatError('NOT_FOUND', { detail: 'there is no such room' }));
      }
    }
  }

  /** Answers that nothing is known of these messages: a commit that broke may have been made. */
  #fail(pendings: readonly Pending[], error: unknown): void {
    this.#onError(error, pendings.length);
    const unavailable = new ChatError('UNAVAILABLE', { cause: error });
    for (const pending of pendings) pending.reject(unavailable);
  }

  /** Keeps a room's messages, and those that come meanwhile, until its newer rules are known. */
  #hold(roomId: number, pendings: Pending[]): void {
    this.#waiting = this.#waiting.filter((pending) => {
      if (pending.writer.roomId !== roomId) return true;
      pendings.push(pending);
      return false;
    });
    this.#held.set(roomId, pendings);
    const writers = new Set(pendings.map(({ writer }) => writer));
    const refresh: Promise<void> = Promise.all([...writers].map((writer) => writer.refresh(true)))
      .then(
        () => {
          this.#held.delete(roomId);
          this.#waiting = [...pendings, ...this.#waiting];
          this.#depart();
        },
        (error: unknown) => {
          this.#held.delete(roomId);
          this.#fail(pendings, error);
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
function check(batch: readonly Pending[]): CheckedDraft[] {
  const rulesHeads = new Map<number, number>();
  for (const { roomId, rulesHead } of new Set(batch.map(({ writer }) => writer))) {
    rulesHeads.set(roomId, Math.min(rulesHead, rulesHeads.get(roomId) ?? rulesHead));
  }
  return batch.map(({ draft }) => ({ draft, rulesHead: rulesHeads.get(draft.room_id) ?? 0 }));
}

function pushTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
