import fc from 'fast-check';
import { ROUTES } from '../../src/http/routes.js';
import {
  LINES,
  type DocumentedApi,
  type JsonSchema,
  type ServedOperation,
} from '../harness/documented.js';
import { REST_HINTS } from './hints.js';
import { roomFiles } from './room-files.js';
import { brokenValue, validValue } from './schema-values.js';
import { ROLES, type Role } from './stage.js';
import { anyText, anyValue, damaged, deepJson } from './values.js';

/** A request before the words of a stage stand in it. */
export interface GeneratedRequest {
  /** Of the fuzzed nodes. */
  readonly node: number;
  readonly method: string;
  readonly path: string;
  readonly query: readonly (readonly [name: string, value: string])[];
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'PROPFIND', 'TRACE'];

/** Text for a URL: encoded, or unchanged if it has no space. */
const urlTexts = fc.oneof(
  // Node itself refuses heads of 16 KiB.
  anyText.map((text) => encodeURIComponent(text.slice(0, 500).toWellFormed())),
  fc.string({ maxLength: 10 }).map((text) => text.replaceAll(/[^!-"$->@-~]/g, '%')),
  fc.constantFrom('%', '%zz', '%00', '%E0%A4%A', '%2F', '..', '1%0a', '[]', '1;2'),
);

/** Operations of the application's server alone. */
const OF_SERVER = new Set(
  ROUTES.filter(({ access }) => access === 'server').map(({ about }) => about.name),
);

const authorizationsOf = (first: Role): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 20, arbitrary: fc.constant(`Bearer {token of ${first}}`) },
    { weight: 6, arbitrary: fc.constant('Bearer {token of member}') },
    { weight: 6, arbitrary: fc.constantFrom(...ROLES.map((role) => `Bearer {token of ${role}}`)) },
    {
      weight: 2,
      arbitrary: fc.oneof(
        fc.constantFrom('', 'Bearer', 'Basic eHg6eHg=', 'Bearer {token of owner}x'),
        fc.constantFrom('Bearer {old token}', 'Bearer {forged token}', 'Bearer {odd token}'),
        fc.string({ maxLength: 30 }).map((text) => `Bearer ${text}`),
      ),
    },
  );

/** Headers that mean something to HTTP, and some that mean nothing. */
const moreHeaders: fc.Arbitrary<Readonly<Record<string, string>>> = fc.oneof(
  { weight: 12, arbitrary: fc.constant({}) },
  {
    weight: 4,
    arbitrary: fc.constantFrom<Readonly<Record<string, string>>>(
      { accept: 'text/html', 'accept-encoding': 'br, gzip', 'accept-language': '*' },
      { expect: '100-continue' },
      { origin: 'https://app.example', 'access-control-request-method': 'PUT' },
      { range: 'bytes=0-1', 'if-none-match': '*', 'if-modified-since': 'never' },
      { 'x-forwarded-for': "1.2.3.4, '; DROP TABLE rooms; --", forwarded: 'for=_x' },
      { 'x-http-method-override': 'DELETE' },
      { upgrade: 'h2c', connection: 'Upgrade' },
      { cookie: 'a=b; c', te: 'trailers', traceparent: '00-0-0-0' },
    ),
  },
  // These are refused.
  {
    weight: 1,
    arbitrary: fc.constantFrom<Readonly<Record<string, string>>>(
      { expect: 'a pony' },
      { 'x-large': 'x'.repeat(9_000), 'x-larger': 'y'.repeat(9_000) },
    ),
  },
);

const contentTypesOf = (own: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 16, arbitrary: fc.constant(own) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('text/plain', '', 'application/json; charset=x', 'multipart/x'),
    },
  );

const encodings = fc.oneof(
  { weight: 20, arbitrary: fc.constant('identity') },
  { weight: 1, arbitrary: fc.constantFrom('gzip', 'deflate', 'br', 'x') },
);

/** Any sequence of requests to the operations of a document, and some to none. */
export function requestsOf(api: DocumentedApi): fc.Arbitrary<GeneratedRequest[]> {
  // Those without input have less to try.
  const one = fc.oneof(
    ...api.operations.map((served) => ({
      weight:
        1 + (served.operation.parameters?.length ?? 0) + (served.operation.requestBody ? 3 : 0),
      arbitrary: requestOf(served),
    })),
  );
  return fc.array(one, { minLength: 8, maxLength: 20, size: 'max' });
}

