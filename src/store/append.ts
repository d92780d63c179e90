import { ENTRY_KINDS } from '../protocol/entry-kinds.js';
import type { Sequelize } from 'sequelize';
import { ChatError, noSuchRoom } from '../errors.js';
import { entryOf, type Entry, type EntryDraft } from './entry.js';
import { isUniqueViolation } from './pg-errors.js';
import type { RunStatement, Statement } from './prepared.js';

/**
 * What became of a draft:
 * - `stored`: it has the room's next seq.
 * - `known`: its emitter had sent the same with this ref before; what was edited or deleted since, or replaced before
 *   it was stored, counts as the same.
 * - `used`: its emitter had sent something else with this ref before.
 * - `orphan`: it answers a seq that is no message of its room.
 * - `refused`: the database refuses its content.
 * - `stale`: rights in the room were changed after its emitters were checked, or its log went back and ends before the
 *   change that they were checked under, or has another entry in its place. Nothing of the room was stored.
 * - `busy`: another transaction holds the room's lock. Nothing of the room was stored.
 * - `gone`: there is no such room.
 */
export type Outcome =
  | { readonly outcome: 'stored'; readonly seq: number; readonly createdAt: string }
  /** `seq` is that of the stored entry with this ref. */
  | { readonly outcome: 'known' | 'used'; readonly seq: number }
  | { readonly outcome: 'refused'; readonly error: ChatError }
  | { readonly outcome: 'orphan' | 'stale' | 'busy' | 'gone' };

/** A draft whose emitter may append it, by the room's rules up to `rulesHead`. */
export interface CheckedDraft {
  readonly draft: EntryDraft;
  /** Seq of the last change of rights, the same for all drafts of a room; null: checked in the transaction that appends. */
  readonly rulesHead: number | null;
  /** Date of that entry, ISO 8601; null or undefined if the room has none, or not any more. */
  readonly rulesDate?: string | null;
  /**
   * It changes nobody's rights, though others of its kind do, so that messages checked before it may still be stored
   * after it.
   */
  readonly keepsRights?: boolean;
}

/** A room of a batch. */
interface RoomOfBatch {
  readonly id: number;
  readonly rulesHead: number | null;
  readonly rulesDate: string | null;
  /** Its drafts, without copies. */
  count: number;
  /** The place of the last of them that changes rights, from 1; 0 if there is none. */
  lastRule: number;
}

/** A draft in a batch. */
interface Placed {
  readonly draft: EntryDraft;
  /** The index of its room, from 1. */
  readonly room: number;
  /** Its place among the room's drafts, from 1; 0 for a copy, whose emitter and ref an earlier draft has. */
  readonly place: number;
  /** Of a copy: the index of the first draft with its ref, from 0. */
  readonly copyOf: number | undefined;
}

/** What append_batch returns; its migration says what each field means. */
interface AppendedBatch {
  /** ISO 8601, as Postgres writes it. */
  readonly moment: string;
  readonly heads: readonly (number | null)[];
  readonly outcomes: readonly ('stale' | 'gone' | 'busy' | 'known' | null)[] | null;
  readonly known_seqs: readonly (number | null)[] | null;
  readonly known_same: readonly (boolean | null)[] | null;
  readonly orphans: readonly boolean[] | null;
  readonly places: readonly number[] | null;
}

// As JSON, an answer is one column to describe and one value to parse.
const APPEND_BATCH: Statement = {
  name: 'append_batch',
  text: `SELECT to_json(append_batch(
    $1::int[], $2::bigint[], $3::timestamptz[], $4::int[], $5::int[],
    $6::int[], $7::int[], $8::text[], $9::uuid[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14)) AS batch`,
};

// One statement has one snapshot. Of two copies of a ref that are in flight at once, the second waits for the room's
// lock and does not see the first one afterwards: the unique index refuses it.
const APPEND_MESSAGE: Statement = {
  name: 'append_message',
  text: `WITH place AS (
      UPDATE rooms SET head = head + 1
      WHERE id = $1 AND rules_head <= $2 AND head >= $2 AND NOT EXISTS (
        SELECT FROM messages WHERE room_id = $1 AND emitter = $3::uuid AND ref = $5::varchar)
        -- In the order of the key, which no other index has.
        AND (rules_head = $2 AND rules_date = $7::timestamptz OR (
          SELECT seq <> $2 OR "createdAt" = $7::timestamptz FROM messages
          WHERE room_id = $1 AND seq >= $2 ORDER BY seq LIMIT 1) IS NOT FALSE)
      -- Read under the lock, so that dates follow the order of seqs.
      RETURNING id, head, date_trunc('milliseconds', clock_timestamp()) AS moment)
    INSERT INTO messages (room_id, seq, kind, emitter, content, ref, "createdAt", "updatedAt")
    SELECT id, head, $6::varchar, $3::uuid, $4::text, $5::varchar, moment, moment FROM place
    RETURNING json_build_array(seq, "createdAt") AS stored`,
};

