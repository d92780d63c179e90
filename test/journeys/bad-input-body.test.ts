import { once } from 'node:events';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.js';
import {
  ana,
  ben,
  expectError,
  expectInvalid,
  head,
  HttpLab,
  statusesOf,
  stranger,
  WITH_BODY,
} from '../harness/http-lab.js';

const BODY_BYTES = 131_072;
const TEN_MB = 10 * 1024 * 1024;

let lab: HttpLab;

beforeAll(async () => {
  lab = await HttpLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

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
  ])('is 400 INVALID with %s, and the answer names the field', async (_what, field, value) => {
    expectInvalid(await lab.call('POST', '/rooms', { body: { ...valid, [field]: value } }), field);
  });

  it.each([
    ['the key __proto__', '{"__proto__":{"x":1},"name":"a","level_admin":1,"type":"group"}'],
    ['fields in __proto__ alone', '{"__proto__":{"name":"a","level_admin":1,"type":"group"}}'],
  ])('is 400 INVALID with %s, and the answer names the field', async (_what, body) => {
    expectInvalid(await lab.call('POST', '/rooms', { body }), '__proto__');
    expect(({} as Record<string, unknown>)['name']).toBeUndefined();
  });

  it('is 400 INVALID with a number beyond those of a double', async () => {
    const body = '{"name":"a","level_admin":1e400,"type":"group"}';
    expectInvalid(await lab.call('POST', '/rooms', { body }), 'level_admin');
  });

  it('is answered with the names of all wrong fields at once', async () => {
    const answer = await lab.call('POST', '/rooms', {
      body: { level_admin: -1, type: 1, other: 1 },
    });
    for (const field of ['name', 'level_admin', 'type', 'other']) expectInvalid(answer, field);
  });

  it('may have null for an optional field', async () => {
    const answer = await lab.call('POST', '/rooms', { body: { ...valid, max_entity_rules: null } });
    expect(answer).toMatchObject({ status: 200, content: { room: { max_entity_rules: 10 } } });
  });

  it('may have unusual valid values: 100 emoji, numbers as strings', async () => {
    const name = '🚀'.repeat(100);
    const body = { name, level_admin: '0', type: 'user2user', max_entity_rules: '10000' };
    const answer = await lab.call('POST', '/rooms', { body });
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
  ])('is 400 INVALID with %s, and the answer names the field', async (_what, field, value) => {
    const body = { ...valid, [field]: value };
    expectInvalid(await lab.call('PUT', `/rooms/${lab.room}/members`, { body }), field);
  });

  it('may have null for the unused names of the UUID', async () => {
    const body = { ...valid, userUUID: null, entity_UUID: ben.userUUID, entityUUID: null };
    const answer = await lab.call('PUT', `/rooms/${lab.room}/members`, { body });
    expect(answer).toMatchObject({ status: 200, content: { entity_UUID: ben.userUUID } });
    expectInvalid(
      await lab.call('PUT', `/rooms/${lab.room}/members`, { body: { ...body, entity_UUID: null } }),
      'userUUID',
    );
  });

  it('is answered with the form of a UUID if it has none', async () => {
    const body = { ...valid, userUUID: 'ben' };
    const answer = await lab.call('PUT', `/rooms/${lab.room}/members`, { body });
    expect(answer.meta['detail']).toBe(
      'userUUID must be a UUID: hexadecimal digits, 8-4-4-4-12 of them',
    );
  });

  it('is 400 INVALID with two different UUIDs', async () => {
    const body = { ...valid, entity_UUID: ben.userUUID };
    expectError(await lab.call('PUT', `/rooms/${lab.room}/members`, { body }), 'INVALID');
  });

  it('is 403 OUTRANKED with `a` at a level above the caller’s own', async () => {
    const body = { ...valid, permissions: 'rwa', level: 2_147_483_647 };
    expectError(await lab.call('PUT', `/rooms/${lab.room}/members`, { body }), 'OUTRANKED');
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
  ])('is 400 INVALID with %s, and the answer names the field', async (_what, field, body) => {
    expectInvalid(await lab.call('PUT', `/rooms/${lab.room}/invitation`, { body }), field);
  });
});

