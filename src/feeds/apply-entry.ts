import type { Rule } from '../access/permissions.js';
import type { EntryKind } from '../protocol/entry-kinds.js';
import { ruleOf, type Entry } from '../store/entry.js';

/** @returns the rule that is new or changed, if any; one with empty permissions was removed */
type Apply = (entry: Entry, rules: Map<string, Rule>) => Rule | undefined;

const APPLY: Readonly<Record<EntryKind, Apply>> = {
  message: () => undefined,
  rule(entry, rules) {
    const rule = ruleOf(entry);
    if (rule.permissions === '') rules.delete(rule.entityUUID);
    else rules.set(rule.entityUUID, rule);
    return rule;
  },
};

/** Brings the rules of a room, by UUID, up to an entry. */
export const applyEntry: Apply = (entry, rules) => APPLY[entry.kind](entry, rules);