/** Appends an empty batch: rejects if append_batch is missing or may not be called, or if the database is read-only. */
export async function tryToAppend(run: RunStatement): Promise<void> {
  await callAppendBatch(run, [], true);
}

/**
 * Inserts 14 KB for a room that can't exist, more than the 8 KB of a Postgres page, so that the table has to grow on
 * the disk. PL/pgSQL undoes what a block did before the error that it catches; a foreign key that an operator added may
 * refuse the rows earlier.
 */
const STORE_AND_UNDO = `DO $$ BEGIN
  INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
  SELECT -1, n, 'message', '00000000-0000-0000-0000-000000000000', repeat(' ', 1800), now(), now()
  FROM generate_series(1, 8) AS n;
  RAISE EXCEPTION 'undone';
EXCEPTION WHEN raise_exception OR integrity_constraint_violation THEN NULL;
END $$`;

/** Stores something and undoes it: rejects if the disk is full. */
export async function tryToStore(sequelize: Sequelize): Promise<void> {
  await sequelize.query(STORE_AND_UNDO);
}

/**
 * Appends drafts to the logs of their rooms, in their order, all with the same date. Drafts of a room that another
 * transaction has locked are `busy`; but for a message alone, and for one room without refs, the statement fails with
 * lock_not_available.
 * @param waitsForLocks whether to wait for such a room; meanwhile others wait for the rooms that are locked already
 * @returns one outcome a draft, in the order of the drafts
 */
export function appendEntries(
  run: RunStatement,
  checked: readonly CheckedDraft[],
  waitsForLocks = true,
): Promise<Outcome[]> {
  const [first] = checked;
  if (first === undefined) return Promise.resolve([]);
  const isAlone = checked.length === 1 && !ENTRY_KINDS[first.draft.kind].changesRights;
  return isAlone && first.rulesHead !== null && !hasExtras(first.draft)
    ? insertMessage(run, first)
    : callAppendBatch(run, checked, waitsForLocks);
}

/**
 * Appends drafts without refs to the log of one room, in the transaction that has locked the room and checked them.
 * @throws {ChatError} NOT_FOUND if there is no such room
 */
export async function appendLocked(
  run: RunStatement,
  checked: readonly CheckedDraft[],
): Promise<Entry[]> {
  const outcomes = await appendEntries(run, checked);
  return checked.map(({ draft }, index) => {
    const outcome = outcomes[index];
    if (outcome?.outcome !== 'stored') {
      throw noSuchRoom();
    }
    return entryOf(draft, outcome.seq, outcome.createdAt);
  });
}

/**
 * Appends a message that is alone and just a text, the usual batch of a server that is not busy, by a plain statement:
 * it takes less time than append_batch. If that stores nothing, append_batch is called and finds out why.
 */
function insertMessage(run: RunStatement, message: CheckedDraft): Promise<Outcome[]> {
  const { roomId, kind, emitter, content, ref } = message.draft;
  const { rulesHead, rulesDate = null } = message;
  const values = [roomId, rulesHead, emitter, content, ref, kind, rulesDate];
  return run(APPEND_MESSAGE, values).then(
    ([row]) => {
      if (row === undefined) return callAppendBatch(run, [message], true);
      const [seq, moment] = (row as { stored: [seq: number, moment: string] }).stored;
      return [{ outcome: 'stored', seq, createdAt: isoInstant(moment) }];
    },
    (error: unknown) => {
      if (!isUniqueViolation(error)) throw error;
      return callAppendBatch(run, [message], true);
    },
  );
}

async function callAppendBatch(
  run: RunStatement,
  checked: readonly CheckedDraft[],
  waitsForLocks: boolean,
): Promise<Outcome[]> {
  const { rooms, placed } = place(checked);
  const hasRefs = placed.some(({ draft }) => draft.ref !== null);
  const hasTargets = placed.some(({ draft }) => draft.target !== undefined);
  const someHaveExtras = placed.some(({ draft }) => hasExtras(draft));
  const [row] = await run(APPEND_BATCH, [
    rooms.map(({ id }) => id),
    rooms.map(({ rulesHead }) => rulesHead),
    rooms.map(({ rulesDate }) => rulesDate),
    rooms.map(({ count }) => count),
    rooms.map(({ lastRule }) => lastRule),
    placed.map(({ room }) => room),
    placed.map((one) => one.place),
    placed.map(({ draft }) => draft.kind),
    placed.map(({ draft }) => draft.emitter),
    placed.map(({ draft }) => draft.content),
    hasRefs ? placed.map(({ draft }) => draft.ref) : null,
    hasTargets ? placed.map(({ draft }) => draft.target ?? null) : null,
    someHaveExtras ? placed.map(({ draft }) => extrasOf(draft)) : null,
    waitsForLocks,
  ]);
  if (row === undefined) throw new Error('append_batch returned no row');
  return outcomesOf((row as { batch: AppendedBatch }).batch, placed);
}

