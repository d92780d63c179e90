import { z } from 'zod';
import { FIRST_INSTANT, LAST_INSTANT } from './period.js';

/** A place in a list as an opaque text, which stands in the query of the next page. */
export function encodeCursor(place: readonly (number | string)[]): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/** Schema of a text of `encodeCursor`, whose place fulfils `place`. */
export function cursorOf<T>(place: z.ZodType<T>) {
  return z.string(PROBLEM).transform((text, context) => {
    const { data, success } = place.safeParse(decode(text));
    if (success) return data;
    context.addIssue(PROBLEM);
    return z.NEVER;
  });
}

/** Schema of the milliseconds of an instant, since 1970 or before it, as an import may bring older messages. */
export const instant = z.int().min(FIRST_INSTANT.getTime()).max(LAST_INSTANT.getTime());

const PROBLEM = 'must be the cursor of an earlier answer';

function decode(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    return undefined;
  }
}
