import fc from 'fast-check';

/** Text of any kind: lone surrogates, control characters, special characters of SQL, JSON and JavaScript. */
export const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.string({ maxLength: 20 }),
  fc.constantFrom(
    '',
    '\0',
    '\ud800',
    '\udfff',
    '\ufeff',
    '__proto__',
    'constructor',
    'null',
    '1e3',
    '-1',
    '0',
    '007',
    '99999999999999999999',
    "'; DROP TABLE rooms; --",
    '$1',
    '%s',
    '..',
    'x'.repeat(8_001),
  ),
);

export const anyNumber = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(-1, 0, 1, 1.5, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1, 2 ** 53, 1e20, 1e300, -1e300),
);

export const anyValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: anyText },
  { weight: 3, arbitrary: anyNumber },
  { weight: 1, arbitrary: fc.constantFrom(null, true, false, undefined) },
  { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }) },
  // Around the 8 levels that `data` may have, and beyond.
  { weight: 1, arbitrary: fc.integer({ min: 5, max: 60 }).map(nested) },
);

function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level += 1) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** JSON that is deeper than a recursion goes. */
export const deepJson = fc
  .constantFrom('[', '{"a":', '{"type":"message","data":{"a":')
  .map((level) => level.repeat(20_000));

/** A text without one of its characters. */
export function damaged(text: string, at: number): string {
  const cut = text.length === 0 ? 0 : at % text.length;
  return text.slice(0, cut) + text.slice(cut + 1);
}

export const bytes = fc.uint8Array({ maxLength: 60 }).map((raw) => Buffer.from(raw));
