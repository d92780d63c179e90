import {
  requireMayDelete,
  requireMayEdit,
  requirePermission,
  type Caller,
  type RoomAccess,
} from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Entry, Reaction } from './entry.js';

/** Different emojis that a message may have on at a time; docs/PROTOCOL.md promises it. */
const MAX_EMOJIS = 20;

/** One emoji of a message. */
interface EmojiState {
  /** As it was written first. */
  emoji: string;
  /** Users who have it on. */
  count: number;
  /** By user, the last reaction of those who were asked for and have one. */
  readonly by: Map<string, { readonly isOn: boolean; readonly seq: number }>;
}

/** A message under the lock of its room. Changes change it, one after the other. */
export interface MessageState {
  readonly seq: number;
  readonly emitter: string;
  /** Undefined if no edit needs it. */
  content: string | undefined;
  data: string | undefined;
  /** Seq of the edit whose text it has. */
  textSeq: number | undefined;
  deletedBy: number | undefined;
  /** Seq of the last change that was applied to it. */
  rev: number | undefined;
  /** By `emojiKey`, those that a reaction needs. */
  readonly emojis: Map<string, EmojiState>;
}

/** A stored entry that has the ref of a change. */
export type KnownEntry = Pick<Entry, 'seq' | 'kind' | 'content'> & {
  readonly target: number | undefined;
  readonly data: string | undefined;
  readonly isWithheld: boolean;
  /** It does not say what its sender said. */
  readonly isReplaced: boolean;
};

/** What the entry of a change says. */
export interface Said {
  readonly content: string;
  readonly data?: string | undefined;
}

/** A change of a message, of one kind. */
export interface MessageChange {
  readonly kind: 'edit' | 'delete' | 'reaction';
  readonly caller: Caller;
  /** Seq of the message. */
  readonly target: number;
  readonly ref: string | null;
  /** Of a reaction. */
  readonly emoji?: string;
  /** Of an edit that does not say what its sender said. */
  readonly isReplaced?: true | undefined;
  /** Whether its text stands in the row of the message, not in that of its entry. */
  readonly isKeptByMessage: boolean;
  /** @throws {ChatError} FORBIDDEN if the caller may make no such change, of whatever message */
  requireMay(room: RoomAccess): void;
  /** Whether an entry of the same kind, about the same message, says the same. */
  isSaidBy(entry: KnownEntry): boolean;
  /**
   * Applies it to the message.
   * @param seq the number that its entry is to have
   * @returns what the entry says; or, if the message stays as it is, the seq of the entry that made it so
   * @throws {ChatError} FORBIDDEN, DELETED, TOO_MANY_REACTIONS
   */
  apply(message: MessageState, room: RoomAccess, seq: number): Said | number;
  /** Whether what the entry said is gone from the message, by a later change. */
  isGoneFrom(message: MessageState, seq: number): boolean;
}

/** What changes have in common. */
interface About {
  readonly target: number;
  readonly ref?: string | undefined;
}

/** A new text for a message. */
export interface Edit extends About {
  /** Empty only beside `data`. */
  readonly content: string;
  /** A JSON object, as `JSON.stringify` writes it; undefined drops what the message has. */
  readonly data?: string | undefined;
  /** It is not what the caller has said. */
  readonly isReplaced?: true | undefined;
}

export type Deletion = About;

/** An emoji put on a message, or taken off. */
export interface NewReaction extends About {
  readonly emoji: string;
  readonly on: boolean;
}

/** Replaces content and data of a message: one's own, or as the application's server anybody's. */
export function edit(
  caller: Caller,
  { target, ref, content, data, isReplaced }: Edit,
): MessageChange {
  return {
    kind: 'edit',
    isReplaced,
    caller,
    target,
    ref: ref ?? null,
    isKeptByMessage: true,
    requireMay: (room) => {
      requirePermission(caller, room, 'w');
    },
    isSaidBy: (entry) => entry.content === content && entry.data === data,
    apply(message, _room, seq) {
      requireMayEdit(caller, message.emitter);
      requireNotDeleted(message);
      if (message.content === content && message.data === data) {
        return message.textSeq ?? message.seq;
      }
      Object.assign(message, { content, data, textSeq: seq });
      return { content, data };
    },
    isGoneFrom: ({ textSeq }, seq) => textSeq !== seq,
  };
}

/** Erases what a message says, and what was said about it: one's own, or as an admin anybody's. */
export function deletion(caller: Caller, { target, ref }: Deletion): MessageChange {
  return {
    kind: 'delete',
    caller,
    target,
    ref: ref ?? null,
    isKeptByMessage: false,
    requireMay: (room) => {
      requireMayDelete(caller, room, caller.userUUID);
    },
    isSaidBy: () => true,
    apply(message, room, seq) {
      requireMayDelete(caller, room, message.emitter);
      if (message.deletedBy !== undefined) return message.deletedBy;
      Object.assign(message, { content: '', data: undefined, textSeq: undefined, deletedBy: seq });
      message.emojis.clear();
      return { content: '' };
    },
    isGoneFrom: () => false,
  };
}

/** Puts an emoji on a message, or takes it off. */
export function reaction(caller: Caller, { target, ref, emoji, on }: NewReaction): MessageChange {
  const key = emojiKey(emoji);
  const user = caller.userUUID;
  return {
    kind: 'reaction',
    caller,
    target,
    ref: ref ?? null,
    emoji,
    isKeptByMessage: false,
    requireMay: (room) => {
      requirePermission(caller, room, 'w');
    },
    isSaidBy({ content }) {
      const known = JSON.parse(content) as Reaction;
      return emojiKey(known.emoji) === key && known.on === on;
    },
    apply(message, _room, seq) {
      requireNotDeleted(message);
      const state = message.emojis.get(key) ?? { emoji, count: 0, by: new Map() };
      const last = state.by.get(user);
      if ((last?.isOn ?? false) === on) return last?.seq ?? message.seq;
      if (state.count === 0) {
        const others = [...message.emojis.values()].filter(({ count }) => count > 0);
        if (others.length >= MAX_EMOJIS) {
          throw new ChatError('TOO_MANY_REACTIONS', {
            detail: `the message has ${MAX_EMOJIS} different emojis`,
          });
        }
        state.emoji = emoji;
      }
      state.count += on ? 1 : -1;
      state.by.set(user, { isOn: on, seq });
      message.emojis.set(key, state);
      const said: Reaction = { emoji: state.emoji, on, count: state.count };
      return { content: JSON.stringify(said) };
    },
    isGoneFrom: ({ deletedBy }) => deletedBy !== undefined,
  };
}

/** An emoji without U+FE0F, which some keyboards add and others do not. */
export function emojiKey(emoji: string): string {
  return emoji.replaceAll('\u{FE0F}', '') || emoji;
}

function requireNotDeleted({ deletedBy }: MessageState): void {
  if (deletedBy !== undefined) {
    throw new ChatError('DELETED', { detail: 'the message was deleted' });
  }
}
