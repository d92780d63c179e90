import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, secondsFromNow, sign } from '../harness/tokens.js';

const PATIENCE_MS = 20_000;
/** fast-check prints the seed of a failure, and the path to its smallest case. */
const SEED = Number(process.env['PROPERTY_SEED'] ?? 20_260_115);
const RUNS = Number(process.env['PROPERTY_RUNS'] ?? 200);

const ana = person({ levelOnEntity: 999 });
const ben = person();
const mallory = person({ levelOnEntity: 999 });
const friend = person();

let world: ChatWorld;
let node: TestNode;
let address: { host: string; port: number };
/** The room of ana and ben, which no input here may change. */
let quiet: number;
/** The room that mallory owns, and may delete. */
let target: number;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  const { hostname, port } = new URL(node.url);
  address = { host: hostname, port: Number(port) };
  quiet = await createRoom(node, ana);
  await putRule(node, ana, quiet, { userUUID: ben.userUUID, permissions: 'rw' });
  target = await createTarget();
});
afterEach(() => expectServed());
afterAll(() => world.close());

async function createTarget(): Promise<number> {
  const room = await createRoom(node, mallory);
  await putRule(node, mallory, room, { userUUID: friend.userUUID, permissions: 'rw' });
  const client = await ChatClient.enter(node, friend, room);
  client.say('something to read');
  await client.messages(1);
  await client.close();
  return room;
}

/** The server must be ready, and two normal clients must get each other's messages. */
async function expectServed(): Promise<void> {
  expect((await request(node, 'GET', '/readyz')).status).toBe(200);
  const clients = [
    await ChatClient.enter(node, ana, quiet),
    await ChatClient.enter(node, ben, quiet),
  ];
  for (const [i, client] of clients.entries()) {
    client.say(`word ${i}`);
    for (const one of clients) expect(await one.messages(1)).toEqual([`word ${i}`]);
  }
  const history = await request(node, 'GET', `/rooms/${quiet}/messages?limit=2`, { as: ben });
  expect(history.content).toMatchObject([{ content: 'word 0' }, { content: 'word 1' }]);
  for (const client of clients) await client.close();
}

/** Text of any kind: lone surrogates, control characters, special characters of SQL, JSON and JavaScript. */
const anyText = fc.oneof(
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

const anyNumber = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(-1, 0, 1, 1.5, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1, 2 ** 53, 1e20, 1e300, -1e300),
);

const anyValue = fc.oneof(
  { weight: 3, arbitrary: anyText },
  { weight: 3, arbitrary: anyNumber },
  { weight: 1, arbitrary: fc.constantFrom(null, true, false, undefined) },
  { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }) },
);

/** An object whose fields are mostly valid, sometimes invalid, and sometimes missing. */
function mutated(valid: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<object> {
  const fields = Object.entries(valid).map(([key, arbitrary]) => {
    const either = fc.oneof(
      { weight: 4, arbitrary: arbitrary.map((value) => [[key, value]] as const) },
      { weight: 2, arbitrary: anyValue.map((value) => [[key, value]] as const) },
      { weight: 1, arbitrary: fc.constant([] as const) },
    );
    return either;
  });
  const more = fc.option(fc.tuple(anyText, anyValue), { freq: 5 });
  return fc
    .tuple(fc.tuple(...fields), more)
    .map(([given, extra]) => Object.fromEntries([...given.flat(), ...(extra ? [extra] : [])]));
}

const settings = { seed: SEED, endOnFailure: false } as const;

const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'PROPFIND'] as const;

