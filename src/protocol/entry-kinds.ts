/** The types of the events that tell entries to WEBHOOK_URL. */
export type WebhookType =
  | 'message.created'
  | 'message.edited'
  | 'message.deleted'
  | 'messages.erased'
  | 'member.changed'
  | 'members.changed'
  | 'room.changed';

/** What the store and the feeds need to know of a kind of entry. */
interface EntryKindRow {
  /** Whether the history of a room has a row for it. */
  readonly isInHistory: boolean;
  /** Whether it changes rights: messages that were checked before it are checked again. */
  readonly changesRights: boolean;
  /** Whether it changes messages: what was read of them before it may show what is gone. */
  readonly changesMessages: boolean;
  /** The type of the event that tells it to WEBHOOK_URL; null: none does. */
  readonly webhook: WebhookType | null;
}

/**
 * The kinds of entries in a room's log. How a kind is encoded (v1/events.ts, v2/events.ts), applied to a feed
 * (feeds/apply-entry.ts) and checked when a peer publishes it (feeds/peer-messages.ts) are tables over all kinds: a new
 * kind does not compile until each of them has its row.
 */
export const ENTRY_KINDS = {
  message: {
    isInHistory: true,
    changesRights: false,
    changesMessages: false,
    webhook: 'message.created',
  },
  edit: {
    isInHistory: false,
    changesRights: false,
    changesMessages: true,
    webhook: 'message.edited',
  },
  delete: {
    isInHistory: false,
    changesRights: false,
    changesMessages: true,
    webhook: 'message.deleted',
  },
  reaction: { isInHistory: false, changesRights: false, changesMessages: true, webhook: null },
  erase: {
    isInHistory: false,
    changesRights: false,
    changesMessages: true,
    webhook: 'messages.erased',
  },
  member: {
    isInHistory: false,
    changesRights: true,
    changesMessages: false,
    webhook: 'member.changed',
  },
  members: {
    isInHistory: false,
    changesRights: true,
    changesMessages: false,
    webhook: 'members.changed',
  },
  room: {
    isInHistory: false,
    changesRights: true,
    changesMessages: false,
    webhook: 'room.changed',
  },
} as const satisfies Record<string, EntryKindRow>;

export type EntryKind = keyof typeof ENTRY_KINDS;

/** Whether this node knows a kind: during an upgrade, a newer one may store others. */
export function isKnownKind(kind: string): boolean {
  return Object.hasOwn(ENTRY_KINDS, kind);
}

export const ENTRY_KIND_NAMES = Object.keys(ENTRY_KINDS) as EntryKind[];