describe('the answer to an invitation', () => {
  it('may have null for use_parent_entity', async () => {
    const body = { accepted: true, use_parent_entity: null };
    const answer = await lab.call('PUT', `/rooms/${lab.room}/invitation`, { body });
    expect(answer).toMatchObject({ status: 200, content: { entity_UUID: ana.userUUID } });
  });
});

const TEXTS: [what: string, field: string, body: object][] = [
  ['nothing', 'content', {}],
  ['empty content', 'content', { content: '' }],
  ['null as content', 'content', { content: null }],
  ['a number as content', 'content', { content: 5 }],
  ['content of 8,001 characters', 'content', { content: 'x'.repeat(8_001) }],
  ['content of 8,001 emoji', 'content', { content: '🚀'.repeat(8_001) }],
  ['U+0000 in content', 'content', { content: 'a\0' }],
  ['a lone surrogate in content', 'content', { content: 'a\ud800' }],
  ['a list as data', 'data', { data: [] }],
  ['text as data', 'data', { data: '{}' }],
  ['data of 4,097 bytes', 'data', { data: { a: 'x'.repeat(4_089) } }],
  ['data of 1,400 characters of three bytes', 'data', { data: { a: '語'.repeat(1_400) } }],
  ['data of nine levels', 'data', { data: { a: [[[[[[[[]]]]]]]] } }],
  ['U+0000 in data', 'data', { data: { a: '\0' } }],
  ['U+0000 in a key of data', 'data', { data: { '\0': 1 } }],
  ['an empty ref', 'ref', { content: 'a', ref: '' }],
  ['a ref of 65 characters', 'ref', { content: 'a', ref: 'r'.repeat(65) }],
  ['a number as ref', 'ref', { content: 'a', ref: 1 }],
  ['U+0000 in ref', 'ref', { content: 'a', ref: '\0' }],
  ['an unknown key', 'text', { content: 'a', text: 'b' }],
  ['the name of version 1', 'msg', { msg: 'a' }],
];

describe('the body of POST and PATCH of messages', () => {
  it.each(TEXTS)(
    'is 400 INVALID with %s, and the answer names the field',
    async (_, field, body) => {
      const path = `/rooms/${lab.room}/messages`;
      expectInvalid(await lab.call('POST', path, { body }), field);
      expectInvalid(await lab.call('PATCH', `${path}/${lab.message}`, { body }), field);
    },
  );

  it.each<[string, string, unknown]>([
    ['a reply to 0', 'reply_to', 0],
    ['a reply to -1', 'reply_to', -1],
    ['a reply to 1.5', 'reply_to', 1.5],
    ['a reply to "x"', 'reply_to', 'x'],
    ['a reply beyond all numbers', 'reply_to', 2 ** 53],
    ['a reply in a list', 'reply_to', [1]],
    ['a UUID as mentions', 'mentions', ben.userUUID],
    ['an object as mentions', 'mentions', {}],
    ['21 mentions', 'mentions', Array.from({ length: 21 }, () => ben.userUUID)],
    ['a word among the mentions', 'mentions.1', [ben.userUUID, 'ana']],
    ['null among the mentions', 'mentions.0', [null]],
  ])('is 400 INVALID with %s', async (_what, field, value) => {
    const body = { content: 'a', [field.split('.')[0] ?? '']: value };
    expectInvalid(await lab.call('POST', `/rooms/${lab.room}/messages`, { body }), field);
  });

  it('may have unusual valid values', async () => {
    const body = {
      content: '',
      data: { ['__proto__']: 1, a: '\ud800', b: [[[[[[1]]]]]] },
      reply_to: String(lab.message),
      mentions: [ben.userUUID.toUpperCase()],
      ref: '🚀'.repeat(64),
    };
    const json = JSON.stringify(body).replace('"data":{', '"data":{"__proto__":1,');
    const answer = await lab.call('POST', `/rooms/${lab.room}/messages`, { body: json });
    expect(answer).toMatchObject({
      status: 201,
      content: { reply_to: lab.message, mentions: [ben.userUUID] },
    });
    expect(({} as Record<string, unknown>)['a']).toBeUndefined();
  });
});

