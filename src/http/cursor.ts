import { z } from 'zod';

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

const PROBLEM = 'must be the cursor of an earlier answer';

function decode(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    return undefined;
  }
}
