import fc from 'fast-check';
import type { JsonSchema } from '../harness/documented.js';
import { anyText, anyValue } from './values.js';

/** By name of a field or a parameter, better values than its schema says: those that lead to something. */
export type Hints = Readonly<Record<string, fc.Arbitrary<unknown>>>;

/** Texts of full length are slow to compare, and one in so many is enough. */
const SHORT_TEXTS = 12;
const MAX_SHORT_CHARACTERS = 30;
const MAX_ITEMS = 4;

/** A value that a schema allows, as far as JSON Schema can say it. */
export function validValue(schema: JsonSchema, hints: Hints, name = ''): fc.Arbitrary<unknown> {
  const hint = hints[name];
  const own = ofSchema(schema, hints);
  if (hint === undefined) return own;
  return fc.oneof({ weight: 6, arbitrary: hint }, { weight: 1, arbitrary: own });
}

/** A value that a schema allows but for one part of it. */
export function brokenValue(schema: JsonSchema, hints: Hints): fc.Arbitrary<unknown> {
  const { properties, anyOf, items, maxItems, maxLength, minimum, maximum } = schema;
  if (anyOf !== undefined)
    return fc.oneof(...anyOf.map((one) => brokenValue(one, hints)), anyValue);
  if (properties !== undefined) return brokenObject(schema, properties, hints);
  if (items !== undefined) {
    return fc.oneof(
      fc.array(brokenValue(items, hints), { minLength: 1, maxLength: MAX_ITEMS }),
      fc
        .tuple(validValue(items, hints), fc.integer({ min: 1, max: 3 }))
        .map(([item, more]) => Array.from({ length: (maxItems ?? 100) + more }, () => item)),
      anyValue,
    );
  }
  if (maxLength !== undefined) {
    return fc.oneof(
      anyText,
      fc.constantFrom('x'.repeat(maxLength + 1), '🙂'.repeat(maxLength + 1)),
    );
  }
  if (minimum !== undefined && maximum !== undefined) {
    return fc.oneof(fc.constantFrom(minimum - 1, maximum + 1, minimum + 0.5), anyValue);
  }
  return anyValue;
}

function brokenObject(
  schema: JsonSchema,
  properties: Readonly<Record<string, JsonSchema>>,
  hints: Hints,
): fc.Arbitrary<unknown> {
  const names = Object.keys(properties);
  const changes: fc.Arbitrary<(value: object) => unknown>[] = [
    fc.tuple(anyText, anyValue).map(([key, more]) => (value) => ({ ...value, [key]: more })),
    anyValue.map((other) => () => other),
  ];
  for (const name of names) {
    changes.push(
      brokenValue(properties[name] ?? {}, hints).map((broken) => (value) => ({
        ...value,
        [name]: broken,
      })),
    );
  }
  for (const name of schema.required ?? []) {
    changes.push(
      fc.constant((value: object) =>
        Object.fromEntries(Object.entries(value).filter(([key]) => key !== name)),
      ),
    );
  }
  return fc
    .tuple(ofSchema(schema, hints), fc.oneof(...changes))
    .map(([value, change]) => change(value as object));
}

function ofSchema(schema: JsonSchema, hints: Hints): fc.Arbitrary<unknown> {
  const { anyOf, type, properties } = schema;
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (anyOf !== undefined) return fc.oneof(...anyOf.map((one) => ofSchema(one, hints)));
  if (Array.isArray(type)) {
    return fc.oneof(...type.map((one: string) => ofSchema({ ...schema, type: one }, hints)));
  }
  switch (type) {
    case 'string':
      return textOf(schema);
    case 'integer':
      return fc.integer({
        min: schema.minimum ?? Number.MIN_SAFE_INTEGER,
        max: schema.maximum ?? Number.MAX_SAFE_INTEGER,
      });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(ofSchema(schema.items ?? {}, hints), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.min(schema.maxItems ?? MAX_ITEMS, MAX_ITEMS),
      });
    case 'object':
      return properties === undefined
        ? fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
        : objectOf(properties, schema.required ?? [], hints);
    case undefined:
    default:
      return anyValue;
  }
}

function objectOf(
  properties: Readonly<Record<string, JsonSchema>>,
  required: readonly string[],
  hints: Hints,
): fc.Arbitrary<object> {
  const fields = Object.entries(properties).map(([name, property]) => [
    name,
    validValue(property, hints, name),
  ]);
  return fc.record(Object.fromEntries(fields) as Record<string, fc.Arbitrary<unknown>>, {
    requiredKeys: [...required],
  });
}

function textOf({ pattern, format, minLength = 0, maxLength }: JsonSchema): fc.Arbitrary<string> {
  if (format === 'uuid') return fc.uuid();
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern));
  if (maxLength === undefined) return fc.string({ unit: 'grapheme', maxLength: 20 });
  return fc.oneof(
    {
      weight: SHORT_TEXTS,
      // A grapheme may be several characters: most of these texts are short enough for all that.
      arbitrary: fc.string({
        unit: 'grapheme',
        minLength,
        maxLength: Math.max(minLength, Math.min(maxLength, MAX_SHORT_CHARACTERS)),
      }),
    },
    { weight: 1, arbitrary: fc.constantFrom('é'.repeat(maxLength), '🙂'.repeat(maxLength)) },
  );
}