describe('the body of PUT /rooms/:id/read', () => {
  it.each<[string, string, object]>([
    ['nothing', 'upto', {}],
    ['an upto of -1', 'upto', { upto: -1 }],
    ['an upto of 0.5', 'upto', { upto: 0.5 }],
    ['an upto of "x"', 'upto', { upto: 'x' }],
    ['an upto of 2^53', 'upto', { upto: 2 ** 53 }],
    ['null as upto', 'upto', { upto: null }],
    ['a number as back', 'back', { upto: 1, back: 1 }],
    ['an unknown key', 'seq', { upto: 1, seq: 1 }],
  ])('is 400 INVALID with %s, and the answer names the field', async (_what, field, body) => {
    expectInvalid(await lab.call('PUT', `/rooms/${lab.room}/read`, { body }), field);
  });
});

describe('the body of PUT /rooms/:id/notify', () => {
  it.each<[string, string, object]>([
    ['nothing', 'level', {}],
    ['another level', 'level', { level: 'some' }],
    ['null as level', 'level', { level: null }],
    ['an unknown key', 'upto', { level: 'all', upto: 1 }],
  ])('is 400 INVALID with %s, and the answer names the field', async (_what, field, body) => {
    expectInvalid(await lab.call('PUT', `/rooms/${lab.room}/notify`, { body }), field);
  });
});