interface RestCall {
  readonly method: string;
  /** `{room}` stands for the current room. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer | undefined;
}

/** Text for a URL: encoded, or unchanged if it has no space. */
const urlText = fc.oneof(
  // Node itself refuses heads of 16 KiB.
  anyText.map((text) => encodeURIComponent(text.slice(0, 500).toWellFormed())),
  fc.string({ maxLength: 10 }).map((text) => text.replaceAll(/[^!-"$->@-~]/g, '%')),
  fc.constantFrom('%', '%zz', '%00', '%E0%A4%A', '%2F', '..', '1%0a', '[]', '1;2'),
);

const paths = fc
  .tuple(
    fc.constantFrom(
      '/rooms',
      '/rooms/all',
      '/rooms/ID',
      '/rooms/ID/members',
      '/rooms/ID/members/UUID',
      '/rooms/ID/invitation',
      '/rooms/ID/messages',
      '/rooms/ID/messages/1',
      '/rooms/ID/messages/4',
      '/rooms/ID/messages/UUID',
      '/rooms/ID/entries',
      '/rooms/ID/read',
      '/rooms/UUID',
      '/me/rooms',
      '/messages',
      '/users',
      '/test/token',
      '/healthz',
      '/readyz',
      '/chat',
      '/ID/UUID',
    ),
    fc.oneof({ weight: 3, arbitrary: fc.constant('{room}') }, { weight: 1, arbitrary: urlText }),
    fc.oneof(fc.constantFrom(friend.userUUID, mallory.userUUID, mallory.entityUUID), urlText),
    fc.constantFrom('', '', '/'),
  )
  .map(
    ([path, id, uuid, slash]) => path.replace('ID', () => id).replace('UUID', () => uuid) + slash,
  );

const dates = fc.oneof(
  fc.date({ noInvalidDate: true }).map((date) => encodeURIComponent(date.toISOString())),
  fc
    .date({ noInvalidDate: true, min: new Date('0000-01-01'), max: new Date('9999-12-31') })
    .map((date) => date.toISOString().slice(0, 10)),
  fc
    .tuple(fc.nat(9_999), fc.nat(13), fc.nat(32))
    .map(([y, m, d]) => `${pad(y, 4)}-${pad(m, 2)}-${pad(d, 2)}`),
  urlText,
);

function pad(value: number, length: number): string {
  return String(value).padStart(length, '0');
}

const queries = fc
  .array(
    fc.oneof(
      fc.tuple(fc.constantFrom('dateFrom', 'dateTo'), dates),
      fc.tuple(
        fc.constantFrom('limit', 'before', 'after', 'offset', 'thread', 'room'),
        fc.oneof(anyNumber.map(String), urlText),
      ),
      fc.tuple(
        fc.constant('timezone'),
        fc.oneof(fc.constantFrom('UTC', 'Asia/Tokyo', 'America/Santiago'), urlText),
      ),
      fc.tuple(fc.constant('accepted'), fc.oneof(fc.constantFrom('true', 'false'), urlText)),
      fc.tuple(fc.constantFrom('q', 'cursor', 'type', 'ids', 'ref'), urlText),
      fc.tuple(urlText, urlText),
    ),
    { maxLength: 4 },
  )
  .map((pairs) => pairs.map(([key, value]) => `${key}=${value}`).join('&'));

const someToken = (claims: object): string =>
  `Bearer ${sign({ ...mallory, exp: secondsFromNow(600), ...claims })}`;

const authorizations = fc.oneof(
  { weight: 6, arbitrary: fc.constant(`Bearer ${mallory.token}`) },
  { weight: 2, arbitrary: fc.constantFrom(`Bearer ${friend.token}`, `Bearer ${ben.token}`) },
  {
    weight: 1,
    arbitrary: fc.oneof(
      fc.constantFrom('', 'Bearer', 'Basic eHg6eHg=', `Bearer ${ana.token.slice(0, -3)}`),
      fc.constantFrom(someToken({ exp: 1 }), someToken({ userUUID: 'x' }), someToken({ exp: 1e9 })),
      fc.string({ maxLength: 30 }).map((text) => `Bearer ${text}`),
    ),
  },
  {
    weight: 1,
    arbitrary: anyNumber
      .filter((value) => Number.isFinite(value))
      .map((levelOnEntity) => someToken({ levelOnEntity })),
  },
);

const jsonBodies = fc
  .oneof(
    mutated({
      name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
      level_admin: fc.nat(1_000),
      type: fc.constantFrom('group', 'user2user'),
    }),
    mutated({
      userUUID: fc.oneof(fc.uuid(), fc.constant(friend.userUUID)),
      permissions: fc.constantFrom('r', 'rw', 'rwa', 'b'),
      level: fc.nat(1_100),
    }),
    mutated({ accepted: fc.boolean(), use_parent_entity: fc.boolean() }),
    mutated({ upto: fc.nat(10), back: fc.boolean() }),
    mutated({
      content: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
      data: fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 })),
      reply_to: fc.nat(10),
      mentions: fc.array(fc.uuid(), { maxLength: 3 }),
      ref: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 }),
    }),
    anyValue,
  )
  .map((value) => JSON.stringify(value) ?? '');

const bodies = fc.oneof(
  { weight: 6, arbitrary: jsonBodies },
  { weight: 1, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: anyText },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.tuple(jsonBodies, fc.nat()).map(([text, at]) => damaged(text, at)) },
);

/** A text without one of its characters. */
function damaged(text: string, at: number): string {
  const cut = text.length === 0 ? 0 : at % text.length;
  return text.slice(0, cut) + text.slice(cut + 1);
}

