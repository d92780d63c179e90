import { createRequire } from 'node:module';
import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import { ERRORS, type ErrorCode } from '../errors.js';
import type { TextLimits } from '../protocol/message-fields.js';
import { LINES_TYPE } from './envelope.js';
import { createJsonSchemas, type Json, type JsonSchemas } from './json-schemas.js';
import { RATE_HEADERS } from './rate-headers.js';
import type { Route } from './route.js';
import { ROUTES } from './routes.js';

/** The version of this package, from src/ as well as from dist/. */
export const { version: VERSION } = createRequire(import.meta.url)(
  'nano-messaging/package.json',
) as {
  version: string;
};

const DESCRIPTION = `Rooms, members and messages of nano-messaging; /asyncapi.json describes the WebSocket.

Each answer is JSON, or, of one route, lines of it: \`meta\` is the outcome, \`content\` is the result. Later versions may add keys to \`meta\` and to
objects in \`content\`: ignore keys that you do not know. In a body, \`null\` means the same as leaving an optional field
out. Each route with GET also answers HEAD.`;

/** In the order in which viewers show them. */
const TAGS: readonly Route['about']['tag'][] = ['Rooms', 'Members', 'Messages', 'Users', 'Server'];

/** Errors by the code and the status that they are answered with. */
type Refusal = Exclude<Route['about']['errors'], undefined>[number];

/** What any request may get, before it comes to a route. */
const OF_HTTP: readonly ErrorCode[] = [
  'INVALID',
  'REQUEST_TIMEOUT',
  'EXPECTATION_FAILED',
  'HEADERS_TOO_LARGE',
];

const OF_TOKEN: readonly ErrorCode[] = ['UNAUTHORIZED', 'RATELIMITED', 'UNAVAILABLE'];

const OF_BODY: readonly ErrorCode[] = ['BAD_JSON', 'TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'];

const LINK: Json = { description: 'The next page, with `rel="next"`.', schema: { type: 'string' } };

const RETRY_AFTER: Json = {
  description: 'Seconds to wait.',
  required: true,
  schema: { type: 'integer', minimum: 1 },
};

/** Of each answer to a user, unless the operator has switched the limit off, and of each 429. */
const RATE_HEADERS_DESCRIBED: Record<(typeof RATE_HEADERS)[number], Json> = {
  'RateLimit-Limit': rateHeader(
    'Requests that a user may send in a window of time; of a 429, the limit that was exceeded.',
  ),
  'RateLimit-Remaining': rateHeader('How many are left of them.'),
  'RateLimit-Reset': rateHeader('Seconds until as many are allowed again.'),
};

const RATE_REFERENCES: Json = Object.fromEntries(
  RATE_HEADERS.map((name) => [name, { $ref: `#/components/headers/${name}` }]),
);

function rateHeader(description: string): Json {
  return { description, schema: { type: 'integer', minimum: 0 } };
}

const problem = z
  .object({
    meta: z.object({
      code: z.int().describe('The HTTP status.'),
      message: z.string().describe('Its name.'),
      reason: z.enum(Object.keys(ERRORS)).describe('A constant: branch on it.'),
      detail: z.string().describe('A sentence for people.').optional(),
      errors: z
        .array(z.object({ field: z.string(), message: z.string() }))
        .describe('The fields that are wrong.')
        .optional(),
      seq: z
        .int()
        .describe('With REF_USED: the number of the entry that has the `ref`.')
        .optional(),
      // oxlint-disable-next-line id-match -- the name of a key on the wire
      retry_after_ms: z.int().min(1).describe('With RATELIMITED: when to try again.').optional(),
    }),
    content: z.object({}),
  })
  .meta({ id: 'Error' });

/** The OpenAPI document of a node with these limits: all routes, from their own schemas. */
export function createOpenApi(limits: TextLimits): Json {
  const schemas = createJsonSchemas();
  const responses: Record<string, Json> = {};
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of ROUTES) {
    const operations = (paths[templateOf(route)] ??= {});
    operations[route.method.toLowerCase()] = {
      operationId: route.about.name,
      tags: [route.about.tag],
      summary: route.about.summary,
      description: `Who may call it: ${route.about.who}.`,
      security: needsToken(route) ? [{ token: [] }] : [],
      ...partsOf(route, limits, schemas),
      responses: { ...answersOf(route, schemas), ...refusalsOf(route, responses, schemas) },
    };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'nano-messaging',
      version: VERSION,
      description: DESCRIPTION,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: './' }],
    tags: TAGS.map((name) => ({ name })),
    paths,
    components: {
      schemas: schemas.components,
      responses,
      headers: RATE_HEADERS_DESCRIBED,
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'Signed by the application with the secret that it shares with the server.',
        },
      },
    },
  };
}

/** The path of a route as a template. OpenAPI has one for paths that differ by the names of parameters alone. */
function templateOf({ path }: Route): string {
  const shapeOf = (path: string): string => path.replaceAll(/:\w+/g, ':');
  const first = ROUTES.find((route) => shapeOf(route.path) === shapeOf(path));
  return (first?.path ?? path).replaceAll(/:(\w+)/g, '{$1}');
}

