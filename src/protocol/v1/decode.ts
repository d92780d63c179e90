import { z } from 'zod';
import type { Command, Commands, CommandType, Decoded } from './commands.js';
import { parseFrame } from '../frame.js';
import { refSchema, roomIdSchema, sequenceNumberSchema, textSchema } from '../values.js';

/** The limits of commands. */
interface CommandLimits {
  readonly contentCharacters: number;
}

const ref = refSchema('ref');

/** By type, the commands as clients send them. */
export function commandSchemas(limits: CommandLimits): {
  [T in CommandType]: z.ZodType<Commands[T]>;
} {
  const content = textSchema('content', limits.contentCharacters);
  const said = z
    .unknown()
    .meta({ type: ['string', 'null'], minLength: 1, maxLength: limits.contentCharacters })
    .optional();
  return {
    token: z.object({ type: z.literal('token'), content: z.string('content must be a string') }),
    select_room: z
      .object({
        type: z.literal('select_room'),
        room_id: roomIdSchema('room_id must be a positive integer'),
        after: sequenceNumberSchema('after').nullish(),
      })
      .transform(({ type, room_id, after }) => ({
        type,
        roomId: room_id,
        after: after ?? undefined,
      })),
    message: z
      .object({
        type: z.literal('message'),
        content: said,
        msg: said,
        ref: ref.nullish(),
      })
      // `msg` is the name that some clients of the proof of concept use for `content`.
      .transform(({ type, ref: name, ...said }, context) => {
        const result = content.safeParse(said.content ?? said.msg);
        if (result.success) return { type, ref: name ?? undefined, content: result.data };
        context.addIssue(result.error.issues[0]?.message ?? 'content is malformed');
        return z.NEVER;
      }),
    quit: z.object({ type: z.literal('quit') }),
  };
}

/**
 * Makes the decoder of client frames. Unknown keys are ignored: clients of the proof of concept send
 * some. `null` stands for a missing field, as in the encoders that write every field.
 */
export function createDecoder(limits: CommandLimits): (frame: string) => Decoded {
  const known = new Map<unknown, z.ZodType<Command>>(Object.entries(commandSchemas(limits)));

  return (frame) => {
    const value = parseFrame(frame);
    if (value === undefined) return { kind: 'not-json' };
    const type = (value as { type?: unknown }).type;
    const schema = known.get(type);
    if (schema === undefined) return { kind: 'unknown' };
    const result = schema.safeParse(value);
    if (result.success) return { kind: 'command', command: result.data };
    const [issue] = result.error.issues;
    return {
      kind: 'malformed',
      malformed: {
        type: type as CommandType,
        field: issue?.path[0] === 'room_id' ? 'roomId' : String(issue?.path[0] ?? 'content'),
        problem: issue?.message ?? 'malformed',
        ref: ref.safeParse((value as { ref?: unknown }).ref).data,
      },
    };
  };
}
