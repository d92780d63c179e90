import { z } from 'zod';
import { isKnownKind, type EntryKind } from '../protocol/entry-kinds.js';
import {
  erasedUserOf,
  reactionOf,
  roomSettingsOf,
  ruleOf,
  rulesOf,
  type Entry,
} from '../store/entry.js';

/** An entry whose content a feed can't apply would break the feed. */
const HAS_VALID_CONTENT: Readonly<Record<EntryKind, (entry: Entry) => boolean>> = {
  message: () => true,
  edit: hasTarget,
  delete: hasTarget,
  reaction: (entry) =>
    hasTarget(entry) && (entry.isWithheld === true || has(reactionSchema, reactionOf, entry)),
  erase: (entry) => has(z.string(), erasedUserOf, entry),
  member: (entry) => has(ruleSchema, ruleOf, entry),
  members: (entry) => has(z.array(ruleSchema), rulesOf, entry),
  room: (entry) => has(roomSettingsSchema, roomSettingsOf, entry),
};

const roomSchema = z.number().int().positive();

const numberSchema = z.number().int().nonnegative();

const entrySchema = z
  .object({
    roomId: roomSchema,
    seq: z.number().int().positive(),
    // A newer node may publish a kind that this one does not know: its feed reads the room's rules anew.
    kind: z.custom<EntryKind>((kind) => typeof kind === 'string'),
    emitter: z.string(),
    content: z.string(),
    ref: z.string().nullable(),
    createdAt: z.string(),
    target: z.number().int().positive().optional(),
    data: z.string().optional(),
    replyTo: z.number().int().positive().optional(),
    mentions: z.array(z.string()).readonly().optional(),
    isWithheld: z.literal(true).optional(),
  })
  .refine((entry) => !isKnownKind(entry.kind) || HAS_VALID_CONTENT[entry.kind](entry));

const ruleSchema = z.object({
  entityUUID: z.string(),
  level: z.number(),
  permissions: z.string(),
  accepted: z.boolean(),
});

const roomSettingsSchema = z.object({ levelAdmin: z.number(), maxEntityRules: z.number() });

const reactionSchema = z.object({ emoji: z.string(), on: z.boolean(), count: z.number() });

const hintsSchema = z.object({
  /** The sender's users in the room who came and went. */
  presence: z
    .object({
      from: numberSchema,
      to: numberSchema,
      on: z.array(z.string()).readonly(),
      off: z.array(z.string()).readonly(),
    })
    .optional(),
  /** Users of the sender who type. */
  typing: z.array(z.string()).optional(),
});

/** What a node tells its peers about one room, beside entries. */
export type PeerHints = z.infer<typeof hintsSchema>;

const peerMessageSchema = z.object({
  /** Entries of the channel's room. */
  entries: z.array(entrySchema).optional(),
  /** Of the channel's room; `rulesHead` is that of the sender's feed. */
  hints: hintsSchema.extend({ rulesHead: numberSchema }).optional(),
  /** The log of the channel's room has reached this number by entries that nobody publishes. */
  head: numberSchema.optional(),
  /** The channel's room was deleted. */
  deleted: z.literal(true).optional(),
  /** Open rooms of the sender, each with the position of its feed and the version of its presence. */
  rooms: z.array(z.tuple([roomSchema, numberSchema, numberSchema])).optional(),
  /** Asks peers with these rooms open to reply; without `rooms`, asks the receiver for all its rooms. */
  requests: z.literal(true).optional(),
  /** The first and the last message of an announcement of all rooms. */
  begins: z.literal(true).optional(),
  ends: z.literal(true).optional(),
  /** The sender has closed the channel's room. */
  left: z.literal(true).optional(),
  /** Asks for all users of the receiver who are online in rooms. */
  asks: z.array(roomSchema).optional(),
  /** The answer: of each room the version and the users. */
  online: z.array(z.tuple([roomSchema, numberSchema, z.array(z.string())])).optional(),
  /** Read markers that users have moved: the room, the user, the seq, and whether it may be a smaller one. */
  markers: z.array(z.tuple([roomSchema, z.string(), numberSchema, z.boolean()])).optional(),
  /** Rules that invite somebody: the room, the user or entity, the level, and the permissions. */
  invitations: z.array(z.tuple([roomSchema, z.string(), z.number(), z.string()])).optional(),
  /** Revocations of the tokens of users: the user, and when, in milliseconds since 1970. */
  revoked: z.array(z.tuple([z.string(), numberSchema])).optional(),
  /** The sender shuts down: it has published all that it stored. */
  closes: z.literal(true).optional(),
  /** The sender has found that the log went back, and moves to the channels of the new epoch. */
  epochChanges: z.literal(true).optional(),
});

/** A read marker that a user has moved. */
export interface MovedMarker {
  readonly roomId: number;
  readonly userUUID: string;
  readonly upto: number;
  /** Whether the user asked for a seq that may be smaller than the one before. */
  readonly isBack: boolean;
}

/** A message from one node to others; a heartbeat is empty. */
export type PeerMessage = z.infer<typeof peerMessageSchema>;

/** The text of a message on the broker: `<sender> <JSON>`. */
export function encodePeerMessage(sender: string, message: PeerMessage): string {
  return `${sender} ${JSON.stringify(message)}`;
}

const SENDER = /^([\w-]{8}\.\d{1,15}) /;

/** The name of the node that published a text; undefined if it is no message of a node. */
export function senderOf(message: string): string | undefined {
  return SENDER.exec(message)?.[1];
}

/** The message in a text; undefined if it is none, or one of another version: the head poll makes up for it. */
export function parsePeerMessage(message: string): PeerMessage | undefined {
  try {
    return peerMessageSchema.safeParse(JSON.parse(message.slice(message.indexOf(' ') + 1))).data;
  } catch {
    return undefined;
  }
}

function hasTarget(entry: Entry): boolean {
  return entry.target !== undefined;
}

/** Whether the content of an entry is JSON of the right form. */
function has(schema: z.ZodType, read: (entry: Entry) => unknown, entry: Entry): boolean {
  try {
    return schema.safeParse(read(entry)).success;
  } catch {
    return false;
  }
}
