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

/** The content of a `rule` entry, as JSON. */
type RuleContent = Omit<Rule, 'entityUUID'> & { readonly entity_UUID: string };

/** The content of a `rule` entry. A removed rule is one with empty permissions. */
export function ruleContent({ entityUUID, level, permissions, accepted }: Rule): string {
  const content: RuleContent = { entity_UUID: entityUUID, level, permissions, accepted };
  return JSON.stringify(content);
}

/** The rule that a `rule` entry sets; its permissions are empty if the entry removes it. */
export function ruleOf(entry: Entry): Rule {
  const { entity_UUID, ...rule } = JSON.parse(entry.content) as RuleContent;
  return { entityUUID: entity_UUID, ...rule };
}
