import { STATUS_CODES } from 'node:http';
import { ERRORS, type ErrorCode } from '../../src/errors.js';
import {
  LINES,
  pointerOf,
  type DocumentedApi,
  type ServedOperation,
} from '../harness/documented.js';
import { rawRequest, type RawAnswer } from '../harness/raw-request.js';
import { REST_ANSWER_WITHIN_MS } from '../proof/verdict.js';
import type { GeneratedRequest } from './requests.js';
import { fill, type Stage } from './stage.js';

/** What only the inside of the server has: files, statements of SQL, words of Postgres and of libraries. */
const INSIDE =
  /\bat \S+ \(|\.[jt]s:\d+|node_modules|sequelize|\bSELECT\b.+\bFROM\b|\bINSERT INTO\b|relation "|syntax error at|violates \w+ constraint/i;

/** What a client reads of an answer. */
interface Envelope {
  readonly meta: {
    readonly code: number;
    readonly message: string;
    readonly reason?: ErrorCode;
    readonly next?: string;
    readonly detail?: string;
  };
  readonly content: unknown;
}

/** What the requests of a run have shown. */
export interface RestTotals {
  requests: number;
  /** By status, how many answers. */
  readonly statuses: Map<number, number>;
  /** By operation of the document, how many requests it has served without an error. */
  readonly served: Map<string, number>;
  slowestMs: number;
}

interface SentRequest extends Omit<GeneratedRequest, 'path'> {
  /** The path with the query. */
  readonly target: string;
}

interface RestRun {
  readonly api: DocumentedApi;
  readonly urls: readonly string[];
  readonly totals: RestTotals;
}

/** Sends the requests of a run one after the other. Throws if an answer is not as the document has it. */
export async function sendAll(
  generated: readonly GeneratedRequest[],
  stage: Stage,
  run: RestRun,
): Promise<void> {
  const words: Record<string, string | number> = { ...stage.words, cursor: 'none' };
  for (const one of generated) {
    const { path, query, headers, ...rest } = fill(one, words);
    const search = query.map(([name, value]) => `${name}=${value}`).join('&');
    const next = await send(
      {
        ...rest,
        query,
        target: search === '' ? path : `${path}?${search}`,
        // Node's client refuses characters that no header can have.
        headers: Object.fromEntries(
          Object.entries(headers).map(([name, text]) => [name, text.replaceAll(/[^\t -~]/g, '?')]),
        ),
      },
      run,
    );
    const cursor = /[?&]cursor=([^&]+)/.exec(next ?? '')?.[1];
    if (cursor !== undefined) words['cursor'] = decodeURIComponent(cursor);
  }
}

/** Sends one request; returns the next page, if the answer names one. */
async function send(
  request: SentRequest,
  { api, urls, totals }: RestRun,
): Promise<string | undefined> {
  const { node, method, target, headers, body } = request;
  const text = body?.toWellFormed() ?? '';
  const startedAt = performance.now();
  const answer = await rawRequest({ url: urls[node] ?? '' }, target, {
    method,
    // By itself, Node's client has none with a GET.
    headers: {
      ...headers,
      ...(text !== '' && { 'content-length': String(Buffer.byteLength(text)) }),
    },
    body: text,
  });
  const tookMs = performance.now() - startedAt;
  const { status = 0 } = answer;
  totals.requests += 1;
  totals.slowestMs = Math.max(totals.slowestMs, tookMs);
  count(totals.statuses, status);
  try {
    if (tookMs > REST_ANSWER_WITHIN_MS) throw new Error(`it took ${Math.round(tookMs)} ms`);
    const envelope = envelopeOf(method, answer);
    if (envelope === undefined) return undefined;
    checkAnswer(api, request, status, envelope);
    const { operationId } = api.operationOf(method, target)?.operation ?? {};
    if (status < 400 && operationId !== undefined) count(totals.served, operationId);
    return envelope.meta.next;
  } catch (error) {
    const what = `${method} ${target.slice(0, 300)} ${body?.slice(0, 500) ?? ''}`;
    const got = `${status} ${answer.body.toString().slice(0, 1_000)}`;
    throw new Error(`${what}\n  got ${got}\n  ${(error as Error).message}`, { cause: error });
  }
}

function count<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** The envelope of an answer; undefined if it has no body. */
function envelopeOf(
  method: string,
  { status = 0, headers, body }: RawAnswer,
): Envelope | undefined {
  const type = headers['content-type'] ?? '';
  const isBare = method === 'HEAD' || (method === 'OPTIONS' && status < 300);
  if (isBare) {
    if (status >= 500 && status !== 503) throw new Error('a fault of the server');
    return undefined;
  }
  if (type === LINES && status < 300) {
    const lines = body
      .toString()
      .split('\n')
      .filter((line) => line !== '');
    const content = lines.map((line): unknown => JSON.parse(line));
    return { meta: { code: status, message: STATUS_CODES[status] ?? '' }, content };
  }
  if (!type.startsWith('application/json')) throw new Error(`its type is "${type}"`);
  const { meta, content } = JSON.parse(body.toString()) as Envelope;
  if (meta.code !== status) throw new Error('meta.code is not the status');
  if (meta.message !== STATUS_CODES[status]) throw new Error('meta.message is not its name');
  return { meta, content };
}

function checkAnswer(
  api: DocumentedApi,
  request: SentRequest,
  status: number,
  { meta, content }: Envelope,
): void {
  const { method, target } = request;
  if (status >= 500 && meta.reason !== 'UNAVAILABLE') throw new Error('a fault of the server');
  const served = api.operationOf(method, target);
  if (status >= 400) {
    if (meta.reason === undefined || !(meta.reason in ERRORS)) throw new Error('an unknown reason');
    if (INSIDE.test(meta.detail ?? '')) throw new Error('it shows the inside of the server');
    if (served === undefined && status !== ERRORS[meta.reason].status) {
      throw new Error('another status than the table of errors has');
    }
  }
  if (served === undefined) {
    if (status < 400) throw new Error('a request is served that the document does not have');
    return;
  }
  api.requireDocumented(method, target, { status, meta, content });
  if (status < 400) requireAllowed(api, served, request);
}

/** Throws if the document does not allow a request that was served. */
function requireAllowed(
  api: DocumentedApi,
  served: ServedOperation,
  { query, headers, body }: SentRequest,
): void {
  const { parameters = [], requestBody, security = [] } = served.operation;
  const authorization = headers['authorization'] ?? '';
  if (security.length > 0 && !/^Bearer \S+$/i.test(authorization)) {
    throw new Error('it is served without a token');
  }
  for (const [index, { name, required, in: place }] of parameters.entries()) {
    if (place !== 'query') continue;
    const given = query.filter(([key]) => key === name);
    if (given.length === 0 && required) throw new Error(`it is served without ${name}`);
    const isAllowed = api.validatorOf(`${pointerOf(served)}/parameters/${index}/schema`);
    for (const [, value] of given) {
      const text = new URLSearchParams(`v=${value}`).get('v') ?? '';
      if (!meaningsOf(text).some((meaning) => isAllowed(meaning))) {
        throw new Error(`it is served, though the document does not allow ${name}=${value}`);
      }
    }
  }
  // What the lines of an upload may be is not in the document.
  if (requestBody?.content['application/json'] === undefined) return;
  const isAllowed = api.validatorOf(
    `${pointerOf(served)}/requestBody/content/application~1json/schema`,
  );
  if (!isAllowed(JSON.parse(body ?? '{}'))) {
    throw new Error('it is served, though the document does not allow the body');
  }
}

/** A parameter is a text that may stand for a number or a boolean. */
function meaningsOf(text: string): unknown[] {
  return [
    text,
    ...(/^\d+$/.test(text) ? [Number(text)] : []),
    ...(/^(?:true|false)$/.test(text) ? [text === 'true'] : []),
  ];
}
