import { z } from 'zod';

/** Levels of objects and lists in `data`, itself included: more than a card needs, and safe for any reader of JSON. */
const MAX_LEVELS = 8;

/** The longest UTF-8 of a UTF-16 unit. */
const MAX_UNIT_BYTES = 3;

/**
 * The `data` of a message: a JSON object that an application chose, which nobody here interprets. Converted to its JSON.
 * @param maxBytes of the JSON in UTF-8
 */
export function dataSchema(maxBytes: number) {
  return z.unknown().transform((value, context): string => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      context.addIssue('data must be an object');
      return z.NEVER;
    }
    const problem = problemOf(value, 1);
    const json = problem === undefined ? JSON.stringify(value) : '';
    if (problem !== undefined) context.addIssue(problem);
    else if (isLonger(json, maxBytes)) {
      context.addIssue(`data is longer than ${maxBytes} bytes as JSON`);
    }
    return json;
  });
}

/** What keeps a value at a level from being stored; undefined if nothing does. */
function problemOf(value: unknown, level: number): string | undefined {
  if (typeof value === 'string') return textProblem(value);
  if (typeof value !== 'object' || value === null) return undefined;
  if (level > MAX_LEVELS) return `data has more than ${MAX_LEVELS} levels`;
  for (const [key, member] of Object.entries(value)) {
    const problem = textProblem(key) ?? problemOf(member, level + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Postgres has no U+0000. */
function textProblem(text: string): string | undefined {
  return text.includes('\0') ? 'data contains U+0000' : undefined;
}

function isLonger(json: string, maxBytes: number): boolean {
  if (json.length * MAX_UNIT_BYTES <= maxBytes) return false;
  return json.length > maxBytes || new TextEncoder().encode(json).length > maxBytes;
}