describe('the body of PATCH /rooms/:id and PUT /rooms/:uuid', () => {
  it.each<[string, string, unknown]>([
    ['an empty name', 'name', ''],
    ['a name of 101 characters', 'name', 'x'.repeat(101)],
    ['U+0000 in the name', 'name', 'a\0'],
    ['a level_admin of 1001', 'level_admin', 1_001],
    ['a max_entity_rules of 0', 'max_entity_rules', 0],
    ['text as data', 'data', 'x'],
    ['data of 4,097 bytes', 'data', { a: 'x'.repeat(4_089) }],
    ['data of nine levels', 'data', { a: [[[[[[[[]]]]]]]] }],
    ['U+0000 in data', 'data', { a: '\0' }],
    ['an unknown key', 'Name', 'x'],
  ])('is 400 INVALID with %s, and the answer names the field', async (_what, field, value) => {
    const change = { [field]: value };
    expectInvalid(await lab.call('PATCH', `/rooms/${lab.room}`, { body: change }), field);
    const body = { name: 'a', type: 'group', ...change };
    expectInvalid(await lab.call('PUT', `/rooms/${stranger.userUUID}`, { body }), field);
  });

  it.each<[string, string, unknown]>([
    ['another type', 'type', 'channel'],
    ['rules that are no list', 'rules', {}],
    ['a rule without UUID', 'rules.0.userUUID', [{ permissions: 'r', level: 0 }]],
    ['1,001 rules', 'rules', Array.from({ length: 1_001 }, () => ({}))],
  ])('is 400 INVALID with %s', async (_what, field, value) => {
    const body = { name: 'a', type: 'group', [field.split('.')[0] ?? '']: value };
    expectInvalid(await lab.call('PUT', `/rooms/${stranger.userUUID}`, { body }), field);
  });

  it('is 400 INVALID with the UUID of oneself, or of nobody, for a direct room', async () => {
    for (const userUUID of ['', 'ben', 1, [ben.userUUID], ana.userUUID]) {
      const body = { type: 'user2user', userUUID };
      expectInvalid(await lab.call('POST', '/rooms', { body }), 'userUUID');
    }
  });
});

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
      expectError(await lab.call(method, path(lab), { body }), reason);
    }
  });

  it('is refused in words of our own, whatever value it has', async () => {
    const values = ['text', 'x'.repeat(99), -1, 1.5, true, null, [], ['x'], {}, { a: 1 }];
    for (const [method, path, body] of WITH_BODY) {
      const bodies = Object.keys(body).flatMap((field) =>
        values.map((value) => ({ ...body, [field]: value })),
      );
      for (const wrong of [...values, [[]], [body], ...bodies]) {
        const { status, meta } = await lab.call(method, path(lab), {
          body: JSON.stringify(wrong),
        });
        if (status < 300) continue;
        expect(meta['detail']).toMatch(/^[a-zA-Z_]/);
        // The words of zod.
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
      const answer = await lab.call(method, path(lab), {
        body,
        headers: { 'content-type': type },
      });
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
      const answer = await lab.call(method, path(lab), {
        body,
        headers: { 'content-type': type },
      });
      expect([200, 201]).toContain(answer.status);
    }
  });

  it.each([
    ['gzip', 'text', Buffer.from('{"name":"a"}')],
    ['gzip', 'half of a body', gzipSync('{"name":"a"}').subarray(0, 16)],
    ['gzip', 'nothing', Buffer.alloc(0)],
    ['deflate', 'text', Buffer.from('{"name":"a"}')],
    ['deflate', 'half of a body', deflateSync('{"name":"a"}').subarray(0, 8)],
    ['br', 'text', Buffer.from('{"name":"a"}')],
  ])('with Content-Encoding %s and %s as its content is 400', async (encoding, _what, body) => {
    const answer = await lab.call('POST', '/rooms', {
      body,
      headers: { 'content-encoding': encoding },
    });
    expect(answer.status).toBe(400);
    expect(ERRORS[answer.meta['reason'] as ErrorCode].status).toBe(400);
  });

  it.each(['rot13', 'gzip, gzip', 'constructor', '__proto__', 'utf-8'])(
    'in an unknown encoding is 415: %s',
    async (encoding) => {
      const headers = { 'content-encoding': encoding };
      const answer = await lab.call('POST', '/rooms', { body: '{}', headers });
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
    const answer = await lab.call('POST', '/rooms', { body: encode(json), headers });
    expect(answer).toMatchObject({ status: 200, content: { room: { name } } });
  });

  it('that is damaged behind the limit of its size is 413, and the process goes on', async () => {
    // The first member of the gzip is too large already; the second one is garbage.
    const damage = Buffer.concat([gzipSync('x').subarray(0, 12), Buffer.alloc(100, 9)]);
    for (const length of [150_000, 200_000, 400_000]) {
      const body = Buffer.concat([gzipSync(Buffer.alloc(length, '{"a')), damage]);
      const headers = { 'content-encoding': 'gzip' };
      for (let i = 0; i < 10; i += 1) {
        expectError(await lab.call('POST', '/rooms', { body, headers }), 'TOO_LARGE');
      }
    }
  });

  it('is read at the limit, and is 413 a byte beyond it', async () => {
    const [method, path, valid] = WITH_BODY[0];
    const json = JSON.stringify(valid);
    const atLimit = json + ' '.repeat(BODY_BYTES - json.length);
    expect((await lab.call(method, path(), { body: atLimit })).status).toBe(200);
    expectError(await lab.call(method, path(), { body: `${atLimit} ` }), 'TOO_LARGE');
  });

  it('is 413 if it is small and decodes to 10 MB', async () => {
    const bomb = gzipSync(`{"name":"${'a'.repeat(TEN_MB)}"}`);
    expect(bomb.length).toBeLessThan(BODY_BYTES);
    const answer = await lab.call('POST', '/rooms', {
      body: bomb,
      headers: { 'content-encoding': 'gzip' },
    });
    expectError(answer, 'TOO_LARGE');
  });

  it.each([TEN_MB, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER])(
    'is 413 if its Content-Length is %i and it is never sent',
    async (length) => {
      const socket = await lab.dial();
      socket.write(head('POST', '/rooms', { 'Content-Length': String(length) }));
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      expect(statusesOf(chunk.toString())).toEqual([413]);
      socket.destroy();
    },
  );

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
    'of 10 MB %s is 413, and the connection stays open, or the answer says that it closes',
    async (_what, upload) => {
      // The client writes everything before it reads, with its next request behind the body.
      const heard = await lab.exchange(upload() + head('GET', '/healthz', { Connection: 'close' }));
      const goesOn = !/^connection: close\r$/im.test(heard.slice(0, heard.indexOf('\r\n\r\n')));
      expect(statusesOf(heard)).toEqual(goesOn ? [413, 200] : [413]);
    },
  );

  it('of a route that has none is ignored', async () => {
    for (const body of ['{', 'null', '"x"', '{"a":1}', 'a'.repeat(BODY_BYTES + 1)]) {
      for (const type of ['application/json', 'text/plain']) {
        const headers = { 'content-type': type };
        const call = async (method: string, path: string): Promise<number> =>
          (await lab.call(method, path, { body, headers })).status;
        // The answers are those without a body: there is no such rule.
        expect(await call('DELETE', `/rooms/${lab.room}/members/${stranger.userUUID}`)).toBe(404);
        expect(await call('GET', `/rooms/${lab.room}`)).toBe(200);
        expect([200, 201]).toContain(await call('PUT', `/blocks/${stranger.userUUID}`));
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
