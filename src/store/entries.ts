import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { RoomAccess, Rule } from '../access/permissions.js';
import type { EntryKind } from './models/message.js';

/** An entry of a room's log, as it is read, published and delivered. */
export interface Entry {
  readonly room_id: number;
  /** Its number: 1, 2, 3, ... in its room. */
  readonly seq: number;
  readonly kind: EntryKind;
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
 * What became of a draft: `stored` now; `known`, as the emitter had sent its ref before; `again`, as one of its
 * room's was known, or is twice in the batch, and nothing more of the room was stored: send it again; `stale`,
 * as the room has a newer rule than its senders were checked under (nothing of it was stored); `gone`, as there
 * is no such room.
 */
export type Outcome =
  | { readonly outcome: 'stored' | 'known'; readonly seq: number; readonly createdAt: string }
  | { readonly outcome: 'again' | 'stale' | 'gone' };

/** A draft, and the number of the rule entry up to which its emitter was checked. */
export interface CheckedDraft {
  readonly draft: EntryDraft;
  /** The same for all drafts of a room; null: checked inside the transaction that appends. */
  readonly rulesHead: number | null;
}

/** The drafts of one room in a batch. */
interface RoomOfBatch {
  readonly id: number;
  readonly rulesHead: number | null;
  count: number;
  /** The place of the last rule among them, from 1; 0 where there is none. */
  lastRule: number;
}

/** A draft in a batch: the index of its room, from 1, and its place among the room's drafts, from 1. */
interface Placed {
  readonly draft: EntryDraft;
  readonly room: number;
  readonly place: number;
}

interface AppendRow {
  room: number;
  /** Index of a draft whose ref is known; null in the row of a room. */
  entry: number | null;
  outcome: Outcome['outcome'];
  seq: number;
  createdAt: Date;
}

/**
 * Appends drafts to the logs of their rooms in one statement, in their order.
 * @returns an outcome a draft, in the same order
 */
export async function appendEntries(
  sequelize: Sequelize,
  checked: readonly CheckedDraft[],
  transaction?: Transaction,
): Promise<Outcome[]> {
  const { rooms, placed } = place(checked);
  const sent = placed.filter((one) => one !== undefined);
  const hasRefs = sent.some(({ draft }) => draft.ref !== null);
  const rows = await sequelize.query<AppendRow>(
    `SELECT room, entry, outcome, seq, created_at AS "createdAt" FROM append_entries(
       $1::int[], $2::bigint[], $3::int[], $4::int[],
       $5::int[], $6::int[], $7::text[], $8::uuid[], $9::text[], $10::text[], NULL)`,
    {
      bind: [
        rooms.map(({ id }) => id),
        rooms.map(({ rulesHead }) => rulesHead),
        rooms.map(({ count }) => count),
        rooms.map(({ lastRule }) => lastRule),
        sent.map(({ room }) => room),
        sent.map((one) => one.place),
        sent.map(({ draft }) => draft.kind),
        sent.map(({ draft }) => draft.emitter),
        sent.map(({ draft }) => draft.content),
        hasRefs ? sent.map(({ draft }) => draft.ref) : null,
      ],
      type: QueryTypes.SELECT,
      ...(transaction !== undefined && { transaction }),
    },
  );
  return outcomesOf(rows, placed);
}

/** Numbers the rooms and the drafts of a batch; the second of two drafts with one ref has to wait. */
function place(checked: readonly CheckedDraft[]): {
  rooms: RoomOfBatch[];
  placed: (Placed | undefined)[];
} {
  const rooms: RoomOfBatch[] = [];
  const indexes = new Map<number, number>();
  const refs = new Set<string>();
  const placed = checked.map(({ draft, rulesHead }) => {
    if (draft.ref !== null) {
      const name = `${draft.room_id} ${draft.emitter} ${draft.ref}`;
      if (refs.has(name)) return undefined;
      refs.add(name);
    }
    let index = indexes.get(draft.room_id);
    if (index === undefined) {
      index = rooms.push({ id: draft.room_id, rulesHead, count: 0, lastRule: 0 });
      indexes.set(draft.room_id, index);
    }
    const room = rooms[index - 1];
    if (room === undefined) return undefined;
    room.count += 1;
    if (draft.kind === 'rule') room.lastRule = room.count;
    return { draft, room: index, place: room.count };
  });
  return { rooms, placed };
}

function outcomesOf(
  rows: readonly AppendRow[],
  placed: readonly (Placed | undefined)[],
): Outcome[] {
  const roomRows = new Map<number, AppendRow & { instant: string }>();
  const knownRows = new Map<number, AppendRow>();
  for (const row of rows) {
    if (row.entry === null)
      roomRows.set(row.room, { ...row, instant: row.createdAt.toISOString() });
    else knownRows.set(row.entry, row);
  }
  let sent = 0;
  return placed.map((one): Outcome => {
    if (one === undefined) return { outcome: 'again' };
    sent += 1;
    const room = roomRows.get(one.room);
    if (room === undefined) return { outcome: 'gone' };
    if (room.outcome === 'stored') {
      return { outcome: 'stored', seq: room.seq + one.place, createdAt: room.instant };
    }
    const known = knownRows.get(sent);
    if (room.outcome === 'again' && known !== undefined) {
      return { outcome: 'known', seq: known.seq, createdAt: known.createdAt.toISOString() };
    }
    return { outcome: room.outcome === 'known' ? 'again' : room.outcome };
  });
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
  /** Number of its last rule entry. */
  readonly rulesHead: number;
  readonly access: RoomAccess;
}
