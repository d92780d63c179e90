import { z } from 'zod';
import { ENTRY_KIND_NAMES, type EntryKind } from '../entry-kinds.js';
import {
  dataShape,
  instantShape,
  permissionsShape,
  placeShape,
  roomIdShape,
  seqShape,
  uuidShape,
} from '../shapes.js';
import { MAX_INTEGER } from '../values.js';
import type { CommandType } from './commands.js';
import type { StatusWord } from './events.js';

/*
 * The frames of both sides, for the documents of the API and for tests: nothing is parsed by the schemas.
 */

/** The fields of every entry. */
const entry = {
  room_id: roomIdShape,
  seq: seqShape.describe('The number of the entry in the log of its room.'),
  emitter: uuidShape.describe('The `userUUID` of who did it.'),
  createdAt: instantShape.describe('When it was stored.'),
  ref: z
    .string()
    .meta({ description: "The emitter's own, if they gave one.", examples: ['4'] })
    .optional(),
};

const target = seqShape.describe('The number of the message.');

const text = {
  content: z
    .string()
    .meta({ examples: ['Fueled up and ready to go'] })
    .optional(),
  data: dataShape.optional(),
};

const rule = {
  entity_UUID: uuidShape,
  level: z.int().min(0).max(MAX_INTEGER),
  permissions: permissionsShape,
  accepted: z.boolean(),
};

/** By kind, what an entry says beside these: its fields, and a sentence. */
const ENTRIES = {
  message: {
    says: 'A message was sent. What was replaced or deleted later is left out.',
    fields: { ...text, reply_to: target.optional(), mentions: z.array(uuidShape).optional() },
  },
  edit: {
    says: 'A message was edited. What was replaced or deleted later is left out.',
    fields: { target, ...text },
  },
  delete: { says: 'A message was deleted.', fields: { target } },
  reaction: {
    says: 'An emoji was put on a message, or taken off. If the message was deleted, only `target` is left.',
    fields: {
      target,
      emoji: z
        .string()
        .meta({ examples: ['👍'] })
        .optional(),
      on: z.boolean().optional(),
      count: z.int().min(0).describe('Users who have it on from this entry on.').optional(),
    },
  },
  erase: {
    says: 'All that a user had written until a moment before was deleted: messages and reactions.',
    fields: { userUUID: uuidShape.describe('The user.') },
  },
  member: {
    says: 'A rule was added, changed or accepted; with empty `permissions` it was removed.',
    fields: rule,
  },
  members: {
    says: 'Several rules were added, changed or accepted at once; those with empty `permissions` were removed.',
    fields: { members: z.array(z.object(rule)) },
  },
  room: {
    says: 'The room was changed: these are all of its settings now.',
    fields: {
      name: z.string(),
      data: dataShape.nullable(),
      level_admin: z.int().min(0),
      max_entity_rules: z.int().min(1),
    },
  },
} satisfies Record<EntryKind, { says: string; fields: z.core.$ZodLooseShape }>;

/** The frame of an entry, by its kind. */
export const ENTRY_FRAMES = ENTRY_KIND_NAMES.map((kind) => {
  const { says, fields } = ENTRIES[kind];
  const id = `${kind.charAt(0).toUpperCase()}${kind.slice(1)}Entry`;
  return z
    .object({ type: z.literal(kind), data: z.object({ ...entry, ...fields }) })
    .meta({ id, description: says });
});

/** What most errors say. */
const problem = {
  room_id: z.union([z.int(), z.string()]).describe('As the client wrote it.').optional(),
  detail: z.string().describe('A sentence for people.').optional(),
};

