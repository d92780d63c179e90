import type { RoomAccess, Rule } from '../access/permissions.js';
import type { EntryKind } from '../protocol/entry-kinds.js';
import { roomSettingsOf, ruleOf, rulesOf, type Entry } from '../store/entry.js';

/** The access of a live room, which its feed keeps up to date. */
export type LiveAccess = RoomAccess & { readonly rules: Map<string, Rule> };

/** What an entry has changed. */
interface Change {
  readonly access: LiveAccess;
  /** The rules that are new or changed, those with empty permissions removed; undefined: the room's settings. */
  readonly rules?: readonly Rule[];
}

/** @returns undefined if the entry changes nothing */
type Apply = (entry: Entry, access: LiveAccess) => Change | undefined;

/** By kind, what an entry changes; undefined: nothing. */
const APPLY: Readonly<Record<EntryKind, Apply | undefined>> = {
  message: undefined,
  edit: undefined,
  delete: undefined,
  reaction: undefined,
  erase: undefined,
  member: (entry, access) => setRules([ruleOf(entry)], access),
  members: (entry, access) => setRules(rulesOf(entry), access),
  room: (entry, access) => ({ access: { ...access, ...roomSettingsOf(entry) } }),
};

function setRules(rules: readonly Rule[], access: LiveAccess): Change {
  for (const rule of rules) {
    if (rule.permissions === '') access.rules.delete(rule.entityUUID);
    else access.rules.set(rule.entityUUID, rule);
  }
  return { access, rules };
}

/**
 * Brings the access of a room up to an entry. During an upgrade a newer node may have stored an entry of a kind that
 * this node does not know: it changes nothing here.
 */
export const applyEntry: Apply = (entry, access) => APPLY[entry.kind]?.(entry, access);
