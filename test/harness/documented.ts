import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { createOpenApi } from '../../src/http/openapi.js';

/** The limits of a node by default. */
const LIMITS = { contentCharacters: 8_000, dataBytes: 4_096 };

/** The OpenAPI document. Clients must take keys that it does not have; the tests take none. */
export const openApi = JSON.parse(JSON.stringify(createOpenApi(LIMITS), strict)) as OpenApi;

interface OpenApi {
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly responses: Readonly<Record<string, Answer>> };
}

interface Operation {
  readonly operationId: string;
  readonly description: string;
  readonly requestBody?: {
    readonly content: { readonly 'application/json': { readonly example: unknown } };
  };
  readonly responses: Readonly<Record<string, Answer & { readonly $ref?: string }>>;
}

interface Answer {
  readonly headers?: object;
}

/** A JSON.stringify replacer: an object has no other keys than those of its schema. */
export function strict(_key: string, value: unknown): unknown {
  const { type, properties } = (value ?? {}) as { type?: unknown; properties?: unknown };
  const isShape = type === 'object' && typeof properties === 'object';
  return isShape ? { additionalProperties: false, ...(value as object) } : value;
}

/** The operations of the document by method and template, those without parameters first. */
export const operations = Object.entries(openApi.paths)
  .toSorted(([one], [other]) => one.split('{').length - other.split('{').length)
  .flatMap(([template, byMethod]) =>
    Object.entries(byMethod).map(([method, operation]) => ({
      method: method.toUpperCase(),
      template,
      operation,
      pattern: new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}/?$`),
    })),
  );

/** The operation that serves a request; undefined if none does. */
export function operationOf(method: string, path: string): (typeof operations)[number] | undefined {
  const [bare = ''] = path.split('?');
  return operations.find((served) => served.method === method && served.pattern.test(bare));
}

const ajv = new Ajv2020({ strict: false, allErrors: true });
formats.default(ajv);
ajv.addSchema(openApi, 'openapi');

const validators = new Map<string, ValidateFunction>();

/** The validator of a JSON pointer into the document. */
function validatorOf(pointer: string): ValidateFunction {
  const known = validators.get(pointer) ?? ajv.compile({ $ref: `openapi#${pointer}` });
  validators.set(pointer, known);
  return known;
}

/** Throws if the document does not have an answer to a request, exactly as it came. */
export function requireDocumented(
  method: string,
  path: string,
  { status, meta, content }: { status: number; meta: object; content: unknown },
): void {
  const served = operationOf(method, path);
  if (served === undefined) return;
  const { template, operation } = served;
  const key = String(status) in operation.responses ? String(status) : 'default';
  const pointer =
    operation.responses[key]?.$ref?.slice(1) ??
    `/paths/${template.replaceAll('/', '~1')}/${method.toLowerCase()}/responses/${key}`;
  const validate = validatorOf(`${encodeURI(pointer)}/content/application~1json/schema`);
  if (validate({ meta, content })) return;
  throw new Error(
    `${method} ${template} has no such answer: ${JSON.stringify({ meta, content })}\n${ajv.errorsText(validate.errors)}`,
  );
}