function needsToken({ access }: Route): boolean {
  return access === 'token' || access === 'server';
}

/** The parameters and the body of a route. */
function partsOf(route: Route, limits: TextLimits, schemas: JsonSchemas): Json {
  const { params, query, about } = route;
  const body = typeof route.body === 'function' ? route.body(limits) : route.body;
  const names = [...templateOf(route).matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
  const parameters = [
    // In the order of the path, whose names may be those of another route.
    ...parametersOf(params, 'path', schemas).map((parameter, index) => ({
      ...parameter,
      name: names[index],
    })),
    ...parametersOf(query, 'query', schemas),
  ];
  return {
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        required: true,
        content: { 'application/json': { schema: schemas.of(body), example: about.body } },
      },
    }),
    ...(route.upload !== undefined && {
      requestBody: { required: true, content: { [route.upload]: { schema: { type: 'string' } } } },
    }),
  };
}

function parametersOf(
  schema: z.ZodType | undefined,
  place: 'path' | 'query',
  schemas: JsonSchemas,
): Json[] {
  if (schema === undefined) return [];
  const { properties, required = [] } = schemas.of(schema) as {
    properties: Record<string, Json>;
    required?: readonly string[];
  };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: required.includes(name),
    schema: withoutDigits(property),
  }));
}

/** A number or a boolean of a parameter, without its form as a text: a parameter is a text. */
function withoutDigits(property: Json): Json {
  const { anyOf = [], ...rest } = property as { anyOf?: readonly Json[] };
  const [first, ...others] = anyOf;
  const isDouble =
    (first?.['type'] === 'integer' && others.every(({ pattern }) => pattern !== undefined)) ||
    first?.['type'] === 'boolean';
  return first !== undefined && isDouble ? { ...first, ...rest } : property;
}

function answersOf(route: Route, schemas: JsonSchemas): Json {
  const { statuses = [200], content, line, meta } = route.about;
  const headers = {
    ...(meta?.shape['next'] && { Link: LINK }),
    ...(needsToken(route) && RATE_REFERENCES),
  };
  const answers = statuses.map((status) => [
    String(status),
    {
      description: STATUS_CODES[status],
      ...(Object.keys(headers).length > 0 && { headers }),
      ...(line && { content: { [LINES_TYPE]: { schema: schemas.of(line) } } }),
      ...(content && {
        content: {
          'application/json': {
            schema: schemas.of(
              z.object({
                meta: z.object({
                  code: z.literal(status),
                  message: z.literal(STATUS_CODES[status] ?? ''),
                  ...meta?.shape,
                }),
                content,
              }),
            ),
          },
        },
      }),
    },
  ]);
  return Object.fromEntries(answers) as Json;
}

/** The errors of a route by their statuses; the responses that they refer to are added to `responses`. */
function refusalsOf(route: Route, responses: Record<string, Json>, schemas: JsonSchemas): Json {
  const hasInput = [route.params, route.query, route.body].some((part) => part !== undefined);
  const refusals: Refusal[] = [
    ...(hasInput ? (['INVALID'] as const) : []),
    ...(route.body ? OF_BODY : []),
    ...(route.upload === undefined ? [] : (['UNSUPPORTED_MEDIA_TYPE'] as const)),
    ...(needsToken(route) ? OF_TOKEN : []),
    ...(route.access === 'server' ? (['FORBIDDEN'] as const) : []),
    ...(route.about.errors ?? []),
    'INTERNAL',
  ];
  const codes = new Map<number, ErrorCode[]>();
  for (const refusal of refusals) {
    const { code, status } =
      typeof refusal === 'string' ? { code: refusal, ...ERRORS[refusal] } : refusal;
    codes.set(status, [...(codes.get(status) ?? []), code]);
  }
  const byStatus = [...codes].map(([status, reasons]) => [String(status), reasons] as const);
  return Object.fromEntries(
    [...byStatus, ['default', OF_HTTP] as const].map(([status, reasons]) => {
      const name = [status, ...reasons].join('.');
      responses[name] ??= responseOf(status, reasons, schemas);
      return [status, { $ref: `#/components/responses/${name}` }];
    }),
  );
}

/** A response with one of these reasons. */
function responseOf(status: string, reasons: readonly ErrorCode[], schemas: JsonSchemas): Json {
  const [first] = reasons;
  const code = status === 'default' && first !== undefined ? ERRORS[first].status : Number(status);
  const headers = {
    ...(reasons.includes('UNAUTHORIZED') && {
      'WWW-Authenticate': { schema: { const: 'Bearer' } },
    }),
    ...(reasons.includes('RATELIMITED') && { 'Retry-After': RETRY_AFTER, ...RATE_REFERENCES }),
  };
  return {
    description: reasons.map((reason) => `\`${reason}\`: ${ERRORS[reason].when}`).join('\n\n'),
    ...(Object.keys(headers).length > 0 && { headers }),
    content: {
      'application/json': {
        schema: {
          allOf: [
            schemas.of(problem),
            { properties: { meta: { properties: { reason: { enum: reasons } } } } },
          ],
        },
        example: { meta: { code, message: STATUS_CODES[code], reason: first }, content: {} },
      },
    },
  };
}