function requestOf({
  method,
  template,
  operation,
}: ServedOperation): fc.Arbitrary<GeneratedRequest> {
  const { parameters = [], requestBody } = operation;
  const isUpload = requestBody?.content[LINES] !== undefined;
  const inPath = parameters.filter((parameter) => parameter.in === 'path');
  const inQuery = parameters.filter((parameter) => parameter.in === 'query');
  return fc
    .record({
      node: fc.nat(1),
      method: fc.oneof(
        { weight: 20, arbitrary: fc.constant(method) },
        { weight: 1, arbitrary: fc.constantFrom(...METHODS) },
      ),
      places: fc.tuple(
        ...inPath.map(({ name, schema }) =>
          fc.oneof(
            // The one without messages.
            { weight: isUpload ? 24 : 0, arbitrary: fc.constant('{own room}') },
            { weight: 12, arbitrary: textOf(schema, name).map(encoded) },
            { weight: 1, arbitrary: urlTexts },
          ),
        ),
      ),
      slash: fc.constantFrom('', '', '', '', '/'),
      query: fc.tuple(
        ...inQuery.map(({ name, required, schema }) => queryOf(name, schema, required)),
        fc.oneof(
          { weight: 12, arbitrary: fc.constant(undefined) },
          { weight: 1, arbitrary: fc.tuple(urlTexts, urlTexts) },
        ),
      ),
      authorization: authorizationsOf(OF_SERVER.has(operation.operationId) ? 'server' : 'owner'),
      more: moreHeaders,
      type: contentTypesOf(isUpload ? LINES : 'application/json'),
      encoding: encodings,
      body: isUpload ? roomFiles : bodyOf(requestBody?.content['application/json']?.schema),
    })
    .map(({ node, method, places, slash, query, authorization, more, type, encoding, body }) => ({
      node,
      method,
      path: pathOf(template, places) + slash,
      query: query.filter((pair) => pair !== undefined),
      headers: {
        authorization,
        ...more,
        ...(body !== undefined && { 'content-type': type, 'content-encoding': encoding }),
      },
      body,
    }));
}

function pathOf(template: string, places: readonly string[]): string {
  const left = [...places];
  return template.replaceAll(/\{\w+\}/g, () => left.shift() ?? '');
}

/** A value of a schema as a text in a URL. */
function textOf(schema: JsonSchema, name: string): fc.Arbitrary<string> {
  return validValue(schema, REST_HINTS, name).map(toText);
}

function toText(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return text.slice(0, 2_000).toWellFormed();
}

/** A text of a URL, whose words of the stage are still to be filled in. */
function encoded(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /%7B((?:\w|%20)+)%7D/g,
    (_, name: string) => `{${name.replaceAll('%20', ' ')}}`,
  );
}

function queryOf(
  name: string,
  schema: JsonSchema,
  isRequired: boolean,
): fc.Arbitrary<[string, string] | undefined> {
  const named = (value: string): [string, string] => [name, value];
  return fc.oneof(
    { weight: 6, arbitrary: textOf(schema, name).map(encoded).map(named) },
    { weight: isRequired ? 1 : 0, arbitrary: urlTexts.map(named) },
    {
      weight: 1,
      arbitrary: brokenValue(schema, REST_HINTS).map(toText).map(encoded).map(named),
    },
    { weight: isRequired ? 1 : 10, arbitrary: fc.constant(undefined) },
  );
}

function bodyOf(schema: JsonSchema | undefined): fc.Arbitrary<string | undefined> {
  const nothing = fc.constant(undefined);
  // Routes without a body get one, too.
  if (schema === undefined) {
    return fc.oneof({ weight: 12, arbitrary: nothing }, { weight: 1, arbitrary: anyText });
  }
  const json = (values: fc.Arbitrary<unknown>): fc.Arbitrary<string> =>
    values.map((value) => JSON.stringify(value) ?? '');
  const valid = json(validValue(schema, REST_HINTS));
  return fc.oneof(
    { weight: 16, arbitrary: valid },
    { weight: 6, arbitrary: json(brokenValue(schema, REST_HINTS)) },
    { weight: 1, arbitrary: json(anyValue) },
    { weight: 1, arbitrary: fc.tuple(valid, fc.nat()).map(([text, at]) => damaged(text, at)) },
    { weight: 1, arbitrary: fc.oneof(anyText, deepJson) },
    { weight: 1, arbitrary: nothing },
    // Larger than BODY_BYTES.
    { weight: 1, arbitrary: valid.map((text) => text.padEnd(140_000)) },
  );
}
