import type { RoomAccess, Rule } from '../access/permissions.js';
import type { EntryKind } from '../protocol/entry-kinds.js';
import { roomSettingsOf, ruleOf, rulesOf, type Entry } from '../store/entry.js';
import type { RoomState } from '../store/log.js';

/** The access of a live room, which its feed keeps up to date. */
export type LiveAccess = RoomAccess & { readonly rules: Map<string, Rule> };

/** What an entry has changed. */
interface Change {
  readonly access: LiveAccess;
  /** The UUIDs of the users and entities whose rights may be others than before. */
  readonly concerns: ReadonlySet<string>;
  /** The rules that are new or changed, those with empty permissions removed. */
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
  room: (entry, access) => ({
    access: { ...access, ...roomSettingsOf(entry) },
    concerns: new Set([access.entityOwner]),
  }),
};

function setRules(rules: readonly Rule[], access: LiveAccess): Change {
  for (const rule of rules) {
    if (rule.permissions === '') access.rules.delete(rule.entityUUID);
    else access.rules.set(rule.entityUUID, rule);
  }
  return { access, rules, concerns: new Set(rules.map(({ entityUUID }) => entityUUID)) };
}

/** Brings the access of a room up to an entry of a kind that this node knows. */
export const applyEntry: Apply = (entry, access) => APPLY[entry.kind]?.(entry, access);

/** The access of a room as it was read anew, behind an entry that may have changed any of it. */
export function replaceAccess(before: LiveAccess, read: RoomState['access']): Change {
  const removed = [...before.rules.values()].filter(
    ({ entityUUID }) => !read.rules.has(entityUUID),
  );
  const rules = [...read.rules.values(), ...removed.map((rule) => ({ ...rule, permissions: '' }))];
  return {
    access: liveAccessOf(read),
    rules,
    concerns: new Set([
      before.entityOwner,
      read.entityOwner,
      ...rules.map(({ entityUUID }) => entityUUID),
    ]),
  };
}

/** The access of a room at one moment, for a feed to keep up to date. */
export function liveAccessOf(access: RoomState['access']): LiveAccess {
  return { ...access, rules: new Map(access.rules) };
}
