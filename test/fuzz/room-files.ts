import fc from 'fast-check';
import { z } from 'zod';
import { lineSchema } from '../../src/transfer/room-file.js';
import type { JsonSchema } from '../harness/documented.js';
import { REST_HINTS } from './hints.js';
import { brokenValue, validValue } from './schema-values.js';
import { anyText, anyValue, damaged } from './values.js';

/** The schemas of the lines of a room's file, by their `kind`, or the first of these. */
const SCHEMAS = new Map(
  (
    z.toJSONSchema(lineSchema({ contentCharacters: 8_000, dataBytes: 4_096 }), {
      io: 'input',
      unrepresentable: 'any',
    }).oneOf as JsonSchema[]
  ).map((schema) => {
    const { const: one, enum: some = [] } = schema.properties?.['kind'] ?? {};
    return [one ?? some[0], schema] as const;
  }),
);

const HINTS = {
  ...REST_HINTS,
  createdAt: fc
    .date({ noInvalidDate: true, min: new Date('0001-01-02'), max: new Date('2025-01-01') })
    .map((date) => date.toISOString()),
};

function validLine(kind: string): fc.Arbitrary<object> {
  return validValue(SCHEMAS.get(kind) ?? {}, HINTS) as fc.Arbitrary<object>;
}

const messages = validLine('message').map((line) => {
  const { deleted: _, ...message } = line as { deleted?: true; content?: string | null };
  return { ...message, content: message.content || 'x' };
});

/** Changes of the first message. */
const changes = fc.oneof(
  validLine('edit').map((line) => ({ ...line, kind: 'edit' })),
  validLine('reaction').map((line) => ({ ...line, emoji: '👍', on: true, count: 1 })),
  validLine('erase'),
);

/** Messages and changes, with the numbers and the refs that go together. */
const entryLines = fc
  .tuple(
    messages,
    fc.array(fc.oneof({ weight: 3, arbitrary: messages }, changes), { maxLength: 5 }),
  )
  .map(([first, more]) =>
    [first, ...more].map((line, index) => ({
      ...line,
      ...('ref' in line && { ref: `${index}` }),
      ...('reply_to' in line && { reply_to: index > 0 ? 1 : null }),
      ...('target' in line && { target: 1 }),
      seq: index + 1,
    })),
  );

/** A file as the command export writes it. */
const wholeFiles = fc
  .tuple(
    validLine('room'),
    fc.uniqueArray(validLine('rule'), {
      maxLength: 3,
      selector: (rule) => (rule as { entity_UUID: string }).entity_UUID,
    }),
    fc.uniqueArray(validLine('user'), {
      maxLength: 3,
      selector: (user) => (user as { userUUID: string }).userUUID,
    }),
    entryLines,
  )
  .map(([room, rules, users, entries]): object[] => [
    { ...room, type: 'group', entries: entries.length },
    ...rules,
    ...users,
    ...entries,
  ]);

/** Lines of which one or the other does not belong there. */
const oddFiles = fc
  .tuple(
    wholeFiles,
    fc.oneof(...[...SCHEMAS.values()].map((schema) => brokenValue(schema, HINTS)), anyValue),
    fc.nat(8),
  )
  .map(([lines, odd, at]) => lines.toSpliced(at, 0, odd as object));

const inLines = (lines: readonly unknown[]): string =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join('');

/** The body of an import: mostly the file of a room. */
export const roomFiles: fc.Arbitrary<string | undefined> = fc.oneof(
  { weight: 12, arbitrary: wholeFiles.map(inLines) },
  { weight: 6, arbitrary: oddFiles.map(inLines) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(wholeFiles.map(inLines), fc.nat())
      .map(([text, place]) => damaged(text, place)),
  },
  { weight: 1, arbitrary: anyText },
  { weight: 1, arbitrary: fc.constant(undefined) },
);
