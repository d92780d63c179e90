import { z } from 'zod';
import { instantShape, roomIdShape, seqShape, uuidShape } from '../shapes.js';
import type { CommandType } from './commands.js';
import { QUERY_WORDS, type StatusWord } from './events.js';

/*
 * The frames of both sides, for the documents of the API and for tests: nothing is parsed by the schemas.
 */

const ref = z
  .string()
  .meta({ description: "The sender's own name for the message.", examples: ['a1'] });

const reason = z.string().describe('A sentence for people, or a constant.').optional();

const refused = { room_id: roomIdShape.optional(), reason, ref: ref.optional() };

/** By word, what an answer says beside it, and a sentence. */
const STATUSES = {
  READY: { says: 'The token is accepted.', fields: {} },
  BADAUTH: { says: 'The token is not accepted.', fields: { reason } },
  CONNECTED: { says: 'The room is selected.', fields: { room_id: roomIdShape } },
  NOTAUTHORIZED: {
    says: 'The room or the message is refused, or the room is lost.',
    fields: refused,
  },
  SENT: {
    says: 'The message with this `ref` is stored, and has this number.',
    fields: { room_id: roomIdShape, seq: seqShape, ref },
  },
  INVALID: {
    says: 'The command is malformed, or its `ref` is used; for a message, nothing is stored.',
    fields: {
      ...refused,
      seq: seqShape
        .describe('With REF_USED: the number of the message that has the ref.')
        .optional(),
    },
  },
  UNAVAILABLE: {
    says: 'The store did not answer, or too many messages wait for it. The message is not known to be stored.',
    fields: refused,
  },
  BADJSON: { says: 'The frame was not a JSON object. Close code 4400 follows.', fields: {} },
  INTERNAL: {
    says: 'A fault of the server. Close code 1011 follows.',
    fields: { room_id: roomIdShape.optional() },
  },
} satisfies Record<StatusWord, { says: string; fields: z.core.$ZodLooseShape }>;

/** By name, every frame of the server: the question, answers by their words, and the message. */
export const FRAMES: Readonly<Record<string, z.ZodObject>> = {
  query: z
    .object({ type: z.literal('query'), data: z.enum(QUERY_WORDS) })
    .describe('The server asks for the next step.'),
  ...Object.fromEntries(
    Object.entries(STATUSES).map(([word, { says, fields }]) => [
      word,
      z.object({ type: z.literal('status'), data: z.literal(word), ...fields }).describe(says),
    ]),
  ),
  message: z
    .object({
      type: z.literal('message'),
      data: z.object({
        room_id: roomIdShape,
        seq: seqShape.describe("The message's number in the room."),
        emitter: uuidShape.describe("The sender's `userUUID`."),
        content: z.string().meta({ examples: ['Fueled up and ready to go'] }),
        createdAt: instantShape,
        ref: ref.optional(),
      }),
    })
    .describe('A stored message, to everyone who has selected its room.'),
};

/** What the document says of a command. */
interface About {
  readonly says: string;
  readonly example: object;
  readonly answers: readonly (StatusWord | 'query' | 'message')[];
}

/** By type, each command, with its answers in all states. */
export const COMMANDS: Readonly<Record<CommandType, About>> = {
  token: {
    says: 'Identifies the user, or refreshes the token.',
    example: { type: 'token', content: '<jwt>' },
    answers: ['READY', 'BADAUTH'],
  },
  select_room: {
    says: 'Enters a room, and leaves the room that was selected before.',
    example: { type: 'select_room', room_id: 1 },
    answers: ['query', 'CONNECTED', 'NOTAUTHORIZED', 'INVALID', 'UNAVAILABLE', 'INTERNAL'],
  },
  message: {
    says: 'Sends a message to the selected room.',
    example: { type: 'message', content: 'Fueled up and ready to go' },
    answers: ['query', 'message', 'SENT', 'INVALID', 'NOTAUTHORIZED', 'UNAVAILABLE'],
  },
  quit: {
    says: 'Closes the socket with 1000 when the messages sent before are stored or refused.',
    example: { type: 'quit' },
    answers: [],
  },
};
