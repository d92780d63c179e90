import type { Json, MessageRow, Reaction } from './wire.js';

/** A message of a room, as it is now. It is never changed: a change makes another one. */
export interface Message {
  /** Its number in the room; undefined until it is stored. */
  readonly seq: number | undefined;
  /** The sender's own name for it; undefined for a message of others that came with a page. */
  readonly ref: string | undefined;
  /** `userUUID` of the sender. */
  readonly emitter: string;
  /** When it was stored, or, until then, when it was sent. */
  readonly createdAt: Date;
  readonly editedAt: Date | undefined;
  /** Empty if it has `data` alone. */
  readonly content: string;
  readonly data: Json | undefined;
  /** Number of the message that it answers. */
  readonly replyTo: number | undefined;
  readonly mentions: readonly string[];
  readonly reactions: readonly Reaction[];
}

/** What rows, entries and commands have of a message, under the names of the wire. */
interface Source extends Partial<Pick<MessageRow, 'edited_at' | 'reactions'>> {
  readonly ref?: string | undefined;
  readonly emitter: string;
  readonly createdAt: string | Date;
  readonly content?: string | undefined;
  readonly data?: Json | null | undefined;
  readonly reply_to?: number | undefined;
  readonly mentions?: readonly string[] | undefined;
}

/** The message of a row, of an entry or, without a number, of a command. */
export function messageOf<Seq extends number | undefined>(
  source: Source,
  seq: Seq,
): Message & { readonly seq: Seq } {
  const { ref, emitter, createdAt, edited_at: editedAt, content = '' } = source;
  const { data, reply_to: replyTo, mentions = [], reactions = [] } = source;
  return {
    seq,
    ref,
    emitter,
    createdAt: new Date(createdAt),
    editedAt: editedAt === undefined ? undefined : new Date(editedAt),
    content,
    data: data ?? undefined,
    replyTo,
    mentions,
    reactions,
  };
}
