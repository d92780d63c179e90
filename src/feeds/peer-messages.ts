import { z } from 'zod';
import { ENTRY_KIND_NAMES, type EntryKind } from '../protocol/entry-kinds.js';
import { ruleOf, type Entry } from '../store/entry.js';

/** An entry whose content a feed can't apply would break the feed. */
const HAS_VALID_CONTENT: Readonly<Record<EntryKind, (entry: Entry) => boolean>> = {
  message: () => true,
  rule: isRule,
};

const roomSchema = z.number().int().positive();

const entrySchema = z
  .object({
    room_id: roomSchema,
    seq: z.number().int().positive(),
    kind: z.enum(ENTRY_KIND_NAMES),
    emitter: z.string(),
    content: z.string(),
    ref: z.string().nullable(),
    createdAt: z.string(),
  })
  .refine((entry) => HAS_VALID_CONTENT[entry.kind](entry));

const ruleSchema = z.object({
  entity_UUID: z.string(),
  level: z.number(),
  permissions: z.string(),
  accepted: z.boolean(),
});

const peerMessageSchema = z.object({
  /** What was stored in the room of the channel. */
  entries: z.array(entrySchema).optional(),
  /** The room of the channel is no more. */
  deleted: z.literal(true).optional(),
  /** Rooms that the node looks at, each with the number up to which it has it. */
  rooms: z.array(z.tuple([roomSchema, z.number().int().nonnegative()])).optional(),
  /** It asks who else looks at these rooms; without `here`, for all rooms of the node that it asks. */
  requests: z.literal(true).optional(),
  /** The first and the last message of those that name all its rooms. */
  begins: z.literal(true).optional(),
  ends: z.literal(true).optional(),
  /** It looks at the room of the channel no longer. */
  left: z.literal(true).optional(),
  /** It goes down in order: it has published all that it stored. */
  closes: z.literal(true).optional(),
  /** It has found that the log went back, and goes on among the nodes that know it. */
  epochChanges: z.literal(true).optional(),
});

/** What one node tells others; a heartbeat is empty. */
export type PeerMessage = z.infer<typeof peerMessageSchema>;

/** A message of the broker: `<sender> <JSON>`. */
export function encodePeerMessage(sender: string, message: PeerMessage): string {
  return `${sender} ${JSON.stringify(message)}`;
}

const SENDER = /^([\w-]{8}\.\d{1,15}) /;

/** The name of the node that published a message; undefined if it is none of ours. */
export function senderOf(message: string): string | undefined {
  return SENDER.exec(message)?.[1];
}

/** Undefined if the message is none of ours, or of a node that speaks otherwise: the poll makes up for it. */
export function parsePeerMessage(message: string): PeerMessage | undefined {
  try {
    return peerMessageSchema.safeParse(JSON.parse(message.slice(message.indexOf(' ') + 1))).data;
  } catch {
    return undefined;
  }
}

function isRule(entry: Entry): boolean {
  try {
    return ruleSchema.safeParse(ruleOf(entry)).success;
  } catch {
    return false;
  }
}