const restCalls: fc.Arbitrary<RestCall> = fc
  .record({
    method: fc.constantFrom(...METHODS),
    path: paths,
    query: queries,
    authorization: authorizations,
    type: fc.oneof(
      { weight: 8, arbitrary: fc.constant('application/json') },
      { weight: 1, arbitrary: fc.constantFrom('text/plain', '', 'application/json; charset=x') },
    ),
    encoding: fc.oneof(
      { weight: 12, arbitrary: fc.constant('identity') },
      { weight: 1, arbitrary: fc.constantFrom('gzip', 'deflate', 'br', 'x') },
    ),
    body: bodies,
  })
  .map(({ method, path, query, authorization, type, encoding, body }) => ({
    method,
    path: query === '' ? path : `${path}?${query}`,
    headers: {
      authorization,
      ...(body !== undefined && {
        'content-type': type,
        'content-encoding': encoding,
        'content-length': String(Buffer.byteLength(body)),
      }),
    },
    body,
  }));

async function answerTo({ method, path, headers, body }: RestCall): Promise<[number, string]> {
  const outgoing = httpRequest({
    ...address,
    method,
    path: path.replace('{room}', String(target)),
    headers,
    agent: false,
    timeout: PATIENCE_MS,
  });
  outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')));
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
  outgoing.end(body);
  const [response] = await answered;
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return [response.statusCode ?? 0, Buffer.concat(chunks).toString()];
}

describe('any request', () => {
  it('is answered in the envelope, by a status below 500', async () => {
    await fc.assert(
      fc.asyncProperty(restCalls, async (call) => {
        const [status, text] = await answerTo(call);
        expect(status).toBeLessThan(500);
        // Answers without a body.
        if (call.method === 'HEAD' || (call.method === 'OPTIONS' && status < 300)) return;
        const { meta, content } = JSON.parse(text) as { meta: Meta; content: unknown };
        expect(meta.code).toBe(status);
        // An error is a row of the table.
        const row = meta.reason && { status: ERRORS[meta.reason].status, content };
        expect(row).toEqual(status < 400 ? undefined : { status, content: {} });
        const isDeletion = call.method === 'DELETE' && !/members|messages/.test(call.path);
        if (isDeletion && status === 200) target = await createTarget();
      }),
      { ...settings, numRuns: RUNS * 3 },
    );
  });
});

interface Meta {
  readonly code: number;
  readonly reason?: ErrorCode;
}

/** A request as text, of which a part was cut, doubled or replaced. */
const rawRequests = fc
  .tuple(
    fc.constantFrom(
      'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
      `GET /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${mallory.token}\r\n\r\n`,
      `POST /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${mallory.token}\r\n` +
        'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
      `POST /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${mallory.token}\r\n` +
        'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
      'GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    ),
    fc.array(fc.tuple(fc.nat(), fc.nat(20), fc.uint8Array({ maxLength: 8 }), fc.boolean()), {
      minLength: 1,
      maxLength: 4,
    }),
  )
  .map(([text, edits]) =>
    edits.reduce((bytes, [position, length, insert, twice]) => {
      const at = position % (bytes.length + 1);
      const before = bytes.subarray(0, at);
      const after = bytes.subarray(twice ? Math.max(0, at - length) : at + length);
      return Buffer.concat([before, insert, after]);
    }, Buffer.from(text)),
  );

/** Writes bytes, ends its side, and reads until the server has ended its side, too. */
async function exchange(bytes: Buffer): Promise<string> {
  const socket = await dial();
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.end(bytes);
  await closeOf(socket);
  return Buffer.concat(chunks).toString('latin1');
}

async function dial(): Promise<Socket> {
  const socket = connect(address);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

async function closeOf(socket: Socket): Promise<void> {
  const timer = setTimeout(() => {
    socket.destroy(new Error('the server leaves the connection open'));
  }, PATIENCE_MS);
  await new Promise((resolve) => socket.on('close', resolve));
  clearTimeout(timer);
  expect(socket.errored?.message).not.toBe('the server leaves the connection open');
}

describe('any bytes on the port', () => {
  it('are never answered by a status of 500 or more, and end', async () => {
    const bytes = fc.oneof(
      { weight: 4, arbitrary: rawRequests },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((raw) => Buffer.from(raw)) },
    );
    await fc.assert(
      fc.asyncProperty(bytes, async (raw) => {
        expect(await exchange(raw)).not.toMatch(/HTTP\/1\.1 5/);
      }),
      { ...settings, numRuns: RUNS },
    );
  });
});

/** A frame or bytes that a client sends over its socket. */
type Sent =
  | { readonly kind: 'text' | 'binary' | 'fragments'; readonly data: Buffer }
  | { readonly kind: 'ping' | 'pong'; readonly data: Buffer }
  /** Bytes that are written without a frame. */
  | { readonly kind: 'raw'; readonly data: Buffer };

const roomIds = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('{room}', '{room as text}') },
  { weight: 2, arbitrary: anyValue },
);

