import { z } from 'zod';

/*
 * The metadata of schemas here and in message-fields.ts is JSON Schema, for the documents of the API (http/openapi.ts,
 * http/asyncapi.ts): what a schema checks by a function, they could not show otherwise.
 */

/** The largest `integer` of Postgres, and so the largest id of a room. */
export const MAX_INTEGER = 2_147_483_647;

/** Longest `ref` of a command, in characters: a UUID fits, and a SHA-256 in hexadecimal. Its column is as wide. */
const MAX_REF_CHARACTERS = 64;

/** The problem of a value that is not a UUID, without its subject. */
export const UUID_PROBLEM = 'must be a UUID: hexadecimal digits, 8-4-4-4-12 of them';

/**
 * A UUID of any version: the application chooses its own. Converted to lower case, as Postgres prints the type `uuid`.
 */
export const uuidSchema = z.guid(UUID_PROBLEM).toLowerCase();

/** A number of 16 digits may be beyond `Number.MAX_SAFE_INTEGER`, one of 17 always is. */
const DIGITS = /^\d{1,16}$/;
const ROOM_ID = /^[1-9]\d{0,9}$/;

/**
 * A whole number, or one in decimal digits (`7`, `"7"`), but not `1e3`, `+7` or `7.0` as text.
 * @param options.problem the message for a number out of range
 * @param options.typeProblem the message for any other value; by default the same
 */
export function wholeNumber({
  min,
  max,
  problem,
  typeProblem = problem,
  digits = DIGITS,
}: {
  min: number;
  max: number;
  problem: string;
  typeProblem?: string;
  digits?: RegExp;
}) {
  return z
    .union([z.number(), z.string().regex(digits).transform(Number)], typeProblem)
    .refine((value) => Number.isInteger(value) && value >= min && value <= max, problem)
    .meta({
      anyOf: [
        { type: 'integer', minimum: min, maximum: max },
        { type: 'string', pattern: digits.source },
      ],
    });
}

/** A room's id: a positive integer, without leading zeros in digits; `problem` says what it must be. */
export function roomIdSchema(problem: string) {
  return wholeNumber({ min: 1, max: MAX_INTEGER, problem, digits: ROOM_ID });
}

/** JSON Schema of what names a room where a number or a UUID does. */
export const ROOM_ID_OR_UUID = {
  anyOf: [
    { type: 'integer', minimum: 1, maximum: MAX_INTEGER },
    { type: 'string', format: 'uuid' },
  ],
  description: "A room's `id`, or its `uuid`.",
  examples: [1],
};

/** A number of a room's log, or 0; `name` is that of its field. */
export function sequenceNumberSchema(name: string) {
  return wholeNumber({
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    problem: `${name} must be 0 or more`,
    typeProblem: `${name} must be a number`,
  });
}

/**
 * A list of at most `max` items. Nothing is checked in a longer one: each item that is wrong costs 2 µs, and a frame
 * has room for 60,000.
 */
export function listSchema<Item>(
  item: z.ZodType<Item>,
  { max, problem, tooLong }: { max: number; problem: string; tooLong: string },
) {
  return z.preprocess(
    (value, context) => {
      if (!Array.isArray(value) || value.length <= max) return value;
      context.addIssue(tooLong);
      return z.NEVER;
    },
    z.array(item, problem).meta({ maxItems: max }),
  );
}

/** A text that can be stored; `name` is that of its field, or empty if the problem stands beside it. */
export function textSchema(name: string, maxCharacters: number) {
  return z
    .string(`${name} must be a string`.trim())
    .superRefine((value, context) => {
      const problem = textProblem(value, maxCharacters);
      if (problem !== undefined) context.addIssue(`${name} ${problem}`.trim());
    })
    .meta({ minLength: 1, maxLength: maxCharacters });
}

const PERMISSIONS_PROBLEM = 'must be letters of rwba, each once';

/** The permissions of a rule. */
export const permissionsSchema = z
  .string(PERMISSIONS_PROBLEM)
  // The length first: the rest goes along the text.
  .regex(/^[rwba]{1,4}$/, { error: PERMISSIONS_PROBLEM, abort: true })
  .refine((letters) => new Set(letters).size === letters.length, PERMISSIONS_PROBLEM);

/** The sender's own name for a command; `name` is that of its field, or empty. */
export function refSchema(name: string) {
  return textSchema(name, MAX_REF_CHARACTERS);
}

/**
 * What keeps a text from being stored, as a sentence; undefined if nothing does. Postgres has
 * no U+0000 in text, and a lone surrogate has no UTF-8 form. Characters are code points.
 */
export function textProblem(text: string, maxCharacters: number): string | undefined {
  if (text.length === 0) return 'is empty';
  if (characters(text, maxCharacters) > maxCharacters) {
    return `is longer than ${maxCharacters} characters`;
  }
  if (text.includes('\0')) return 'contains U+0000';
  if (!text.isWellFormed()) return 'contains a lone surrogate';
  return undefined;
}

/** Counts code points, without walking a text that is short enough or far too long anyway. */
function characters(text: string, enough: number): number {
  if (text.length <= enough || text.length > 2 * enough) return text.length;
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