/** By word, what an answer says beside it, and a sentence. */
const STATUSES = {
  READY: {
    says: 'The token is accepted.',
    fields: {
      userUUID: uuidShape,
      entityUUID: uuidShape,
      expires_in_ms: z
        .int()
        .describe('Until the socket is closed with 4401; missing if the token never ends.')
        .optional(),
      limits: z.record(z.string(), z.int()),
    },
  },
  BADAUTH: {
    says: 'The token is not accepted, or is missing.',
    fields: { ...problem, reason: z.enum(['UNAUTHORIZED']) },
  },
  EXPIRING: {
    says: 'The token ends soon: send another one. No command asks for it.',
    fields: { expires_in_ms: z.int().describe('Until the socket is closed with 4401.') },
  },
  CONNECTED: {
    says: 'The room is joined; its entries beyond `from` follow.',
    fields: {
      room_id: roomIdShape,
      uuid: uuidShape,
      head: placeShape.describe("The number of the room's last entry."),
      epoch: uuidShape.describe('The identity of the log.'),
      from: placeShape,
      permissions: permissionsShape,
      read: placeShape.describe("The user's read marker."),
    },
  },
  SENT: {
    says: 'The message or change is stored, and has this number.',
    fields: { room_id: roomIdShape, seq: seqShape },
  },
  OK: {
    says: 'The command is done.',
    fields: { room_id: roomIdShape, upto: placeShape.describe('After `read` alone.').optional() },
  },
  PONG: { says: 'The answer to `ping`.', fields: {} },
  NOTFOUND: {
    says: 'There is no such room, or no such message in it.',
    fields: { ...problem, reason: z.enum(['NOT_FOUND', 'NO_SUCH_MESSAGE']) },
  },
  NOTAUTHORIZED: {
    says: 'The permission is missing.',
    fields: { ...problem, reason: z.enum(['FORBIDDEN']) },
  },
  INVALID: {
    says: "The command is malformed, or can't be done.",
    fields: {
      ...problem,
      reason: z.enum([
        'INVALID',
        'AHEAD',
        'TOO_MANY_ROOMS',
        'UNKNOWN_COMMAND',
        'DELETED',
        'TOO_MANY_REACTIONS',
        'REF_USED',
      ]),
      seq: seqShape.describe('With REF_USED: the number of the entry that has the ref.').optional(),
    },
  },
  REJECTED: {
    says: 'The application refuses the message or the edit. Nothing was done.',
    fields: { ...problem, reason: z.enum(['REJECTED']) },
  },
  RATELIMITED: {
    says: 'More messages and changes than the user, or the room, may have, or more refused tokens of an address. Nothing was done.',
    fields: {
      ...problem,
      reason: z.enum(['RATELIMITED']),
      retry_after_ms: z.int().min(1).describe('Send the command again after this time.'),
    },
  },
  UNAVAILABLE: {
    says: 'The store did not answer, or too much waits. Send the command again.',
    fields: { ...problem, reason: z.enum(['UNAVAILABLE']) },
  },
  INTERNAL: {
    says: 'A fault of the server. The socket stays open.',
    fields: { ...problem, reason: z.enum(['INTERNAL']) },
  },
  BADJSON: {
    says: 'The frame was not a JSON object. Close code 4400 follows.',
    fields: { ...problem, reason: z.enum(['BAD_JSON']) },
  },
  DRAIN: {
    says: 'The server goes down: it closes the socket with 1012 after this time. Reconnect then, not before.',
    fields: { retry_after_ms: z.int().min(0) },
  },
} satisfies Record<StatusWord, { says: string; fields: z.core.$ZodLooseShape }>;

const ofUser = { room_id: roomIdShape, emitter: uuidShape };
const users = z.array(uuidShape).optional();

/** By type, the data of an event without a number, and a sentence. */
const EVENTS = {
  access: {
    says: "The session's own permissions in a room have changed; with empty ones it has left the room.",
    data: {
      room_id: roomIdShape,
      permissions: permissionsShape,
      reason: z.enum(['REVOKED', 'ROOM_DELETED']).optional(),
    },
  },
  invited: {
    says: 'A rule was added that invites the user.',
    data: { room_id: roomIdShape, entity_UUID: uuidShape, permissions: permissionsShape },
  },
  read: {
    says: 'A user has read a room up to this number.',
    data: { ...ofUser, upto: placeShape },
  },
  typing: { says: 'Another user types.', data: ofUser },
  presence: {
    says: 'Who is online in a room: all of them, who came and who went, or their number alone.',
    data: { room_id: roomIdShape, count: z.int().min(0), online: users, join: users, leave: users },
  },
};

