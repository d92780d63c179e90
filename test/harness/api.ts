import { setTimeout as delay } from 'node:timers/promises';
import { requireDocumented } from './documented.js';
import type { TestNode } from './node.js';
import type { Person } from './tokens.js';

/** Of `requestPatiently`. */
const ATTEMPTS = 20;
const PAUSE_MS = 250;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly meta: {
    readonly code: number;
    readonly message: string;
    readonly reason?: string;
    readonly detail?: string;
    readonly next?: string;
    readonly errors?: readonly { field: string; message: string }[];
  };
  readonly content: unknown;
}

/**
 * One request; every answer must be an envelope whose code is the status, and as the OpenAPI document has it. Lines of JSON
 * are put into one.
 */
export async function request(
  node: Pick<TestNode, 'url'>,
  method: string,
  path: string,
  {
    as,
    body,
    headers = {},
  }: { as?: Person; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const response = await fetch(node.url + path, {
    method,
    headers: {
      ...(as && { Authorization: `Bearer ${as.token}` }),
      ...(body !== undefined && { 'Content-Type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const { meta, content } = await envelopeOf(response);
  if (meta.code !== response.status) throw new Error(`meta.code ${meta.code}, not the status`);
  const { status } = response;
  requireDocumented(method, path, { status, meta, content });
  return { status, headers: response.headers, meta, content };
}

/** As `request`, some times more while Postgres is too busy to answer in time: for what is not the subject of a test. */
export async function requestPatiently(...args: Parameters<typeof request>): Promise<Answer> {
  for (let left = ATTEMPTS; ; left -= 1) {
    const answer = await request(...args);
    if (answer.status !== 503 || left === 1) return answer;
    await delay(PAUSE_MS);
  }
}

async function envelopeOf(response: Response): Promise<Pick<Answer, 'meta' | 'content'>> {
  const text = await response.text();
  if (response.headers.get('content-type') !== 'application/x-ndjson') {
    return JSON.parse(text) as Pick<Answer, 'meta' | 'content'>;
  }
  const content = text.split('\n').filter((line) => line !== '');
  const meta = { code: response.status, message: response.statusText };
  return { meta, content: content.map((line): unknown => JSON.parse(line)) };
}

/** Creates a room as `owner`, who needs a level of 100; returns its id. */
export async function createRoom(
  node: Pick<TestNode, 'url'>,
  owner: Person,
  room: Readonly<Record<string, unknown>> = {},
): Promise<number> {
  const body = { name: 'a room', level_admin: 999, type: 'group', ...room };
  const answer = await requestPatiently(node, 'POST', '/rooms', { as: owner, body });
  if (answer.status !== 200) throw new Error(`no room: ${JSON.stringify(answer.meta)}`);
  return (answer.content as { room: { id: number } }).room.id;
}

/** Sets a rule of a room, as `admin`. */
export function putRule(
  node: Pick<TestNode, 'url'>,
  admin: Person,
  roomId: number,
  rule: ({ userUUID: string } | { entity_UUID: string }) & { permissions: string; level?: number },
): Promise<Answer> {
  return request(node, 'PUT', `/rooms/${roomId}/members`, {
    as: admin,
    body: { level: 0, ...rule },
  });
}
