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
 * What became of a draft: `stored` now; `known`, as the emitter had sent its ref before; `stale`, as the
 * room has a newer rule than its senders were checked under (nothing of the room was stored); `gone`, as
 * there is no such room.
 */
export type Outcome =
  | { readonly outcome: 'stored' | 'known'; readonly seq: number; readonly createdAt: string }
  | { readonly outcome: 'stale' | 'gone' };

/** A room of a batch and the number of the rule entry up to which its senders were checked. */
export interface CheckedRoom {
  readonly id: number;
  /** Null: checked inside the transaction that appends. */
  readonly rulesHead: number | null;
}

interface AppendRow {
  outcome: Outcome['outcome'];
  seq: number | null;
  createdAt: Date;
}

/**
 * Appends drafts to the logs of their rooms in one statement, in their order.
 * @returns an outcome a draft, in the same order
 */
export async function appendEntries(
  sequelize: Sequelize,
  rooms: readonly CheckedRoom[],
  drafts: readonly EntryDraft[],
  transaction?: Transaction,
): Promise<Outcome[]> {
  const rows = await sequelize.query<AppendRow>(
    `SELECT outcome, seq, created_at AS "createdAt"
     FROM append_entries($1::int[], $2::bigint[], $3::int[], $4::text[], $5::uuid[], $6::text[], $7::text[], NULL)
     ORDER BY ord`,
    {
      bind: [
        rooms.map((room) => room.id),
        rooms.map((room) => room.rulesHead),
        drafts.map((draft) => draft.room_id),
        drafts.map((draft) => draft.kind),
        drafts.map((draft) => draft.emitter),
        drafts.map((draft) => draft.content),
        drafts.map((draft) => draft.ref),
      ],
      type: QueryTypes.SELECT,
      ...(transaction !== undefined && { transaction }),
    },
  );
  return rows.map(({ outcome, seq, createdAt }) =>
    outcome === 'stored' || outcome === 'known'
      ? { outcome, seq: seq ?? 0, createdAt: createdAt.toISOString() }
      : { outcome },
  );
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
