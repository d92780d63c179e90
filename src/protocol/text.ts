/** Largest id of a room: Postgres' `integer`. */
export const MAX_ROOM_ID = 2_147_483_647;

const ROOM_ID = /^[1-9]\d{0,9}$/;

/**
 * A room's id as clients send it: a positive integer, or one in decimal digits (`7`, `"7"`).
 * Anything else (`1e3`, `-1`, `07`, out of Postgres' `integer` range) is undefined.
 */
export function parseRoomId(value: unknown): number | undefined {
  const id = typeof value === 'string' ? (ROOM_ID.test(value) ? Number(value) : undefined) : value;
  return typeof id === 'number' && Number.isInteger(id) && id > 0 && id <= MAX_ROOM_ID
    ? id
    : undefined;
}

/**
 * What keeps a text from being stored, as a sentence, or undefined where nothing does. Postgres has
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
