import { z } from 'zod';
import { ChatError } from '../errors.js';
import { ROOM_ID_OR_UUID, roomIdSchema, wholeNumber } from '../protocol/values.js';

/**
 * What an answer repeats of unknown fields, as docs/HTTP-API.md promises: enough to find a typing error, and never much
 * more than the request.
 */
const MAX_UNKNOWN_FIELDS = 10;
const MAX_NAME_CHARACTERS = 64;

/**
 * Parses input by a schema.
 * @throws {ChatError} INVALID, with each wrong field, and the first MAX_UNKNOWN_FIELDS unknown ones
 */
export function validate<T extends z.ZodType>(schema: T, input: unknown): z.output<T> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const errors = result.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys
          .slice(0, MAX_UNKNOWN_FIELDS)
          .map((field) => ({ field: cut(field), message: 'is not known here' }))
      : [{ field: issue.path.join('.'), message: issue.message }],
  );
  throw new ChatError('INVALID', {
    detail: errors.map(({ field, message }) => `${field} ${message}`.trim()).join('; '),
    errors,
  });
}

function cut(name: string): string {
  if (name.length <= MAX_NAME_CHARACTERS) return name;
  return `${name.slice(0, MAX_NAME_CHARACTERS).toWellFormed()}…`;
}

/** A whole number of a range, or one in decimal digits. */
export function numberFrom(min: number, max: number) {
  return wholeNumber({ min, max, problem: `must be a whole number from ${min} to ${max}` });
}

/** `true` or `false`, also as text: a query has no other. */
export const flag = z
  .union([z.boolean(), z.enum(['true', 'false'])], 'must be true or false')
  .transform((value) => value === true || value === 'true');

/**
 * An object in the form of `given` if it has the field, else of `other`: what is wrong with it, one form says. A schema of
 * both forms would say what each of them lacks.
 */
export function byField<Given extends z.ZodType, Other extends z.ZodType>(
  field: string,
  given: Given,
  other: Other,
) {
  const forms = [given, other].map((form) => z.toJSONSchema(form, { io: 'input' }));
  return z
    .unknown()
    .transform((value, context): z.output<Given> | z.output<Other> => {
      const isGiven = (value as Readonly<Record<string, unknown>>)[field] != null;
      const result = (isGiven ? given : other).safeParse(value);
      if (result.success) return result.data;
      for (const issue of result.error.issues) {
        context.issues.push({ ...issue, input: value } as (typeof context.issues)[number]);
      }
      return z.NEVER;
    })
    .meta({ anyOf: forms });
}

/** The `:id` of a path; one that is a UUID has been replaced by the room's id (`roomByUuid` in app.ts). */
export const roomId = roomIdSchema('must be a positive integer or a UUID').meta(ROOM_ID_OR_UUID);

/** Schema of a path that names a room. */
export const roomPath = z.object({ id: roomId });
