import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { expect } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.js';
import { ROUTES } from '../../src/http/routes.js';
import { request as askNode } from './api.js';
import { Bystanders } from './bystanders.js';
import { createChatWorld, type ChatWorld } from './chat-world.js';
import type { TestNode } from './node.js';
import { PATIENCE_MS } from './patience.js';
import { person } from './tokens.js';

export const ana = person({ levelOnEntity: 999 });
export const ben = person();
export const stranger = person({ levelOnEntity: 999 });
const server = person({}, { server: true });

const ROOM_OF_APPLICATION = randomUUID();

/** What is in the paths of requests. */
type Place = Pick<HttpLab, 'room' | 'message'>;

/** Routes that read a body in which something is required, each with a valid one. */
export const WITH_BODY = [
  ['POST', () => '/rooms', { name: 'a', level_admin: 1, type: 'group' }],
  [
    'PUT',
    ({ room }: Place) => `/rooms/${room}/members`,
    { userUUID: ben.userUUID, permissions: 'rw', level: 0 },
  ],
  ['PUT', ({ room }: Place) => `/rooms/${room}/invitation`, { accepted: true }],
  ['PUT', ({ room }: Place) => `/rooms/${room}/read`, { upto: 1 }],
  ['PUT', ({ room }: Place) => `/rooms/${room}/notify`, { level: 'none' }],
  ['PUT', () => `/rooms/${ROOM_OF_APPLICATION}`, { name: 'a', type: 'group' }],
  ['POST', ({ room }: Place) => `/rooms/${room}/messages`, { data: { a: 1 } }],
  ['PATCH', ({ room, message }: Place) => `/rooms/${room}/messages/${message}`, { data: { a: 1 } }],
] as const;

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly content: unknown;
}

interface Call {
  /** Null: no header. */
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is if it is text or bytes, as JSON otherwise. */
  readonly body?: unknown;
}

/** A node whose routes get bad input, while ana and ben are served over their sockets. */
export class HttpLab {
  readonly world: ChatWorld;
  readonly node: TestNode;
  readonly bystanders: Bystanders;
  /** Number of a message of ana in the room. */
  readonly message: number;

  private constructor(world: ChatWorld, node: TestNode, bystanders: Bystanders, message: number) {
    this.world = world;
    this.node = node;
    this.bystanders = bystanders;
    this.message = message;
  }

  static async open(): Promise<HttpLab> {
    const world = await createChatWorld();
    // In a small pool, a connection that an aborted request keeps is missed soon.
    const node = await world.start({ DB_POOL_SIZE: '4', PAGE: 'off' });
    const bystanders = await Bystanders.enter(node, ana, ben);
    // With data alone, which sessions of version 1 are not sent.
    const { content } = await askNode(node, 'POST', `/rooms/${bystanders.room}/messages`, {
      as: ana,
      body: { data: {} },
    });
    return new HttpLab(world, node, bystanders, (content as { seq: number }).seq);
  }

  /** A room of ana and ben, with messages. */
  get room(): number {
    return this.bystanders.room;
  }

  /** One request on a connection of its own, by ana unless a token is given. The path is sent unchanged. */
  async call(
    method: string,
    path: string,
    { token = ana.token, headers = {}, body }: Call = {},
  ): Promise<HttpAnswer> {
    const bytes =
      body === undefined || typeof body === 'string' || Buffer.isBuffer(body)
        ? body
        : JSON.stringify(body);
    const outgoing = request({
      ...addressOf(this.node),
      method,
      path,
      agent: false,
      timeout: PATIENCE_MS,
      headers: {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(bytes !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(bytes),
        }),
        ...headers,
      },
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer to ${method} ${path}`)));
    const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
    outgoing.end(bytes);
    const [response] = await answered;
    const text = await textOf(response);
    const { meta, content } = JSON.parse(text) as Pick<HttpAnswer, 'meta' | 'content'>;
    assert.match(response.headers['content-type'] ?? '', /^application\/json/);
    return { status: response.statusCode ?? 0, headers: response.headers, meta, content };
  }

  /** A connection that keeps its own side open: only the server ends it. */
  async dial(): Promise<Socket> {
    const socket = connect({ ...addressOf(this.node), allowHalfOpen: true });
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  /** Writes bytes as they are, and reads until the server ends the connection. */
  async exchange(bytes: string | Buffer): Promise<string> {
    const socket = await this.dial();
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    const heard = (): string => Buffer.concat(chunks).toString('latin1');
    try {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          reject(
            new Error(`the server leaves the connection open after: ${heard().slice(0, 200)}`),
          );
        }, PATIENCE_MS);
        for (const end of ['end', 'close']) {
          socket.on(end, () => {
            clearTimeout(timer);
            resolve();
          });
        }
        socket.write(bytes);
      });
    } finally {
      socket.destroy();
    }
    return heard();
  }

  /**
   * All routes that need a token, each with a valid path, and with a token that may call it: ana's, or the application's
   * server's. `:id`, `:uuid` or `:seq` may be another one.
   */
  routes(
    given: Readonly<Record<string, string>> = {},
  ): [method: string, path: string, token: string][] {
    const values: Readonly<Record<string, string>> = {
      ':id': String(this.room),
      ':uuid': ben.userUUID,
      ':seq': String(this.message),
      ':report': '1',
      ...given,
    };
    return ROUTES.filter(({ access }) => access === 'token' || access === 'server').map(
      ({ method, path, access }) => [
        method,
        path.replaceAll(/:\w+/g, (name) => values[name] ?? name),
        access === 'server' ? server.token : ana.token,
      ],
    );
  }

  async close(): Promise<void> {
    await this.bystanders.close();
    await this.world.close();
  }
}

/** The head of a request by ana, with a JSON body if it has one. */
export function head(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
): string {
  const all = {
    Host: 'localhost',
    Authorization: `Bearer ${ana.token}`,
    'Content-Type': 'application/json',
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** The whole answer to an error: a row of the table, in the envelope, with CORS headers. */
export function expectError(answer: HttpAnswer, reason: ErrorCode): void {
  const { status } = ERRORS[reason];
  expect(answer).toMatchObject({ status, meta: { code: status, reason } });
  expect(answer.content).toEqual({});
  expect(answer.headers['access-control-allow-origin']).toBe('*');
  expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined);
}

/** A 400 that names the field. */
export function expectInvalid(answer: HttpAnswer, field: string): void {
  expectError(answer, 'INVALID');
  expect(answer.meta['errors']).toContainEqual(expect.objectContaining({ field }));
}

/** The statuses of the answers in the bytes of a connection. */
export function statusesOf(heard: string): number[] {
  return [...heard.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

/** The envelope at the end of the bytes of a connection. */
export function envelopeIn(heard: string): unknown {
  const body = heard.slice(heard.indexOf('\r\n\r\n') + 4);
  try {
    return JSON.parse(body);
  } catch {
    throw new Error(`no envelope in: ${JSON.stringify(heard)}`);
  }
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function addressOf({ url }: TestNode): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}
