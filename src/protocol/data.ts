import { z } from 'zod';

/** Levels of objects and lists in `data`, itself included: more than a card needs, and safe for any reader of JSON. */
const MAX_LEVELS = 8;

/** The longest UTF-8 of a UTF-16 unit. */
const MAX_UNIT_BYTES = 3;

/**
 * The `data` of a message or a room: a JSON object that an application chose, which nobody here interprets. Converted to
 * its JSON.
 * @param maxBytes of the JSON in UTF-8
 * @param subject of the sentence about a problem; empty if the sentence stands beside the name of the field
 */
export function dataSchema(maxBytes: number, subject = 'data') {
  return z
    .unknown()
    .transform((value, context): string => {
      const problem = isObject(value) ? problemOf(value, 1) : 'must be an object';
      const json = problem === undefined ? JSON.stringify(value) : '';
      const isLong = problem === undefined && isLonger(json, maxBytes);
      const found = isLong ? `is longer than ${maxBytes} bytes as JSON` : problem;
      if (found !== undefined) context.addIssue(`${subject} ${found}`.trim());
      return json;
    })
    .meta({
      type: 'object',
      description: `The application's own: at most ${maxBytes} bytes as JSON, and ${MAX_LEVELS} levels.`,
    });
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What keeps a value at a level from being stored; undefined if nothing does. */
function problemOf(value: unknown, level: number): string | undefined {
  if (typeof value === 'string') return textProblem(value);
  if (typeof value !== 'object' || value === null) return undefined;
  if (level > MAX_LEVELS) return `has more than ${MAX_LEVELS} levels`;
  for (const [key, member] of Object.entries(value)) {
    const problem = textProblem(key) ?? problemOf(member, level + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Postgres has no U+0000. */
function textProblem(text: string): string | undefined {
  return text.includes('\0') ? 'contains U+0000' : undefined;
}

function isLonger(json: string, maxBytes: number): boolean {
  if (json.length * MAX_UNIT_BYTES <= maxBytes) return false;
  return json.length > maxBytes || new TextEncoder().encode(json).length > maxBytes;
}
