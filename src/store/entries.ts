import type { Sequelize } from 'sequelize';
import type { RoomAccess, Rule } from '../access/permissions.js';
import type { ChatError } from '../errors.js';
import { isUniqueViolation } from './pg-errors.js';
import type { RunStatement, Statement } from './prepared.js';

/** What an entry of a room's log is. */
export const ENTRY_KINDS = ['message', 'rule'] as const;

/** An entry of a room's log, as it is read, published and delivered. */
export interface Entry {
  readonly room_id: number;
  /** Its number: 1, 2, 3, ... in its room. */
  readonly seq: number;
  readonly kind: (typeof ENTRY_KINDS)[number];
  readonly emitter: string;
  /** The message's text; of a rule, the rule as JSON (`ruleOf`). */
  readonly content: string;
  readonly ref: string | null;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
}

/** An entry that has no number yet. */
export type EntryDraft = Pick<Entry, 'room_id' | 'kind' | 'emitter' | 'content' | 'ref'>;

/**
 * What became of a draft: `stored` now; `known`, as the emitter had sent its ref with the same content before; `used`,
 * as that was another content; `stale`, as the room has a newer rule than its senders were checked under, or not that
 * one, in a log that went back (nothing of it was stored); `busy`, as the room's lock was not to be had; `refused` by
 * the database, for what it holds; `gone`, as there is no such room.
 */
export type Outcome =
  | { readonly outcome: 'stored'; readonly seq: number; readonly createdAt: string }
  /** The number is that of the first entry with the ref. */
  | { readonly outcome: 'known' | 'used'; readonly seq: number }
  | { readonly outcome: 'refused'; readonly error: ChatError }
  | { readonly outcome: 'stale' | 'busy' | 'gone' };

/** A draft, and the number of the rule entry up to which its emitter was checked. */
export interface CheckedDraft {
  readonly draft: EntryDraft;
  /** The same for all drafts of a room; null: checked inside the transaction that appends. */
  readonly rulesHead: number | null;
  /** Of a rule: nobody may do more or less by it than before, so that whoever was checked before may write. */
  readonly keepsRights?: boolean;
}

/** The drafts of one room in a batch. */
interface RoomOfBatch {
  readonly id: number;
  readonly rulesHead: number | null;
  /** Copies are not counted. */
  count: number;
  /** The place of the last rule that changes rights among them, from 1; 0 if there is none. */
  lastRule: number;
}

/** A draft in a batch. */
interface Placed {
  readonly draft: EntryDraft;
  /** The index of its room, from 1. */
  readonly room: number;
  /** Its place among the room's drafts, from 1; 0 for a copy. */
  readonly place: number;
  /** Of a copy: the index of the first draft with its ref, from 0. */
  readonly copyOf: number | undefined;
}

/** What append_batch gives; the migration that makes it says what each is. */
interface AppendedBatch {
  /** ISO 8601, as Postgres writes it. */
  readonly moment: string;
  readonly heads: readonly (number | null)[];
  readonly outcomes: readonly ('stale' | 'gone' | 'busy' | 'known' | null)[] | null;
  readonly known_seqs: readonly (number | null)[] | null;
  readonly known_same: readonly (boolean | null)[] | null;
  readonly places: readonly number[] | null;
}

// Answers come as JSON, which is one column to describe and one value to parse. Nothing that is appended so far has a
// target.
const APPEND_BATCH: Statement = {
  name: 'append_batch',
  text: `SELECT to_json(append_batch(
    $1::int[], $2::bigint[], $3::int[], $4::int[],
    $5::int[], $6::int[], $7::text[], $8::uuid[], $9::text[], $10::text[], NULL, $11)) AS batch`,
};

// One statement has one snapshot: the second of two copies of a ref that are in flight at once, which waits for the
// lock of the room, does not see the first one. The unique index holds it off.
const APPEND_MESSAGE: Statement = {
  name: 'append_message',
  text: `WITH place AS (
      UPDATE rooms SET head = head + 1
      WHERE id = $1 AND rules_head <= $2 AND head >= $2 AND NOT EXISTS (
        SELECT FROM messages WHERE room_id = $1 AND emitter = $3::uuid AND ref = $5::varchar)
      -- Behind the lock, so that entries of a room are dated in their order.
      RETURNING id, head, date_trunc('milliseconds', clock_timestamp()) AS moment)
    INSERT INTO messages (room_id, seq, kind, emitter, content, ref, "createdAt", "updatedAt")
    SELECT id, head, 'message', $3::uuid, $4::text, $5::varchar, moment, moment FROM place
    RETURNING json_build_array(seq, "createdAt") AS stored`,
};

/** Appends nothing: rejects if nothing can be appended, as the function is missing, say, or the database is read-only. */
export async function tryToAppend(run: RunStatement): Promise<void> {
  await appendBatch(run, [], true);
}

/**
 * Rows of no room, more than a page holds; a foreign key, say, may refuse them. PL/pgSQL undoes what a block did before
 * the error that it catches.
 */
const STORE_AND_UNDO = `DO $$ BEGIN
  INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
  SELECT -1, n, 'message', '00000000-0000-0000-0000-000000000000', repeat(' ', 1800), now(), now()
  FROM generate_series(1, 8) AS n;
  RAISE EXCEPTION 'undone';
EXCEPTION WHEN raise_exception OR integrity_constraint_violation THEN NULL;
END $$`;

/** Stores nothing: rejects if the disk has no room for it. */
export async function tryToStore(sequelize: Sequelize): Promise<void> {
  await sequelize.query(STORE_AND_UNDO);
}

/**
 * Appends drafts to the logs of their rooms at one moment, in their order. Where a room's lock is not to be had, its
 * drafts are `busy`; of a message alone, or a room alone without refs, the statement fails with lock_not_available.
 * @param waitsForLocks whether locked rooms are waited for: those that are locked already are kept from others meanwhile
 * @returns an outcome a draft, in the same order
 */