function hasExtras({ data, replyTo, mentions, isReplaced }: EntryDraft): boolean {
  return (
    data !== undefined || replyTo !== undefined || mentions !== undefined || isReplaced === true
  );
}

/** The columns that most entries lack, as append_batch takes them. */
function extrasOf(draft: EntryDraft): string | null {
  if (!hasExtras(draft)) return null;
  const { data, replyTo, mentions, isReplaced } = draft;
  const array = mentions && `{${mentions.join(',')}}`;
  return JSON.stringify({ data, reply_to: replyTo, mentions: array, replaced: isReplaced });
}

/** Numbers the rooms of a batch and the drafts of each, and finds copies of refs. */
function place(checked: readonly CheckedDraft[]): { rooms: RoomOfBatch[]; placed: Placed[] } {
  const rooms: RoomOfBatch[] = [];
  const indexes = new Map<number, number>();
  const refs = new Map<string, number>();
  const placed = checked.map(
    ({ draft, rulesHead, rulesDate = null, keepsRights }, index): Placed => {
      let room = indexes.get(draft.roomId);
      if (room === undefined) {
        room = rooms.push({ id: draft.roomId, rulesHead, rulesDate, count: 0, lastRule: 0 });
        indexes.set(draft.roomId, room);
      }
      if (draft.ref !== null) {
        const name = `${draft.roomId} ${draft.emitter} ${draft.ref}`;
        const copyOf = refs.get(name);
        if (copyOf !== undefined) return { draft, room, place: 0, copyOf };
        refs.set(name, index);
      }
      const ofRoom = rooms[room - 1];
      if (ofRoom === undefined) throw new Error('a room of a batch was not numbered');
      ofRoom.count += 1;
      if (ENTRY_KINDS[draft.kind].changesRights && keepsRights !== true)
        ofRoom.lastRule = ofRoom.count;
      return { draft, room, place: ofRoom.count, copyOf: undefined };
    },
  );
  return { rooms, placed };
}

function outcomesOf(batch: AppendedBatch, placed: readonly Placed[]): Outcome[] {
  const createdAt = isoInstant(batch.moment);
  const given: Outcome[] = [];
  for (const [index, { draft, room, copyOf, ...sent }] of placed.entries()) {
    const head = batch.heads[room - 1] ?? null;
    const ofRoom = head === null ? (batch.outcomes?.[room - 1] ?? 'gone') : 'known';
    const knownSeq = batch.known_seqs?.[index] ?? null;
    const first = copyOf === undefined ? undefined : given[copyOf];
    if (ofRoom !== 'known') {
      given.push({ outcome: ofRoom });
    } else if (knownSeq !== null) {
      given.push(repeated(knownSeq, batch.known_same?.[index] === true));
    } else if (batch.orphans?.[index] === true || first?.outcome === 'orphan') {
      given.push({ outcome: 'orphan' });
    } else if (first !== undefined && 'seq' in first) {
      // A copy of a draft that was stored just now.
      given.push(repeated(first.seq, isSame(placed[copyOf ?? 0]?.draft, draft)));
    } else {
      const seq = (head ?? 0) + (batch.places?.[index] ?? sent.place);
      given.push({ outcome: 'stored', seq, createdAt });
    }
  }
  return given;
}

/** The outcome of a draft whose ref is stored already. */
function repeated(seq: number, isSame: boolean): Outcome {
  return { outcome: isSame ? 'known' : 'used', seq };
}

/** Whether two drafts with the same ref say the same. */
function isSame(one: EntryDraft | undefined, other: EntryDraft): boolean {
  if (one?.kind !== other.kind) return false;
  if (one.isReplaced || other.isReplaced) return true;
  return one.content === other.content && extrasOf(one) === extrasOf(other);
}

/**
 * An instant as `Date.toISOString` writes it; a Date would take twenty times as long.
 * @param moment as Postgres writes it in UTC, without trailing zeros: `2026-11-26T20:00:00.12+00:00`
 */
function isoInstant(moment: string): string {
  return `${moment.slice(0, 19)}.${moment.slice(20, -6).padEnd(3, '0')}Z`;
}
