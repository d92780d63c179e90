import type { Rule } from '../access/permissions.js';
import type { EntryKind } from '../protocol/entry-kinds.js';
import { ruleOf, type Entry } from '../store/entry.js';

/** @returns the rule that is new or changed, if any; one with empty permissions was removed */
type Apply = (entry: Entry, rules: Map<string, Rule>) => Rule | undefined;

/** By kind, what an entry changes; undefined: nothing. */
const APPLY: Readonly<Record<EntryKind, Apply | undefined>> = {
  message: undefined,
  rule(entry, rules) {
    const rule = ruleOf(entry);
    if (rule.permissions === '') rules.delete(rule.entityUUID);
    else rules.set(rule.entityUUID, rule);
    return rule;
  },
};

/**
 * Brings the rules of a room, by UUID, up to an entry. During an upgrade a newer node may have stored an entry of a kind
 * that this node does not know: it changes nothing here.
 */
export const applyEntry: Apply = (entry, rules) => APPLY[entry.kind]?.(entry, rules);