export function appendEntries(
  run: RunStatement,
  checked: readonly CheckedDraft[],
  waitsForLocks = true,
): Promise<Outcome[]> {
  const [first] = checked;
  if (first === undefined) return Promise.resolve([]);
  const isAlone = checked.length === 1 && first.draft.kind === 'message';
  return isAlone && first.rulesHead !== null
    ? appendMessage(run, first)
    : appendBatch(run, checked, waitsForLocks);
}

/**
 * Appends a batch of one, the usual one of a server that is not busy, in less time than `appendBatch`: where that is
 * not as simple as it mostly is, nothing is stored, and the batch is told why.
 */
function appendMessage(run: RunStatement, message: CheckedDraft): Promise<Outcome[]> {
  const { room_id, emitter, content, ref } = message.draft;
  return run(APPEND_MESSAGE, [room_id, message.rulesHead, emitter, content, ref]).then(
    ([row]) => {
      if (row === undefined) return appendBatch(run, [message], true);
      const [seq, moment] = (row as { stored: [seq: number, moment: string] }).stored;
      return [{ outcome: 'stored', seq, createdAt: isoInstant(moment) }];
    },
    (error: unknown) => {
      if (!isUniqueViolation(error)) throw error;
      return appendBatch(run, [message], true);
    },
  );
}

async function appendBatch(
  run: RunStatement,
  checked: readonly CheckedDraft[],
  waitsForLocks: boolean,
): Promise<Outcome[]> {
  const { rooms, placed } = place(checked);
  const hasRefs = placed.some(({ draft }) => draft.ref !== null);
  const [row] = await run(APPEND_BATCH, [
    rooms.map(({ id }) => id),
    rooms.map(({ rulesHead }) => rulesHead),
    rooms.map(({ count }) => count),
    rooms.map(({ lastRule }) => lastRule),
    placed.map(({ room }) => room),
    placed.map((one) => one.place),
    placed.map(({ draft }) => draft.kind),
    placed.map(({ draft }) => draft.emitter),
    placed.map(({ draft }) => draft.content),
    hasRefs ? placed.map(({ draft }) => draft.ref) : null,
    waitsForLocks,
  ]);
  if (row === undefined) throw new Error('append_batch gave nothing');
  return outcomesOf((row as { batch: AppendedBatch }).batch, placed);
}

/** Numbers the rooms and the drafts of a batch. */
function place(checked: readonly CheckedDraft[]): { rooms: RoomOfBatch[]; placed: Placed[] } {
  const rooms: RoomOfBatch[] = [];
  const indexes = new Map<number, number>();
  const refs = new Map<string, number>();
  const placed = checked.map(({ draft, rulesHead, keepsRights }, index): Placed => {
    let room = indexes.get(draft.room_id);
    if (room === undefined) {
      room = rooms.push({ id: draft.room_id, rulesHead, count: 0, lastRule: 0 });
      indexes.set(draft.room_id, room);
    }
    if (draft.ref !== null) {
      const name = `${draft.room_id} ${draft.emitter} ${draft.ref}`;
      const copyOf = refs.get(name);
      if (copyOf !== undefined) return { draft, room, place: 0, copyOf };
      refs.set(name, index);
    }
    const ofRoom = rooms[room - 1];
    if (ofRoom === undefined) throw new Error('a room of a batch has no place in it');
    ofRoom.count += 1;
    if (draft.kind === 'rule' && keepsRights !== true) ofRoom.lastRule = ofRoom.count;
    return { draft, room, place: ofRoom.count, copyOf: undefined };
  });
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
    } else if (first !== undefined && 'seq' in first) {
      // Its ref was not known, so the first has been stored just now.
      given.push(repeated(first.seq, placed[copyOf ?? 0]?.draft.content === draft.content));
    } else {
      const seq = (head ?? 0) + (batch.places?.[index] ?? sent.place);
      given.push({ outcome: 'stored', seq, createdAt });
    }
  }
  return given;
}

/** The outcome of a draft whose ref has a number already. */
function repeated(seq: number, isSameContent: boolean): Outcome {
  return { outcome: isSameContent ? 'known' : 'used', seq };
}

/**
 * As all instants of ours are written: UTC, milliseconds.
 * @param moment as Postgres writes it in UTC, without zeros at its end: `2026-11-26T20:00:00.12+00:00`; a Date would be
 * twenty times as slow
 */
function isoInstant(moment: string): string {
  return `${moment.slice(0, 19)}.${moment.slice(20, -6).padEnd(3, '0')}Z`;
}

/** A rule entry's content. A removed rule is one without permissions. */
export function ruleContent(rule: Rule): string {
  const { entity_UUID, level, permissions, accepted } = rule;
  return JSON.stringify({ entity_UUID, level, permissions, accepted });
}

/** The rule that an entry of kind `rule` sets; permissions are empty where it removes it. */
export function ruleOf(entry: Entry): Rule {
  return JSON.parse(entry.content) as Rule;
}

/** Rules as rows, as the map that permissions are asked of. */
export function rulesByUuid(rules: readonly Rule[]): Map<string, Rule> {
  return new Map(rules.map((rule) => [rule.entity_UUID, rule]));
}

/** A room with its rules at one moment. */
export interface RoomState {
  readonly id: number;
  /** Number of its last entry. */
  readonly head: number;
  /** Number of the last rule entry that changed rights. */
  readonly rulesHead: number;
  /** When that entry was made, as it says itself; empty if there is none. */
  readonly headMadeAt: string;
  readonly access: RoomAccess & { readonly rules: ReadonlyMap<string, Rule> };
}
