import { z } from 'zod';

/** A JSON Schema of the dialect 2020-12, or a part of a document that has such. */
export type Json = Readonly<Record<string, unknown>>;

/** The schemas of one document. */
export interface JsonSchemas {
  /** What a client may send, or is sent, by a schema: a reference if the schema has an id. */
  of(schema: z.ZodType): Json;
  /** By id, the schemas to which references lead: `#/components/schemas/<id>`. */
  readonly components: Readonly<Record<string, Json>>;
}

export function createJsonSchemas(): JsonSchemas {
  const components: Record<string, Json> = {};
  return {
    components,
    of(schema) {
      const { $defs = {}, ...own } = inDocument(
        z.toJSONSchema(schema, {
          io: 'input',
          override({ zodSchema, jsonSchema }) {
            // zod leaves it out if the schema converts, as a default is a result of that.
            if (zodSchema instanceof z.ZodDefault) jsonSchema.default = zodSchema.def.defaultValue;
          },
        }),
      );
      Object.assign(components, $defs);
      return own;
    },
  };
}

/** A schema as a part of a document: without a dialect of its own, and with references from the document's root. */
function inDocument(schema: object): Json {
  const json = JSON.stringify(schema, (key, value: unknown) =>
    key === '$schema' ? undefined : value,
  );
  return JSON.parse(json.replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}