const commands = fc.oneof(
  {
    weight: 3,
    arbitrary: mutated({
      type: fc.constant('token'),
      content: fc.constantFrom(mallory.token, friend.token, ben.token, someToken({ exp: 1 })),
    }),
  },
  {
    weight: 5,
    arbitrary: mutated({ type: fc.constant('select_room'), room_id: roomIds, after: fc.nat(10) }),
  },
  { weight: 5, arbitrary: mutated({ type: fc.constant('select_room'), room_id: roomIds }) },
  {
    weight: 6,
    arbitrary: mutated({
      type: fc.constant('message'),
      content: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }),
      ref: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 }),
    }),
  },
  { weight: 2, arbitrary: mutated({ type: fc.constant('message'), msg: anyText }) },
  { weight: 2, arbitrary: mutated({ type: anyValue, data: anyValue, seq: anyNumber }) },
  { weight: 1, arbitrary: mutated({ type: fc.constant('quit') }) },
);

const texts = fc.oneof(
  { weight: 12, arbitrary: commands.map((command) => JSON.stringify(command)) },
  { weight: 1, arbitrary: anyValue.map((value) => JSON.stringify(value) ?? '') },
  { weight: 1, arbitrary: anyText.map((text) => text.toWellFormed()) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(commands, fc.nat())
      .map(([command, at]) => damaged(JSON.stringify(command), at).toWellFormed()),
  },
);

const buffers = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));

const frames: fc.Arbitrary<Sent> = fc.oneof(
  {
    weight: 14,
    arbitrary: texts.map((text) => ({ kind: 'text' as const, data: Buffer.from(text) })),
  },
  {
    weight: 2,
    arbitrary: texts.map((text) => ({ kind: 'fragments' as const, data: Buffer.from(text) })),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('text', 'binary', 'ping', 'pong'),
      data: buffers,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('raw'), data: buffers }) },
);

const sessions = fc.record({
  state: fc.constantFrom('greeting', 'lobby', 'room'),
  frames: fc.array(frames, { minLength: 1, maxLength: 12 }),
});

/** The close codes of PROTOCOL.md that a client can cause. */
const CLOSE_CODES = [1000, 1002, 1007, 1009, 4400, 4401];
/** No close frame came: after invalid bytes, the client does not understand the connection, either. */
const NO_CLOSE_FRAME = 1006;

/** Opens a socket, sends all frames, closes; returns the answers. */
async function converse(
  session: typeof sessions extends fc.Arbitrary<infer T> ? T : never,
): Promise<{ code: number; received: ServerFrame[] }> {
  const connection = await dial();
  const client = await ChatClient.open(node.chatUrl, { createConnection: () => connection });
  const received: ServerFrame[] = [];
  client.socket.on('message', (data: Buffer) => {
    received.push(JSON.parse(data.toString()) as ServerFrame);
  });
  if (session.state !== 'greeting') client.send({ type: 'token', content: mallory.token });
  if (session.state === 'room') client.send({ type: 'select_room', room_id: target });
  for (const sent of session.frames) send(client, connection, sent);
  if (session.frames.some(({ kind }) => kind === 'raw')) connection.end();
  else client.send({ type: 'quit' });
  await closeOf(connection);
  return { code: (await client.closed()).code, received };
}

function send(client: ChatClient, connection: Socket, { kind, data }: Sent): void {
  const text = data
    .toString()
    .replace('"{room}"', String(target))
    .replace('"{room as text}"', `"${target}"`);
  const isText = Buffer.from(data.toString()).equals(data);
  const bytes = isText ? Buffer.from(text) : data;
  if (kind === 'ping' || kind === 'pong') client.socket[kind](data);
  else if (kind === 'raw') connection.write(data);
  else if (kind === 'fragments') {
    // A byte each, unless that would be too many writes.
    const size = Math.ceil(bytes.length / 100);
    for (let at = 0; at < bytes.length; at += size) {
      client.raw(bytes.subarray(at, at + size), { binary: false, fin: false });
    }
    client.raw(Buffer.alloc(0), { binary: false, fin: true });
  } else client.raw(bytes, { binary: kind === 'binary' });
}

describe('any frames', () => {
  it('get frames of the protocol, and only its close codes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(sessions, { minLength: 1, maxLength: 3 }), async (together) => {
        const results = await Promise.all(together.map((session) => converse(session)));
        for (const [i, { code, received }] of results.entries()) {
          const isRaw = together[i]?.frames.some(({ kind }) => kind === 'raw');
          expect(isRaw ? [...CLOSE_CODES, NO_CLOSE_FRAME] : CLOSE_CODES).toContain(code);
          for (const { type, data } of received) {
            expect(['query', 'status', 'message']).toContain(type);
            expect(data).not.toBeNull();
            expect(data).toBeDefined();
            expect(data).not.toBe('INTERNAL');
          }
        }
      }),
      { ...settings, numRuns: RUNS },
    );
  });
});