/** By name, every frame of the server: the question, answers by their words, entries and events by their types. */
export const FRAMES: Readonly<Record<string, z.ZodObject>> = {
  query: z
    .object({ type: z.literal('query'), data: z.literal('START?') })
    .describe('The socket is open. Sent once, first.'),
  ...Object.fromEntries(
    Object.entries(STATUSES).map(([word, { says, fields }]) => [
      word,
      z
        .object({
          type: z.literal('status'),
          data: z.literal(word),
          ref: z.string().describe('That of the command.').optional(),
          ...fields,
        })
        .describe(says),
    ]),
  ),
  ...Object.fromEntries(ENTRY_FRAMES.map((frame, index) => [ENTRY_KIND_NAMES[index], frame])),
  ...Object.fromEntries(
    Object.entries(EVENTS).map(([type, { says, data }]) => [
      type,
      z.object({ type: z.literal(type), data: z.object(data) }).describe(says),
    ]),
  ),
};

/** What the document says of a command. */
interface About {
  readonly says: string;
  readonly example: object;
  readonly answers: readonly StatusWord[];
}

const CHANGED = ['SENT', 'NOTFOUND', 'NOTAUTHORIZED', 'INVALID', 'RATELIMITED'] as const;
const SAID = [...CHANGED, 'REJECTED'] as const;
const TOLD = ['OK', 'NOTFOUND', 'NOTAUTHORIZED', 'INVALID'] as const;

/** By type, each command; its answers are without UNAVAILABLE and INTERNAL, which any may get. */
export const COMMANDS: Readonly<Record<CommandType, About>> = {
  token: {
    says: 'Identifies the user, or refreshes the token.',
    example: { type: 'token', content: '<jwt>', ref: '1' },
    answers: ['READY', 'BADAUTH', 'RATELIMITED'],
  },
  join: {
    says: 'Joins rooms, each of which is answered by itself.',
    example: {
      type: 'join',
      rooms: [{ room_id: 1, after: 41 }, { room_id: 2 }],
      max: 500,
      with: ['typing', 'presence', 'read'],
      ref: '2',
    },
    answers: ['CONNECTED', 'NOTFOUND', 'NOTAUTHORIZED', 'INVALID'],
  },
  leave: {
    says: 'Leaves a room.',
    example: { type: 'leave', room_id: 1, ref: '3' },
    answers: ['OK', 'INVALID'],
  },
  message: {
    says: 'Sends a message to a room, which need not be joined.',
    example: { type: 'message', room_id: 1, content: 'Fueled up and ready to go', ref: '4' },
    answers: SAID,
  },
  edit: {
    says: "Replaces content and data of one's own message.",
    example: {
      type: 'edit',
      room_id: 1,
      target: 45,
      content: 'Fuelled up and ready to go',
      ref: '5',
    },
    answers: SAID,
  },
  delete: {
    says: "Deletes a message: one's own, or as an admin of the room anybody's.",
    example: { type: 'delete', room_id: 1, target: 45, ref: '6' },
    answers: CHANGED,
  },
  reaction: {
    says: 'Puts an emoji on a message, or takes it off.',
    example: { type: 'reaction', room_id: 1, target: 45, emoji: '👍', on: true, ref: '7' },
    answers: CHANGED,
  },
  read: {
    says: "Moves the user's read marker in a room.",
    example: { type: 'read', room_id: 1, upto: 45, ref: '8' },
    answers: TOLD,
  },
  typing: {
    says: 'Tells a room that the user types.',
    example: { type: 'typing', room_id: 1 },
    answers: TOLD,
  },
  ping: {
    says: "For clients that can't send pings of WebSocket itself.",
    example: { type: 'ping', ref: '9' },
    answers: ['PONG', 'INVALID'],
  },
  quit: {
    says: 'Closes the socket with 1000 when all commands before are answered.',
    example: { type: 'quit' },
    answers: ['INVALID'],
  },
};
