import { createHmac, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect, type Socket } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.js';
import { createRoom } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { Bystanders } from '../harness/bystanders.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { SECRET, type TestNode } from '../harness/node.js';
import { person, secondsFromNow, sign } from '../harness/tokens.js';

const PATIENCE_MS = 10_000;
const BODY_BYTES = 131_072;
const TEN_MB = 10 * 1024 * 1024;

const ana = person({ levelOnEntity: 999 });
const ben = person();
const stranger = person({ levelOnEntity: 999 });

let world: ChatWorld;
let node: TestNode;
/** A room of ana and ben, with messages. */
let room: number;
let bystanders: Bystanders;

beforeAll(async () => {
  world = await createChatWorld();
  // A query that is never given back, or a connection of an aborted request, is missed soon.
  node = await world.start({ DB_POOL_SIZE: '4' });
  bystanders = await Bystanders.enter(node, ana, ben);
  ({ room } = bystanders);
});
afterEach(() => bystanders.expectServed());
afterAll(async () => {
  await bystanders.close();
  await world.close();
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly content: unknown;
}

interface Call {
  /** Null: no header. */
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is where it is text or bytes, as JSON otherwise. */
  readonly body?: unknown;
}

/** One request on a connection of its own, with the path as it is given. */
async function call(
  method: string,
  path: string,
  { token = ana.token, headers = {}, body }: Call = {},
): Promise<Answer> {
  const bytes =
    body === undefined || typeof body === 'string' || Buffer.isBuffer(body)
      ? body
      : JSON.stringify(body);
  const outgoing = httpRequest({
    ...addressOf(node),
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
  const answered = once(outgoing, 'response') as Promise<[import('node:http').IncomingMessage]>;
  outgoing.end(bytes);
  const [response] = await answered;
  const text = await textOf(response);
  const { meta, content } = JSON.parse(text) as Pick<Answer, 'meta' | 'content'>;
  expect(response.headers['content-type']).toMatch(/^application\/json/);
  return { status: response.statusCode ?? 0, headers: response.headers, meta, content };
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** The whole form of an error: a row of the table, in the envelope, readable from a page. */
function expectError(answer: Answer, reason: ErrorCode): void {
  const { status } = ERRORS[reason];
  expect(answer).toMatchObject({ status, meta: { code: status, reason } });
  expect(answer.content).toEqual({});
  expect(answer.headers['access-control-allow-origin']).toBe('*');
  expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined);
}

function expectInvalid(answer: Answer, field: string): void {
  expectError(answer, 'INVALID');
  expect(answer.meta['errors']).toContainEqual(expect.objectContaining({ field }));
}

function addressOf({ url }: TestNode): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}

/** A connection that keeps its own side open: only the server ends it. */
async function dial(): Promise<Socket> {
  const socket = connect({ ...addressOf(node), allowHalfOpen: true });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** Writes bytes as they are, and reads until the server ends the connection. */
async function exchange(bytes: string | Buffer): Promise<string> {
  const socket = await dial();
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const heard = (): string => Buffer.concat(chunks).toString('latin1');
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`the server leaves the connection open after: ${heard().slice(0, 200)}`));
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

/** The statuses of the answers in what a connection said. */
function statusesOf(heard: string): number[] {
  return [...heard.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

describe('the body of POST /rooms', () => {
  const valid = { name: 'a room', level_admin: 100, type: 'group' };

  it.each<[string, string, unknown]>([
    ['a name with a NUL character', 'name', 'a\0b'],
    ['a name with a lone high surrogate', 'name', 'a\ud800'],
    ['a name with a lone low surrogate', 'name', '\udfffa'],
    ['no name', 'name', undefined],
    ['an empty name', 'name', ''],
    ['a name of 101 characters', 'name', 'x'.repeat(101)],
    ['a name of 101 emoji', 'name', '🚀'.repeat(101)],
    ['a number as name', 'name', 5],
    ['null as name', 'name', null],
    ['a list as name', 'name', ['a room']],
    ['an object as name', 'name', { toString: 'a room' }],
    ['no level_admin', 'level_admin', undefined],
    ['a level_admin of -1', 'level_admin', -1],
    ['a level_admin of "-1"', 'level_admin', '-1'],
    ['a level_admin of 1001', 'level_admin', 1001],
    ['a level_admin of "1001"', 'level_admin', '1001'],
    ['a level_admin of 1.5', 'level_admin', 1.5],
    ['a level_admin of "1e2"', 'level_admin', '1e2'],
    ['a level_admin of "0x10"', 'level_admin', '0x10'],
    ['a level_admin of " 1"', 'level_admin', ' 1'],
    ['a level_admin of Arabic digits', 'level_admin', '١٠٠'],
    ['an empty level_admin', 'level_admin', ''],
    ['a level_admin of twenty nines', 'level_admin', '9'.repeat(20)],
    ['a level_admin of true', 'level_admin', true],
    ['a level_admin of null', 'level_admin', null],
    ['a level_admin in a list', 'level_admin', [100]],
    ['no type', 'type', undefined],
    ['another type', 'type', 'channel'],
    ['a type in capitals', 'type', 'GROUP'],
    ['a number as type', 'type', 1],
    ['a max_entity_rules of 0', 'max_entity_rules', 0],
    ['a max_entity_rules of 10001', 'max_entity_rules', 10_001],
    ['an unknown key', 'nmae', 'a room'],
    ['a key of another casing', 'Name', 'a room'],
    ['the key constructor', 'constructor', { prototype: { name: 'a room' } }],
    ['the key toString', 'toString', 'a room'],
    ['an empty key', '', 'a room'],
  ])('is 400 INVALID with %s, which it names', async (_what, field, value) => {
    expectInvalid(await call('POST', '/rooms', { body: { ...valid, [field]: value } }), field);
  });

  it.each([
    ['the key __proto__', '{"__proto__":{"x":1},"name":"a","level_admin":1,"type":"group"}'],
    ['fields in __proto__ alone', '{"__proto__":{"name":"a","level_admin":1,"type":"group"}}'],
  ])('is 400 INVALID with %s, which it names', async (_what, body) => {
    expectInvalid(await call('POST', '/rooms', { body }), '__proto__');
    expect(({} as Record<string, unknown>)['name']).toBeUndefined();
  });

  it('is 400 INVALID with a number beyond those of a double', async () => {
    const body = '{"name":"a","level_admin":1e400,"type":"group"}';
    expectInvalid(await call('POST', '/rooms', { body }), 'level_admin');
  });

  it('names all fields that are wrong at once', async () => {
    const answer = await call('POST', '/rooms', { body: { level_admin: -1, type: 1, other: 1 } });
    for (const field of ['name', 'level_admin', 'type', 'other']) expectInvalid(answer, field);
  });

  it('takes null for a field that may be left out', async () => {
    const answer = await call('POST', '/rooms', { body: { ...valid, max_entity_rules: null } });
    expect(answer).toMatchObject({ status: 200, content: { room: { max_entity_rules: 10 } } });
  });

  it('takes what is unusual and right: 100 emoji, numbers as strings', async () => {
    const name = '🚀'.repeat(100);
    const body = { name, level_admin: '0', type: 'user2user', max_entity_rules: '10000' };
    const answer = await call('POST', '/rooms', { body });
    expect(answer).toMatchObject({ status: 200, content: { room: { name, level_admin: 0 } } });
  });
});

describe('the body of PUT /rooms/:id/members', () => {
  const valid = { userUUID: stranger.userUUID, permissions: 'rw', level: 1 };

  it.each([
    ['no UUID', 'userUUID', undefined],
    ['an empty UUID', 'userUUID', ''],
    ['a word as UUID', 'userUUID', 'ben'],
    ['a UUID in braces', 'userUUID', `{${ben.userUUID}}`],
    ['a UUID without dashes', 'userUUID', ben.userUUID.replaceAll('-', '')],
    ['a UUID and SQL', 'userUUID', `${ben.userUUID}'; DROP TABLE rooms; --`],
    ['a UUID and NUL', 'userUUID', `${ben.userUUID}\0`],
    ['a UUID and a line feed', 'userUUID', `${ben.userUUID}\n`],
    ['a number as UUID', 'userUUID', 1],
    ['a UUID in a list', 'userUUID', [ben.userUUID]],
    ['a number as entity_UUID', 'entity_UUID', 7],
    ['no permissions', 'permissions', undefined],
    ['empty permissions', 'permissions', ''],
    ['an unknown letter', 'permissions', 'rwx'],
    ['a letter twice', 'permissions', 'rwr'],
    ['capital letters', 'permissions', 'RW'],
    ['a letter and a line feed', 'permissions', 'r\n'],
    ['permissions in a list', 'permissions', ['r', 'w']],
    ['permissions as a number', 'permissions', 6],
    ['no level', 'level', undefined],
    ['a level of -1', 'level', -1],
    ['a level beyond an integer', 'level', 2_147_483_648],
    ['a level beyond an integer, as text', 'level', '2147483648'],
    ['a level of 0.5', 'level', 0.5],
    ['an object as level', 'level', {}],
    ['an unknown key', 'accepted', true],
  ])('is 400 INVALID with %s, which it names', async (_what, field, value) => {
    const body = { ...valid, [field]: value };
    expectInvalid(await call('PUT', `/rooms/${room}/members`, { body }), field);
  });

  it('takes null for a name of the UUID that is not used', async () => {
    const body = { ...valid, userUUID: null, entity_UUID: ben.userUUID, entityUUID: null };
    const answer = await call('PUT', `/rooms/${room}/members`, { body });
    expect(answer).toMatchObject({ status: 200, content: { entity_UUID: ben.userUUID } });
    expectInvalid(
      await call('PUT', `/rooms/${room}/members`, { body: { ...body, entity_UUID: null } }),
      'userUUID',
    );
  });

  it('says what a UUID is', async () => {
    const body = { ...valid, userUUID: 'ben' };
    const answer = await call('PUT', `/rooms/${room}/members`, { body });
    expect(answer.meta['detail']).toBe(
      'userUUID must be a UUID: hexadecimal digits, 8-4-4-4-12 of them',
    );
  });

  it('is 400 INVALID with two different UUIDs', async () => {
    const body = { ...valid, entity_UUID: ben.userUUID };
    expectError(await call('PUT', `/rooms/${room}/members`, { body }), 'INVALID');
  });

  it('is 403 OUTRANKED with `a` at a level above the own', async () => {
    const body = { ...valid, permissions: 'rwa', level: 2_147_483_647 };
    expectError(await call('PUT', `/rooms/${room}/members`, { body }), 'OUTRANKED');
  });
});

describe('the body of PUT /rooms/:id/invitation', () => {
  it.each([
    ['nothing', 'accepted', {}],
    ['a word for accepted', 'accepted', { accepted: 'yes' }],
    ['a number for accepted', 'accepted', { accepted: 1 }],
    ['null for accepted', 'accepted', { accepted: null }],
    ['a list for accepted', 'accepted', { accepted: [true] }],
    [
      'a number for use_parent_entity',
      'use_parent_entity',
      { accepted: true, use_parent_entity: 0 },
    ],
    ['an unknown key', 'level', { accepted: true, level: 999 }],
  ])('is 400 INVALID with %s, which it names', async (_what, field, body) => {
    expectInvalid(await call('PUT', `/rooms/${room}/invitation`, { body }), field);
  });
});

describe('the answer to an invitation', () => {
  it('takes null for use_parent_entity', async () => {
    const body = { accepted: true, use_parent_entity: null };
    const answer = await call('PUT', `/rooms/${room}/invitation`, { body });
    expect(answer).toMatchObject({ status: 200, content: { entity_UUID: ana.userUUID } });
  });
});

/** Routes that read a body, each with one that suits. */
const WITH_BODY = [
  ['POST', () => '/rooms', { name: 'a', level_admin: 1, type: 'group' }],
  ['PUT', () => `/rooms/${room}/members`, { userUUID: ben.userUUID, permissions: 'rw', level: 0 }],
  ['PUT', () => `/rooms/${room}/invitation`, { accepted: true }],
] as const;

describe('any body', () => {
  it.each([
    ['half an object', '{"name":"a"', 'BAD_JSON'],
    ['two objects', '{}{}', 'BAD_JSON'],
    ['JavaScript', "{name:'a'}", 'BAD_JSON'],
    ['a comma too many', '{"name":"a",}', 'BAD_JSON'],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), 'BAD_JSON'],
    ['text of Latin-1', Buffer.from('{"name":"caf\xe9"}', 'latin1'), 'BAD_JSON'],
    ['text of half a character', cut('{"name":"🚀"}', 12), 'BAD_JSON'],
    ['a long form of a character', bytesIn('{"name":"', [0xc1, 0xa1], '"}'), 'BAD_JSON'],
    ['a surrogate as bytes', bytesIn('{"name":"', [0xed, 0xa0, 0x80], '"}'), 'BAD_JSON'],
    ['a character beyond U+10FFFF', bytesIn('{"', [0xf4, 0x90, 0x80, 0x80], '":1}'), 'BAD_JSON'],
    ['two byte order marks', '\ufeff\ufeff{"name":"a"}', 'BAD_JSON'],
    ['UTF-16', Buffer.from('{"name":"a"}', 'utf16le'), 'BAD_JSON'],
    ['a NUL byte', Buffer.from([0]), 'BAD_JSON'],
    ['a form', 'name=a&level_admin=1', 'BAD_JSON'],
    ['text', '"x"', 'BAD_JSON'],
    ['a number', '1', 'BAD_JSON'],
    ['null', 'null', 'BAD_JSON'],
    ['true', 'true', 'BAD_JSON'],
    ['an object that opens 10,000 times', '{"a":'.repeat(10_000), 'BAD_JSON'],
    ['nothing', '', 'INVALID'],
    ['an empty object', '{}', 'INVALID'],
    ['a list', '[]', 'BAD_JSON'],
    ['a list with an object', '[{"name":"a"}]', 'BAD_JSON'],
    ['10,000 nested lists', '['.repeat(10_000) + ']'.repeat(10_000), 'BAD_JSON'],
    ['10,000 nested objects', `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`, 'INVALID'],
    ['5,000 unknown keys', `{${keys(5_000)}}`, 'INVALID'],
  ] as const)('that is %s is 400', async (_what, body, reason) => {
    for (const [method, path] of WITH_BODY) {
      expectError(await call(method, path(), { body }), reason);
    }
  });

  it('is refused in plain words, whatever it is or holds', async () => {
    const values = ['text', 'x'.repeat(99), -1, 1.5, true, null, [], ['x'], {}, { a: 1 }];
    for (const [method, path, body] of WITH_BODY) {
      const bodies = Object.keys(body).flatMap((field) =>
        values.map((value) => ({ ...body, [field]: value })),
      );
      for (const wrong of [...values, [[]], [body], ...bodies]) {
        const { status, meta } = await call(method, path(), { body: JSON.stringify(wrong) });
        if (status === 200) continue;
        expect(meta['detail']).toMatch(/^[a-zA-Z_]/);
        // As the library says it that checks.
        expect(JSON.stringify(meta)).not.toMatch(/invalid input|expected|received/i);
      }
    }
  });

  it.each([
    'text/plain',
    'text/json',
    'text/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/octet-stream',
    'application/jsonx',
    'application/json-seq',
    'json',
    'garbage',
    ';;;',
    '',
    'application/json; charset=latin1',
    'application/json;charset=ISO-8859-1',
    'application/json; charset="windows-1252"',
    'application/json ; Charset = Shift_JIS',
    'application/json; charset=UTF-16',
    'application/json; charset=utf-16le;',
    'application/json; charset=utf-8; charset=utf-7',
    'application/json; charset=',
    'application/json; charset=nonsense',
  ])('of type %j is 415', async (type) => {
    for (const [method, path, body] of WITH_BODY) {
      const answer = await call(method, path(), { body, headers: { 'content-type': type } });
      expectError(answer, 'UNSUPPORTED_MEDIA_TYPE');
    }
  });

  it.each([
    'APPLICATION/JSON',
    'application/json;',
    'application/json; charset=utf-8',
    'application/json;charset=UTF8',
    'application/json; charset="Utf-8"',
    'application/json; charset=us-ascii',
    'application/json; version=1; charset=utf-8',
  ])('of type %j is read', async (type) => {
    for (const [method, path, body] of WITH_BODY) {
      const answer = await call(method, path(), { body, headers: { 'content-type': type } });
      expect(answer.status).toBe(200);
    }
  });

  it.each([
    ['gzip', 'text', Buffer.from('{"name":"a"}')],
    ['gzip', 'half of it', gzipSync('{"name":"a"}').subarray(0, 16)],
    ['gzip', 'nothing', Buffer.alloc(0)],
    ['deflate', 'text', Buffer.from('{"name":"a"}')],
    ['deflate', 'half of it', deflateSync('{"name":"a"}').subarray(0, 8)],
    ['br', 'text', Buffer.from('{"name":"a"}')],
  ])('that claims to be %s and is %s is 400', async (encoding, _what, body) => {
    const answer = await call('POST', '/rooms', {
      body,
      headers: { 'content-encoding': encoding },
    });
    expect(answer.status).toBe(400);
    expect(ERRORS[answer.meta['reason'] as ErrorCode].status).toBe(400);
  });

  it.each(['rot13', 'gzip, gzip', 'constructor', '__proto__', 'utf-8'])(
    'in an encoding that is not known is 415: %s',
    async (encoding) => {
      const headers = { 'content-encoding': encoding };
      const answer = await call('POST', '/rooms', { body: '{}', headers });
      expectError(answer, 'UNSUPPORTED_MEDIA_TYPE');
    },
  );

  it.each([
    ['gzip', gzipSync],
    ['GZIP', gzipSync],
    ['x-gzip', gzipSync],
    ['Deflate', deflateSync],
    ['BR', brotliCompressSync],
    ['Identity', (text: string) => Buffer.from(text)],
  ])('in the encoding %s is read, and its text is kept', async (encoding, encode) => {
    const name = 'café 🚀 \ufffd';
    const json = `\ufeff${JSON.stringify({ ...WITH_BODY[0][2], name })}`;
    const headers = { 'content-encoding': encoding };
    const answer = await call('POST', '/rooms', { body: encode(json), headers });
    expect(answer).toMatchObject({ status: 200, content: { room: { name } } });
  });

  it('in an encoding that is damaged behind more than is read ends nothing', async () => {
    // A second member that is none, behind a first one that is too much already.
    const damage = Buffer.concat([gzipSync('x').subarray(0, 12), Buffer.alloc(100, 9)]);
    for (const length of [150_000, 200_000, 400_000]) {
      const body = Buffer.concat([gzipSync(Buffer.alloc(length, '{"a')), damage]);
      const headers = { 'content-encoding': 'gzip' };
      for (let i = 0; i < 10; i += 1) {
        expectError(await call('POST', '/rooms', { body, headers }), 'TOO_LARGE');
      }
    }
  });

  it('is 413 beyond the limit, by a byte, and is read at the limit', async () => {
    const [method, path, valid] = WITH_BODY[0];
    const json = JSON.stringify(valid);
    const atLimit = json + ' '.repeat(BODY_BYTES - json.length);
    expect((await call(method, path(), { body: atLimit })).status).toBe(200);
    expectError(await call(method, path(), { body: `${atLimit} ` }), 'TOO_LARGE');
  });

  it('is 413 where it is small and grows to 10 MB', async () => {
    const bomb = gzipSync(`{"name":"${'a'.repeat(TEN_MB)}"}`);
    expect(bomb.length).toBeLessThan(BODY_BYTES);
    const answer = await call('POST', '/rooms', {
      body: bomb,
      headers: { 'content-encoding': 'gzip' },
    });
    expectError(answer, 'TOO_LARGE');
  });

  it('is 413 where it is announced with 10 MB and never sent', async () => {
    const socket = await dial();
    socket.write(head('POST', '/rooms', { 'Content-Length': String(TEN_MB) }));
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    expect(statusesOf(chunk.toString())).toEqual([413]);
    socket.destroy();
  });

  it.each([
    [
      'with its length',
      () => head('POST', '/rooms', { 'Content-Length': String(TEN_MB) }) + 'a'.repeat(TEN_MB),
    ],
    [
      'in chunks, without a length',
      () =>
        `${head('POST', '/rooms', { 'Transfer-Encoding': 'chunked' })}${`10000\r\n${'a'.repeat(
          65_536,
        )}\r\n`.repeat(TEN_MB / 65_536)}0\r\n\r\n`,
    ],
  ])(
    'of 10 MB %s is 413, and the connection goes on, or says that it does not',
    async (_what, upload) => {
      // A client that writes all before it reads, and has its next request behind it.
      const heard = await exchange(upload() + head('GET', '/healthz', { Connection: 'close' }));
      const goesOn = !/^connection: close\r$/im.test(heard.slice(0, heard.indexOf('\r\n\r\n')));
      expect(statusesOf(heard)).toEqual(goesOn ? [413, 200] : [413]);
    },
  );

  it('of DELETE is ignored', async () => {
    for (const body of ['{', 'null', '"x"', '{"a":1}', 'a'.repeat(BODY_BYTES + 1)]) {
      for (const type of ['application/json', 'text/plain']) {
        const path = `/rooms/${room}/members/${stranger.userUUID}`;
        const answer = await call('DELETE', path, { body, headers: { 'content-type': type } });
        // As without a body: there is no such rule.
        expectError(answer, 'NOT_FOUND');
      }
    }
  });
});

/** The first bytes of a text, and the end of its JSON. */
function cut(text: string, length: number): Buffer {
  return bytesIn(Buffer.from(text).subarray(0, length), [], '"}');
}

function bytesIn(before: string | Buffer, bytes: number[], behind: string): Buffer {
  return Buffer.concat([Buffer.from(before), Buffer.from(bytes), Buffer.from(behind)]);
}

function keys(count: number): string {
  return Array.from({ length: count }, (_, i) => `"k${i}":1`).join();
}

/** The head of a request by ana, with a JSON body where it has one. */
function head(method: string, path: string, headers: Readonly<Record<string, string>>): string {
  const all = {
    Host: 'localhost',
    Authorization: `Bearer ${ana.token}`,
    'Content-Type': 'application/json',
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** All routes that need a token, with a path that is right. */
function routes(): [method: string, path: string][] {
  return [
    ['POST', '/rooms'],
    ['GET', '/rooms'],
    ['GET', '/rooms/all'],
    ['PUT', `/rooms/${room}/members`],
    ['DELETE', `/rooms/${room}/members/${ben.userUUID}`],
    ['PUT', `/rooms/${room}/invitation`],
    ['DELETE', `/rooms/${room}`],
    ['GET', `/rooms/${room}/messages`],
    ['GET', '/test/token'],
  ];
}

function base64url(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString(
    'base64url',
  );
}

/** A token made by hand: any header, any payload, and an HMAC of the secret unless one is given. */
function forge(header: unknown, payload: unknown, signature?: string): string {
  const signed = `${base64url(header)}.${base64url(payload)}`;
  const hmac = createHmac('sha256', SECRET).update(signed).digest('base64url');
  return `${signed}.${signature ?? hmac}`;
}

describe('the token', () => {
  const HS256 = { alg: 'HS256', typ: 'JWT' };
  const claims = {
    userUUID: ana.userUUID,
    entityUUID: ana.entityUUID,
    levelOnEntity: 999,
    exp: secondsFromNow(600),
  };
  const good = forge(HS256, claims);
  const [goodHeader = '', goodPayload = '', goodSignature = ''] = good.split('.');
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();

  it('of the forger of these tests is accepted where nothing is wrong with it', async () => {
    expect((await call('GET', '/test/token', { token: good })).status).toBe(200);
  });

  it.each([
    ['expired', forge(HS256, { ...claims, exp: secondsFromNow(-60) })],
    ['expired long before the epoch', forge(HS256, { ...claims, exp: -1e300 })],
    ['not valid yet', forge(HS256, { ...claims, nbf: secondsFromNow(60) })],
    ['not signed: alg none, no signature', forge({ alg: 'none' }, claims, '')],
    ['not signed: alg none, a signature', forge({ alg: 'none' }, claims)],
    ['not signed: alg None', forge({ alg: 'None' }, claims, '')],
    ['not signed: alg HS256, no signature', forge(HS256, claims, '')],
    ['of an unknown alg', forge({ alg: 'HS1024' }, claims)],
    ['of no alg', forge({ typ: 'JWT' }, claims)],
    ['of a list as alg', forge({ alg: ['HS256'] }, claims)],
    ['with an extension that is critical', forge({ ...HS256, b64: true, crit: ['b64'] }, claims)],
    ['RS256 with the secret as HMAC key', forge({ alg: 'RS256', typ: 'JWT' }, claims)],
    ['RS256 with a key of its own', sign(claims, privateKey as never, { algorithm: 'RS256' })],
    ['HS256 with a public key as secret', sign(claims, pem)],
    ['signed with another secret', sign(claims, `${SECRET}!`)],
    ['signed with the example of the proof of concept', sign(claims, 'NOTASECRETANYMORE')],
    ['a header and a payload', `${goodHeader}.${goodPayload}`],
    ['a header and a payload and a dot', `${goodHeader}.${goodPayload}.`],
    ['the first half', good.slice(0, good.length / 2)],
    ['the second half', good.slice(good.length / 2)],
    ['a signature that lacks its end', good.slice(0, -4)],
    ['a token and more', `${good}.${goodSignature}`],
    ['two dots', '..'],
    ['one word', 'token'],
    ['another payload under the signature', `${goodHeader}.${base64url({})}.${goodSignature}`],
    ['a header that is not JSON', forge('{', claims)],
    ['a header that is null', forge('null', claims)],
    ['a payload that is not JSON', forge(HS256, '{')],
    ['a payload that is text', forge(HS256, '"admin"')],
    ['a payload that is null', forge(HS256, 'null')],
    ['a payload that is a list', forge(HS256, '[]')],
    ['a payload that is a number', forge(HS256, '1')],
    ['without claims', forge(HS256, {})],
    ['without userUUID', forge(HS256, { ...claims, userUUID: undefined })],
    ['without entityUUID', forge(HS256, { ...claims, entityUUID: undefined })],
    ['with a word as userUUID', forge(HS256, { ...claims, userUUID: 'ana' })],
    ['with a number as userUUID', forge(HS256, { ...claims, userUUID: 1 })],
    ['with a userUUID and SQL', forge(HS256, { ...claims, userUUID: `${ana.userUUID}' OR 1=1` })],
    ['with an empty entityUUID', forge(HS256, { ...claims, entityUUID: '' })],
    ['with claims in __proto__', forge(HS256, `{"__proto__":${JSON.stringify(claims)}}`)],
    ['with a word as level', forge(HS256, { ...claims, levelOnEntity: 'admin' })],
    ['with a list as level', forge(HS256, { ...claims, levelOnEntity: [999] })],
    ['with text as exp', forge(HS256, { ...claims, exp: String(claims.exp) })],
    ['with null as exp', forge(HS256, { ...claims, exp: null })],
    ['with 8 KB of nothing', `${goodHeader}.${'A'.repeat(8_000)}.${goodSignature}`],
  ])('%s is 401, on every route', async (_what, token) => {
    for (const [method, path] of routes()) {
      expectError(await call(method, path, { token, body: {} }), 'UNAUTHORIZED');
    }
  });

  it.each([
    ['empty', ''],
    ['Bearer alone', 'Bearer'],
    ['Bearer and a space', 'Bearer '],
    ['a token without Bearer', good],
    ['Bearer and the token without a space', `Bearer${good}`],
    ['Bearer and two tokens', `Bearer ${good} ${good}`],
    ['two of them in one', `Bearer ${good}, Bearer ${good}`],
    ['Bearer and null', 'Bearer null'],
    ['Bearer and quotes', `Bearer "${good}"`],
    ['Basic', `Basic ${Buffer.from('ana:secret').toString('base64')}`],
    ['Basic and a good token', `Basic ${good}`],
    ['Token', `Token ${good}`],
    ['of Latin-1', 'Bearer \u00e9\u00ff'],
  ])('in a header that is %s is 401', async (_what, authorization) => {
    for (const [method, path] of routes()) {
      const answer = await call(method, path, { token: null, headers: { authorization } });
      expectError(answer, 'UNAUTHORIZED');
    }
  });

  it('is 401 where there is no header, or the token is in the query', async () => {
    for (const [method, path] of routes()) {
      expectError(await call(method, path, { token: null }), 'UNAUTHORIZED');
      const inQuery = `${path}?token=${good}&access_token=${good}`;
      expectError(await call(method, inQuery, { token: null }), 'UNAUTHORIZED');
    }
  });

  it('is the one of the first header, where there are two', async () => {
    const heard = (first: string, second: string): Promise<string> =>
      exchange(
        `GET /test/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
          `Authorization: ${first}\r\nAuthorization: ${second}\r\n\r\n`,
      );
    expect(statusesOf(await heard(`Bearer ${good}`, 'Bearer x'))).toEqual([200]);
    expect(statusesOf(await heard('Bearer x', `Bearer ${good}`))).toEqual([401]);
  });

  it.each([
    ['a fraction', 1.5],
    ['a fraction as text', '100.5'],
    ['beyond an integer', 1e12],
    ['far below zero', -1e300],
    ['almost infinite', 1e308],
    ['400 nines', '9'.repeat(400)],
  ])('with a level that is %s never makes a 500', async (_what, levelOnEntity) => {
    const token = forge(HS256, { ...claims, levelOnEntity });
    const body = { name: 'a', level_admin: 0, type: 'group' };
    expect([200, 403]).toContain((await call('POST', '/rooms', { token, body })).status);
    for (const path of ['/rooms', '/rooms/all', '/test/token', `/rooms/${room}/messages`]) {
      expect((await call('GET', path, { token })).status).toBe(200);
    }
  });
});

const GARBAGE_IDS = [
  '1e3',
  '-1',
  '+1',
  '0',
  '00',
  '01',
  '1.0',
  '0x1',
  '1_000',
  'NaN',
  'null',
  'true',
  '2147483648',
  '99999999999999999999',
  '9'.repeat(1_000),
  '1;%20drop%20table%20rooms',
  "1'%20OR%20'1'='1",
  '%00',
  '1%00',
  '%201',
  '1%0a',
  '..',
  '.',
  '%2e%2e',
  '%2F',
  '1%2F2',
  '..%2f..%2fetc%2fpasswd',
  '%',
  '%zz',
  '%E0%A4%A',
  '%FF',
  '%D9%A1',
  ':id',
  '*',
  '(.*)',
  '__proto__',
  'constructor',
];

describe('a path', () => {
  it.each(GARBAGE_IDS)('with the room id %s is 400 INVALID', async (id) => {
    for (const [method, path] of [
      ['GET', `/rooms/${id}/messages`],
      ['PUT', `/rooms/${id}/members`],
      ['PUT', `/rooms/${id}/invitation`],
      ['DELETE', `/rooms/${id}/members/${ben.userUUID}`],
      ['DELETE', `/rooms/${id}`],
    ] as const) {
      expectInvalid(await call(method, path), 'id');
    }
  });

  it.each(['1', 'ben', '%00', ben.userUUID.slice(1), `${ben.userUUID}0`, `${ben.userUUID}%00`])(
    'with the member %s is 400 INVALID',
    async (uuid) => {
      expectInvalid(await call('DELETE', `/rooms/${room}/members/${uuid}`), 'uuid');
    },
  );

  it('to a room that is not there is 404', async () => {
    const body = { userUUID: ben.userUUID, permissions: 'rw', level: 0 };
    for (const [method, path, what] of [
      ['GET', 'messages', undefined],
      ['PUT', 'members', body],
      ['PUT', 'invitation', { accepted: true }],
      ['DELETE', `members/${ben.userUUID}`, undefined],
      ['DELETE', '', undefined],
    ] as const) {
      const answer = await call(method, `/rooms/2147483647/${path}`, { body: what });
      expectError(answer, 'NOT_FOUND');
    }
  });

  it('to a room of others is 403, and changes nothing', async () => {
    const { token } = stranger;
    const members = `/rooms/${room}/members`;
    const rule = { userUUID: stranger.userUUID, permissions: 'rwa', level: 0 };
    expectError(await call('GET', `/rooms/${room}/messages`, { token }), 'FORBIDDEN');
    expectError(await call('PUT', members, { token, body: rule }), 'FORBIDDEN');
    expectError(await call('DELETE', `${members}/${ben.userUUID}`, { token }), 'FORBIDDEN');
    expectError(await call('DELETE', `/rooms/${room}`, { token }), 'FORBIDDEN');
    // There is no rule to answer for.
    const invitation = { token, body: { accepted: true } };
    expectError(await call('PUT', `/rooms/${room}/invitation`, invitation), 'NOT_FOUND');
    expect((await call('GET', '/rooms/all', { token })).content).toEqual([]);
  });

  it.each([
    '/',
    '//',
    '/room',
    '/roomsall',
    '/rooms/all/all',
    '/rooms/1/messages/1',
    '/rooms/1/members/x/y',
    '/rooms//messages',
    '//rooms',
    '/rooms%2Fall',
    '/./rooms',
    '/../rooms',
    '/rooms/../rooms',
    '/test',
    '/test/token/x',
    '/healthz/x',
    '/chat/x',
    '/chatter',
    '/favicon.ico',
    '/.env',
    '/.git/config',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/%00',
    '/%',
    '/%zz',
    '/%E0%A4%A',
    '/__proto__',
    '/constructor',
    `/${'a'.repeat(8_000)}`,
    '*',
  ])('of nothing is 404, with and without a token: %s', async (path) => {
    expectError(await call('GET', path), 'NOT_FOUND');
    expectError(await call('POST', path, { token: null, body: '{' }), 'NOT_FOUND');
  });

  it.each(['http://[', 'http://[::1', 'http://%zz/rooms'])(
    'that is no path is 400 or 404: %s',
    async (path) => {
      const heard = await exchange(head('GET', path, { Connection: 'close' }));
      expect([[400], [404]]).toContainEqual(statusesOf(heard));
      expect(envelopeIn(heard)).toMatchObject({ meta: { code: statusesOf(heard)[0] } });
    },
  );

  it('is 405 with another method, and Allow says which there are', async () => {
    for (const [path, allowed] of [
      ['/rooms', ['GET', 'HEAD', 'POST']],
      ['/rooms/all', ['GET', 'HEAD']],
      [`/rooms/${room}`, ['DELETE']],
      [`/rooms/${room}/members`, ['PUT']],
      [`/rooms/${room}/members/${ben.userUUID}`, ['DELETE']],
      [`/rooms/${room}/invitation`, ['PUT']],
      [`/rooms/${room}/messages`, ['GET', 'HEAD']],
      ['/test/token', ['GET', 'HEAD']],
      ['/healthz', ['GET', 'HEAD']],
      ['/readyz', ['GET', 'HEAD']],
      ['/chat', ['GET', 'HEAD']],
    ] as const) {
      const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND', 'SEARCH'];
      for (const method of methods) {
        // DELETE /rooms/:id takes `all` for an id.
        if ((allowed as readonly string[]).includes(method)) continue;
        if (path === '/rooms/all' && method === 'DELETE') continue;
        const answer = await call(method, path);
        expectError(answer, 'METHOD_NOT_ALLOWED');
        const allow = answer.headers.allow?.split(/, */) ?? [];
        expect(allow).toEqual(expect.arrayContaining([...allowed]));
        expect(allow).not.toContain(method);
      }
    }
  });

  it('may end in a slash on every route', async () => {
    const answers: [string, string, number, unknown?][] = [
      ['POST', '/rooms', 200, WITH_BODY[0][2]],
      ['GET', '/rooms', 200],
      ['GET', '/rooms/all', 200],
      ['PUT', `/rooms/${room}/members`, 200, WITH_BODY[1][2]],
      ['DELETE', `/rooms/${room}/members/${stranger.userUUID}`, 404],
      ['PUT', `/rooms/${room}/invitation`, 200, WITH_BODY[2][2]],
      ['DELETE', '/rooms/2147483647', 404],
      ['GET', `/rooms/${room}/messages`, 200],
      ['GET', '/test/token', 200],
      ['GET', '/healthz', 200],
      ['GET', '/readyz', 200],
      ['GET', '/chat', 426],
    ];
    for (const [method, path, status, body] of answers) {
      for (const slash of ['', '/']) {
        const answer = await call(method, path + slash, { body });
        expect([method, path + slash, answer.status]).toEqual([method, path + slash, status]);
        // The route's own answer, not that of a path of nothing.
        expect(answer.meta['detail']).not.toEqual(expect.stringContaining('is not served'));
      }
    }
  });
});

describe('CORS', () => {
  it('answers a preflight for any path before authentication', async () => {
    const paths = [...routes().map(([, path]) => path), '/healthz', '/chat', '/nowhere', '/%zz'];
    for (const path of paths) {
      for (const slash of ['', '/']) {
        const heard = await exchange(
          `OPTIONS ${path}${slash} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
            'Origin: https://app.example\r\nAccess-Control-Request-Method: DELETE\r\n' +
            'Access-Control-Request-Headers: authorization,content-type\r\n\r\n',
        );
        expect(statusesOf(heard)).toEqual([204]);
        expect(heard).toMatch(/^access-control-allow-origin: \*\r$/im);
        expect(heard).toMatch(/^access-control-allow-methods: .*\bDELETE\b/im);
        expect(heard).toMatch(/^access-control-allow-headers: .*\bauthorization\b/im);
      }
    }
  });

  it('is on every kind of error', async () => {
    const headers = { origin: 'https://app.example' };
    const body = '{';
    const big = 'x'.repeat(BODY_BYTES + 1);
    const answers: [Answer, ErrorCode][] = [
      [await call('POST', '/rooms', { headers, body }), 'BAD_JSON'],
      [await call('POST', '/rooms', { headers, body: '{}' }), 'INVALID'],
      [await call('GET', '/rooms', { headers, token: null }), 'UNAUTHORIZED'],
      [await call('DELETE', `/rooms/${room}`, { headers, token: stranger.token }), 'FORBIDDEN'],
      [await call('GET', '/nowhere', { headers }), 'NOT_FOUND'],
      [await call('PATCH', '/rooms', { headers }), 'METHOD_NOT_ALLOWED'],
      [await call('POST', '/rooms', { headers, body: big }), 'TOO_LARGE'],
      [
        await call('POST', '/rooms', { headers: { ...headers, 'content-type': 'a/b' }, body }),
        'UNSUPPORTED_MEDIA_TYPE',
      ],
      [await call('GET', '/chat', { headers }), 'UPGRADE_REQUIRED'],
    ];
    for (const [answer, reason] of answers) expectError(answer, reason);
  });
});

describe('a query', () => {
  const history = (query: string): Promise<Answer> =>
    call('GET', `/rooms/${room}/messages?${query}`);

  it.each([
    'limit=0',
    'limit=-1',
    'limit=1001',
    'limit=1e2',
    'limit=1.5',
    'limit=0x10',
    'limit=',
    'limit=%20',
    'limit=ten',
    'limit=%00',
    'limit=%zz',
    'limit=99999999999999999999',
    'limit=1;drop%20table%20rooms',
    'limit=1&limit=2',
    'limit=1&limit=1',
    'before=0',
    'before=-1',
    'before=9007199254740992',
    'before=1&before=2',
    'after=-1',
    'after=NaN',
    'after=9007199254740992',
    'timezone=Mars%2FPhobos',
    'timezone=UTC%2B25',
    'timezone=',
    'timezone=%00',
    'timezone=..%2F..%2Fetc%2Fpasswd',
    'timezone=UTC&timezone=UTC',
    'dateFrom=garbage',
    'dateFrom=',
    'dateFrom=%00',
    'dateFrom=%zz',
    'dateFrom=2026-02-30',
    'dateFrom=2026-13-01',
    'dateFrom=2026-00-10',
    'dateFrom=2026-1-1',
    'dateFrom=20260101',
    'dateFrom=01%2F02%2F2026',
    'dateFrom=2026-W01',
    'dateFrom=2026-001',
    'dateFrom=now',
    'dateFrom=1767225600000',
    'dateFrom=%2B275760-09-13',
    'dateFrom=%2B275760-09-14',
    'dateFrom=-000001-01-01',
    'dateFrom=-271821-04-19',
    'dateFrom=2026-01-01T',
    'dateFrom=2026-01-01T25:00:00',
    'dateFrom=2026-01-01T00:61:00',
    'dateFrom=2026-01-01T00:00:00%2B99:99',
    'dateFrom=2026-01-01T00:00:00Z%00',
    'dateFrom=2026-01-01T00:00:00Z;select%201',
    'dateFrom=2026-01-01&dateFrom=2026-01-02',
    'dateTo=2026-02-29',
    'dateTo=garbage',
  ])('of the history with %s is 400 INVALID, which it names', async (query) => {
    const [field = ''] = query.split('=');
    expectInvalid(await history(query), field);
    // Also where pages are asked for by number.
    if (field.startsWith('date')) expectInvalid(await history(`${query}&limit=5`), field);
  });

  it.each([
    'dateFrom=2026-01-02&dateTo=2026-01-01',
    'dateFrom=2026-01-01T12:00:00Z&dateTo=2026-01-01T11:59:59Z',
    'dateFrom=9999-12-31',
    'dateTo=2000-01-01',
  ])('with dateTo before dateFrom is 400 INVALID: %s', async (query) => {
    expectInvalid(await history(query), 'dateTo');
  });

  it.each([
    'dateFrom=0000-01-01',
    'dateFrom=0000-01-01T00:00:00%2B14:00',
    'dateFrom=0001-01-01&timezone=Asia%2FTokyo',
    'dateFrom=0001-01-01&timezone=Pacific%2FKiritimati',
    'dateFrom=1970-01-01&dateTo=9999-12-31',
    'dateFrom=1970-01-01&dateTo=9999-12-31&timezone=Pacific%2FMidway',
    'dateFrom=1970-01-01&dateTo=9999-12-31T23:59:59.999-12:00',
  ])('at the end of the calendar is answered, whole or 400: %s', async (query) => {
    for (const page of ['', '&limit=5', '&after=0']) {
      const answer = await history(query + page);
      // The messages of this test are in the period.
      const whole = { status: 200, content: expect.arrayContaining([inRoom(room)]) };
      const refused = { status: 400, meta: { reason: 'INVALID' }, content: {} };
      expect(answer).toMatchObject(answer.status === 400 ? refused : whole);
    }
  });

  it.each([
    'dateFrom=0000-01-01&dateTo=0000-12-31',
    'dateFrom=0000-01-01&dateTo=0001-01-01&timezone=Asia%2FTokyo',
    'dateFrom=9999-12-31&dateTo=9999-12-31&timezone=Pacific%2FMidway',
  ])('before or after all messages is answered, empty or 400: %s', async (query) => {
    for (const page of ['', '&limit=5']) {
      const answer = await history(query + page);
      const refused = { status: 400, meta: { reason: 'INVALID' }, content: {} };
      expect(answer).toMatchObject(answer.status === 400 ? refused : { status: 200, content: [] });
    }
  });

  it.each([
    '__proto__=1',
    '__proto__[limit]=x',
    'constructor=1&toString=2&hasOwnProperty=3',
    'limit[]=x',
    'nonsense=1&nonsense=2',
    '%00=%00',
    '=&&==&=x',
    '%zz=%zz',
    'a=%ff%fe',
    `a=${'b'.repeat(6_000)}`,
  ])('with a key that nobody knows is ignored: %s', async (query) => {
    for (const path of [`/rooms/${room}/messages`, '/rooms', '/rooms/all', '/test/token']) {
      expect((await call('GET', `${path}?${query}`)).status).toBe(200);
    }
  });

  it.each([
    'limit=0',
    'limit=1001',
    'limit=1&limit=2',
    'offset=-1',
    'offset=2147483648',
    'offset=1e3',
    'offset=',
    'accepted=yes',
    'accepted=1',
    'accepted=',
    'accepted=TRUE',
    'accepted=true&accepted=true',
  ])('of the rooms with %s is 400 INVALID, which it names', async (query) => {
    const [field = ''] = query.split('=');
    expectInvalid(await call('GET', `/rooms?${query}`), field);
  });
});

function inRoom(id: number): unknown {
  return expect.objectContaining({ room_id: id });
}

/** The envelope that a connection ended with. */
function envelopeIn(heard: string): unknown {
  const body = heard.slice(heard.indexOf('\r\n\r\n') + 4);
  try {
    return JSON.parse(body);
  } catch {
    throw new Error(`no envelope in: ${JSON.stringify(heard)}`);
  }
}

describe('the port', () => {
  it.each([
    ['words', 'hello, is this the chat?\r\n\r\n'],
    ['line feeds', `${'\n'.repeat(10)}x\n\n`],
    ['bytes', Buffer.from(Array.from({ length: 512 }, (_, i) => (i * 7 + 1) % 256))],
    ['NUL bytes', Buffer.alloc(512)],
    ['the hello of TLS', Buffer.from('16030100c8010000c40303', 'hex')],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['another version', 'GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n'],
    ['an unknown method', 'BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a path with a space', 'GET /rooms/1; drop table HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a path of raw UTF-8', 'GET /caf\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a path without a slash', 'GET rooms HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a query without a path', 'GET ?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a header without a name', 'GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n'],
    ['a header without a colon', 'GET /healthz HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n'],
    ['a header with NUL', 'GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n'],
    [
      '20 KB of headers',
      `GET /healthz HTTP/1.1\r\nHost: x\r\n${`X-Y: ${'z'.repeat(990)}\r\n`.repeat(20)}\r\n`,
    ],
    ['a path of 20 KB', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['a negative length', 'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'],
    [
      'two lengths',
      'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    ],
    [
      'a length and chunks',
      'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
  ])('answers %s with 4xx in the envelope, and hangs up', async (_what, bytes) => {
    const heard = await exchange(bytes);
    const [status = 0] = statusesOf(heard);
    expect(Math.floor(status / 100)).toBe(4);
    expect(envelopeIn(heard)).toMatchObject({ meta: { code: status }, content: {} });
  });

  it('answers a request without Host with 400', async () => {
    expect(statusesOf(await exchange('GET /healthz HTTP/1.1\r\n\r\n'))).toEqual([400]);
  });

  it('hangs up on a body whose chunks are garbage', async () => {
    const chunked = head('POST', '/rooms', { 'Transfer-Encoding': 'chunked' });
    for (const chunk of ['zz\r\n{}\r\n', '-1\r\n', 'ffffffffffffffffff\r\n', '1\r\nab']) {
      const statuses = statusesOf(await exchange(chunked + chunk));
      expect(statuses.every((status) => status === 400)).toBe(true);
    }
  });

  it('serves a client that offers an upgrade to HTTP/2, as curl --http2 and Java do', async () => {
    const heard = await exchange(
      'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\n' +
        'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n',
    );
    expect(statusesOf(heard)).toEqual([200]);
  });

  it('serves others while hundreds of requests never end', async () => {
    const halves = [
      'G',
      'GET /rooms HTTP/1.1\r\n',
      `GET /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ana.token}\r\nX: `,
      `${head('POST', '/rooms', { 'Content-Length': '50' })}{"name":`,
      `${head('POST', '/rooms', { 'Transfer-Encoding': 'chunked' })}5\r\n{"n`,
    ];
    const sockets = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const socket = await dial();
        socket.write(halves[i % halves.length] ?? '');
        return socket;
      }),
    );
    expect((await call('GET', '/test/token')).status).toBe(200);
    expect((await call('POST', '/rooms', { body: WITH_BODY[0][2] })).status).toBe(200);
    for (const socket of sockets) socket.destroy();
  });

  it('serves others after clients that go away in the middle of their body', async () => {
    const sockets = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const socket = await dial();
        const length = i % 2 ? { 'Content-Length': '500' } : { 'Transfer-Encoding': 'chunked' };
        socket.write(
          `${head('POST', '/rooms', length)}${i % 2 ? '{"name":' : '8\r\n{"name":\r\n'}`,
        );
        return socket;
      }),
    );
    // One half ends, the other one is cut.
    for (const [i, socket] of sockets.entries()) {
      if (i % 4 < 2) socket.end();
      else socket.resetAndDestroy();
    }
    for (let i = 0; i < 10; i += 1) {
      expect((await call('POST', '/rooms', { body: WITH_BODY[0][2] })).status).toBe(200);
    }
    for (const socket of sockets) socket.destroy();
  });

  it('serves others after clients that go away in the middle of a long history', async () => {
    const long = await createRoom(node, ana);
    const count = 4_000;
    await fillRoom(world.databaseUrl, long, count, 'x'.repeat(4_000));

    // 16 MB are more than the buffers between the two take: each answer is under way when it is dropped.
    const readers = await Promise.all(Array.from({ length: 12 }, () => dial()));
    await Promise.all(
      readers.map(async (socket) => {
        socket.write(head('GET', `/rooms/${long}/messages`, {}));
        const [chunk] = (await once(socket, 'data')) as [Buffer];
        socket.pause();
        expect(statusesOf(chunk.toString())).toEqual([200]);
      }),
    );
    for (const [i, socket] of readers.entries()) {
      if (i % 2) socket.destroy();
      else socket.resetAndDestroy();
    }
    // Three times as many readers as the pool has connections: none was kept.
    for (let i = 0; i < 3; i += 1) {
      const { content } = await call('GET', `/rooms/${long}/messages?limit=1000`);
      expect(content).toHaveLength(1_000);
    }
    const { content } = await call('GET', `/rooms/${long}/messages`);
    expect(content).toHaveLength(count);
  });
});
