/** What the store and the feeds need to know of a kind of entry. */
interface EntryKindRow {
  /** Whether the history of a room has a row for it. */
  readonly isInHistory: boolean;
  /** Whether it changes rights: messages that were checked before it are checked again. */
  readonly changesRights: boolean;
  /** Whether it changes messages: what was read of them before it may show what is gone. */
  readonly changesMessages: boolean;
}

/**
 * The kinds of entries in a room's log. How a kind is encoded (v1/events.ts, v2/events.ts), applied to a feed
 * (feeds/apply-entry.ts) and checked when a peer publishes it (feeds/peer-messages.ts) are tables over all kinds: a new
 * kind does not compile until each of them has its row.
 */
export const ENTRY_KINDS = {
  message: { isInHistory: true, changesRights: false, changesMessages: false },
  edit: { isInHistory: false, changesRights: false, changesMessages: true },
  delete: { isInHistory: false, changesRights: false, changesMessages: true },
  reaction: { isInHistory: false, changesRights: false, changesMessages: true },
  erase: { isInHistory: false, changesRights: false, changesMessages: true },
  member: { isInHistory: false, changesRights: true, changesMessages: false },
  members: { isInHistory: false, changesRights: true, changesMessages: false },
  room: { isInHistory: false, changesRights: true, changesMessages: false },
} as const satisfies Record<string, EntryKindRow>;

export type EntryKind = keyof typeof ENTRY_KINDS;

export const ENTRY_KIND_NAMES = Object.keys(ENTRY_KINDS) as EntryKind[];
