import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { createOpenApi } from '../../src/http/openapi.js';

/** The media type of lines of JSON. */
export const LINES = 'application/x-ndjson';

/** The limits of a node by default. */
const LIMITS = { contentCharacters: 8_000, dataBytes: 4_096 };

/** The OpenAPI document. Clients must take keys that it does not have; the tests take none. */
export const openApi = JSON.parse(JSON.stringify(createOpenApi(LIMITS), strict)) as OpenApi;

/** What generators read of a JSON Schema. */
export interface JsonSchema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

export interface OpenApi {
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly responses: Readonly<Record<string, Answer>> };
}

interface Operation {
  readonly operationId: string;
  readonly description: string;
  readonly security?: readonly object[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: 'path' | 'query';
    readonly required: boolean;
    readonly schema: JsonSchema;
  }[];
  readonly requestBody?: {
    readonly content: {
      readonly 'application/json'?: { readonly example: unknown; readonly schema: JsonSchema };
      readonly [LINES]?: object;
    };
  };
  readonly responses: Readonly<Record<string, Answer & { readonly $ref?: string }>>;
}

interface Answer {
  readonly headers?: object;
  readonly content?: object;
}

/** A JSON.stringify replacer: an object has no other keys than those of its schema. */
export function strict(_key: string, value: unknown): unknown {
  const { type, properties } = (value ?? {}) as { type?: unknown; properties?: unknown };
  const isShape = type === 'object' && typeof properties === 'object';
  return isShape ? { additionalProperties: false, ...(value as object) } : value;
}

/** An operation of a document, and where it is served. */
export interface ServedOperation {
  readonly method: string;
  readonly template: string;
  readonly operation: Operation;
  readonly pattern: RegExp;
}

/** An answer as its body has it, and its status. */
interface DocumentedAnswer {
  readonly status: number;
  readonly meta: object;
  readonly content: unknown;
}

/** What an OpenAPI document promises. */
export interface DocumentedApi {
  /** By method and template, those without parameters first. */
  readonly operations: readonly ServedOperation[];
  /** The operation that serves a request; undefined if none does. */
  readonly operationOf: (method: string, path: string) => ServedOperation | undefined;
  /** The validator of a JSON pointer into the document. */
  readonly validatorOf: (pointer: string) => ValidateFunction;
  /** Throws if the document does not have an answer to a request, exactly as it came. */
  readonly requireDocumented: (method: string, path: string, answer: DocumentedAnswer) => void;
}

/** Reads a document to which `strict` was applied. */
export function readOpenApi(document: OpenApi): DocumentedApi {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  formats.default(ajv);
  ajv.addSchema(document, 'openapi');
  const validators = new Map<string, ValidateFunction>();
  const validatorOf = (pointer: string): ValidateFunction => {
    const known = validators.get(pointer) ?? ajv.compile({ $ref: `openapi#${encodeURI(pointer)}` });
    validators.set(pointer, known);
    return known;
  };
  const served = Object.entries(document.paths)
    .toSorted(([one], [other]) => one.split('{').length - other.split('{').length)
    .flatMap(([template, byMethod]) =>
      Object.entries(byMethod).map(([method, operation]) => ({
        method: method.toUpperCase(),
        template,
        operation,
        pattern: new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}/?$`),
      })),
    );
  const operationOf = (method: string, path: string): ServedOperation | undefined => {
    const [bare = ''] = path.split('?');
    return served.find((each) => each.method === method && each.pattern.test(bare));
  };

  return {
    operations: served,
    operationOf,
    validatorOf,
    requireDocumented(method, path, { status, meta, content }) {
      const found = operationOf(method, path);
      if (found === undefined) return;
      const { template, operation } = found;
      const key = String(status) in operation.responses ? String(status) : 'default';
      const pointer =
        operation.responses[key]?.$ref?.slice(1) ?? `${pointerOf(found)}/responses/${key}`;
      const isLines = LINES in (operation.responses[key]?.content ?? {});
      const type = isLines ? LINES : 'application/json';
      const validate = validatorOf(`${pointer}/content/${type.replace('/', '~1')}/schema`);
      const isDocumented = isLines
        ? (content as unknown[]).every((line) => validate(line))
        : validate({ meta, content });
      if (isDocumented) return;
      throw new Error(
        `${method} ${template} has no such answer: ${JSON.stringify({ meta, content })}\n${ajv.errorsText(validate.errors)}`,
      );
    },
  };
}

/** Where a document has an operation, as a JSON pointer. */
export function pointerOf({ method, template }: ServedOperation): string {
  return `/paths/${template.replaceAll('/', '~1')}/${method.toLowerCase()}`;
}

export const { operations, operationOf, requireDocumented } = readOpenApi(openApi);
