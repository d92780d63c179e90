import { z } from 'zod';
import { parseFrame } from '../frame.js';
import { messageFields, messageSeqSchema, type TextLimits } from '../message-fields.js';
import {
  listSchema,
  refSchema,
  ROOM_ID_OR_UUID,
  roomIdSchema,
  sequenceNumberSchema,
  textSchema,
  UUID_PROBLEM,
  uuidSchema,
  wholeNumber,
} from '../values.js';
import { HINTS, type Command, type Commands, type CommandType, type Decoded } from './commands.js';

/** The largest `max` of a `join`: what a client with a cache is ready to replay instead of loading a page. */
const MAX_REPLAYED = 10_000;

const roomId = roomIdSchema('room_id must be a positive integer');

const givenRef = refSchema('ref');

const ref = givenRef.nullish().transform((given) => given ?? undefined);

const after = sequenceNumberSchema('after').nullish();

const epoch = z.guid(`epoch ${UUID_PROBLEM}`).toLowerCase().nullish();

const target = messageSeqSchema('target');

/** Code points of an emoji: a family with skin tones has ten, and some flags have seven. */
const MAX_EMOJI_CHARACTERS = 32;

/** `name` is that of its field, or empty. */
export function emojiSchema(name: string) {
  return textSchema(name, MAX_EMOJI_CHARACTERS).refine(
    (text) => !/\s/.test(text),
    `${name} contains white space`.trim(),
  );
}

const emoji = emojiSchema('emoji');

const WITH_PROBLEM = `with must be a list of ${HINTS.join(', ')}`;

const WANTED_ID_PROBLEM = 'room_id must be a positive integer or a UUID';

const wantedId = z.union([roomIdSchema(WANTED_ID_PROBLEM), uuidSchema], WANTED_ID_PROBLEM);

/** Each may be named again. */
const MAX_HINTS = 100;

const wantedRoom = z
  .object(
    {
      room_id: z.union([z.number(), z.string()], WANTED_ID_PROBLEM).meta(ROOM_ID_OR_UUID),
      after,
      epoch,
    },
    'rooms must hold objects',
  )
  .transform(({ room_id: givenId, after, epoch }, context) => {
    const { data: id } = wantedId.safeParse(givenId);
    if (id === undefined) {
      context.addIssue(WANTED_ID_PROBLEM);
      return z.NEVER;
    }
    return { id, givenId, after: after ?? undefined, epoch: epoch ?? undefined };
  });

/** The limits of commands. */
export interface CommandLimits extends TextLimits {
  readonly roomsPerSocket: number;
}

/** By type, the commands as clients send them. */
export function commandSchemas(limits: CommandLimits): {
  [T in CommandType]: z.ZodType<Commands[T]>;
} {
  const { text, message, editOf, messageOf } = messageFields(limits, (field) => field);
  return {
    token: z.object({
      type: z.literal('token'),
      content: z.string('content must be a string'),
      ref,
    }),
    join: z
      .object({
        type: z.literal('join'),
        rooms: listSchema(wantedRoom, {
          max: limits.roomsPerSocket,
          problem: 'rooms must be a list',
          tooLong: `rooms has more than ${limits.roomsPerSocket} items`,
        })
          .refine(({ length }) => length > 0, 'rooms is empty')
          .meta({ minItems: 1 }),
        max: wholeNumber({
          min: 1,
          max: MAX_REPLAYED,
          problem: `max must be 1 to ${MAX_REPLAYED}`,
        }).nullish(),
        with: listSchema(z.enum(HINTS, WITH_PROBLEM), {
          max: MAX_HINTS,
          problem: WITH_PROBLEM,
          tooLong: WITH_PROBLEM,
        }).nullish(),
        ref,
      })
      .transform(({ max, with: hints, ...join }) => ({
        ...join,
        max: max ?? undefined,
        with: new Set(hints),
      })),
    leave: z
      .object({ type: z.literal('leave'), room_id: roomId, ref })
      .transform(({ type, room_id, ref }) => ({ type, roomId: room_id, ref })),
    message: z
      .object({ type: z.literal('message'), room_id: roomId, ...message })
      .transform(({ type, room_id, ...given }, context) => ({
        type,
        roomId: room_id,
        ...messageOf(given, context),
      })),
    edit: z
      .object({ type: z.literal('edit'), room_id: roomId, target, ...text })
      .transform(({ type, room_id, target, ...given }, context) => ({
        type,
        roomId: room_id,
        target,
        ...editOf(given, context),
      })),
    delete: z
      .object({ type: z.literal('delete'), room_id: roomId, target, ref })
      .transform(({ room_id, ...deletion }) => ({ ...deletion, roomId: room_id })),
    reaction: z
      .object({
        type: z.literal('reaction'),
        room_id: roomId,
        target,
        emoji,
        on: z.boolean('on must be true or false'),
        ref,
      })
      .transform(({ room_id, ...reaction }) => ({ ...reaction, roomId: room_id })),
    read: z
      .object({
        type: z.literal('read'),
        room_id: roomId,
        upto: sequenceNumberSchema('upto'),
        back: z.boolean('back must be true or false').nullish(),
        ref,
      })
      .transform(({ room_id, back, ...read }) => ({
        ...read,
        roomId: room_id,
        isBack: back ?? false,
      })),
    typing: z
      .object({ type: z.literal('typing'), room_id: roomId, ref })
      .transform(({ type, room_id, ref }) => ({ type, roomId: room_id, ref })),
    ping: z.object({ type: z.literal('ping'), ref }),
    quit: z.object({ type: z.literal('quit'), ref }),
  };
}

/**
 * Makes the decoder of the frames of a version 2 client. Unknown keys are ignored, and `null` stands for a missing
 * field, as in version 1.
 */
export function createDecoder(limits: CommandLimits): (frame: string) => Decoded {
  const known = new Map<unknown, z.ZodType<Command>>(Object.entries(commandSchemas(limits)));

  return (frame) => {
    const value = parseFrame(frame) as Readonly<Record<string, unknown>> | undefined;
    if (value === undefined) return { kind: 'not-json' };
    const schema = known.get(value['type']);
    if (schema === undefined) return { kind: 'unknown', origin: originOf(value) };
    const result = schema.safeParse(value);
    if (result.success) return { kind: 'command', command: result.data };
    return {
      kind: 'malformed',
      type: value['type'] as CommandType,
      detail: result.error.issues[0]?.message ?? 'malformed',
      origin: originOf(value),
    };
  };
}

function originOf(value: Readonly<Record<string, unknown>>) {
  return {
    ref: givenRef.safeParse(value['ref']).data,
    roomId: roomId.safeParse(value['room_id']).data,
  };
}
