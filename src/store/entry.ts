import type { Rule } from '../access/permissions.js';
import type { EntryKind } from '../protocol/entry-kinds.js';

/** An entry of a room's log, as it is read, published and delivered. */
export interface Entry {
  readonly roomId: number;
  /** 1, 2, 3, ... in its room, without gaps. */
  readonly seq: number;
  readonly kind: EntryKind;
  readonly emitter: string;
  /** The text of a message, or a rule as JSON (`ruleOf`). */
  readonly content: string;
  readonly ref: string | null;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
}

/** An entry before it is stored: without `seq` and date. */
export type EntryDraft = Pick<Entry, 'roomId' | 'kind' | 'emitter' | 'content' | 'ref'>;

/** The content of a `rule` entry. A removed rule is one with empty permissions. */
export function ruleContent(rule: Rule): string {
  const { entity_UUID, level, permissions, accepted } = rule;
  return JSON.stringify({ entity_UUID, level, permissions, accepted });
}

/** The rule that a `rule` entry sets; its permissions are empty if the entry removes it. */
export function ruleOf(entry: Entry): Rule {
  return JSON.parse(entry.content) as Rule;
}
