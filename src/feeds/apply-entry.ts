import type { RoomAccess, Rule } from '../access/permissions.js';
import type { EntryKind } from '../protocol/entry-kinds.js';
import { roomSettingsOf, ruleOf, type Entry } from '../store/entry.js';

/** The access of a live room, which its feed keeps up to date. */
export type LiveAccess = RoomAccess & { readonly rules: Map<string, Rule> };

/** What an entry has changed. */
interface Change {
  readonly access: LiveAccess;
  /** The rule that is new or changed; one with empty permissions was removed. */
  readonly rule?: Rule;
}

/** @returns undefined if the entry changes nothing */
type Apply = (entry: Entry, access: LiveAccess) => Change | undefined;

/** By kind, what an entry changes; undefined: nothing. */
const APPLY: Readonly<Record<EntryKind, Apply | undefined>> = {
  message: undefined,
  edit: undefined,
  delete: undefined,
  reaction: undefined,
  member(entry, access) {
    const rule = ruleOf(entry);
    if (rule.permissions === '') access.rules.delete(rule.entityUUID);
    else access.rules.set(rule.entityUUID, rule);
    return { access, rule };
  },
  room: (entry, access) => ({ access: { ...access, ...roomSettingsOf(entry) } }),
};

/**
 * Brings the access of a room up to an entry. During an upgrade a newer node may have stored an entry of a kind that
 * this node does not know: it changes nothing here.
 */
export const applyEntry: Apply = (entry, access) => APPLY[entry.kind]?.(entry, access);
