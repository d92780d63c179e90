import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../harness/api.js';
import { alone, eve, messageOf, SocketLab } from '../harness/socket-lab.js';

let lab: SocketLab;

beforeAll(async () => {
  lab = await SocketLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

describe('an unknown type', () => {
  it.each([
    '{}',
    '{"type":""}',
    '{"type":null}',
    '{"type":1}',
    '{"type":true}',
    '{"type":["quit"]}',
    '{"type":{"toString":"quit"}}',
    '{"type":"QUIT"}',
    '{"type":"quit "}',
    '{"type":"message\\u0000"}',
    '{"type":"\\ud800"}',
    '{"type":"__proto__"}',
    '{"type":"constructor"}',
    '{"type":"toString"}',
    '{"type":"hasOwnProperty"}',
    '{"__proto__":{"type":"quit"}}',
    '{"constructor":{"prototype":{"type":"quit"}}}',
    '{"Type":"quit"}',
    '{"data":"READY","type":"status"}',
  ])('is TOKEN? before READY, and COMMAND? after: %s', async (text) => {
    for (const [state, word] of [
      ['greeting', 'TOKEN?'],
      ['lobby', 'COMMAND?'],
      ['room', 'COMMAND?'],
    ] as const) {
      const client = await lab.clientIn(state);
      client.raw(text);
      expect(await client.expect(word)).toMatchObject([{ type: 'query' }]);
      await client.close();
    }
  });
});

describe('a room id', () => {
  it.each<[unknown]>(
    alone([
      '1e3',
      -1,
      '-1',
      0,
      '0',
      -0,
      1.5,
      '1.0',
      '01',
      ' 1',
      '1 ',
      '+1',
      '0x1',
      '1_0',
      '١',
      2_147_483_647,
      2_147_483_648,
      '2147483648',
      1e20,
      '99999999999999999999',
      1e300,
      '9'.repeat(1_000),
      '1; drop table rooms',
      "1' OR '1'='1",
      '%00',
      '\0',
      '1\0',
      '\ud800',
      '../1',
      '',
      null,
      undefined,
      true,
      [],
      [1],
      {},
      { toString: '1' },
      '__proto__',
      'constructor',
    ]),
  )('of %j is NOTAUTHORIZED, and leaves the room selected before', async (room_id) => {
    const client = await lab.clientIn('room');
    client.send({ type: 'select_room', room_id });
    client.say('nobody hears this');
    await client.expect('NOTAUTHORIZED', 'SELECTROOM?');
    client.send({ type: 'select_room', room_id: String(lab.room) });
    await client.expect('CONNECTED');
    await client.close();
  });

  it.each(['1e400', '-1e400', '"\\u0031e3"', '{"__proto__":1}', '[['])(
    'that is written %s is NOTAUTHORIZED, or BADJSON if it is no JSON',
    async (text) => {
      const client = await lab.clientIn('lobby');
      client.raw(`{"type":"select_room","room_id":${text}}`);
      await client.expect(text === '[[' ? 'BADJSON' : 'NOTAUTHORIZED');
      await client.close();
    },
  );

  it('of a room of others is NOTAUTHORIZED, and none of its messages arrive', async () => {
    const client = await lab.clientIn('lobby');
    client.send({ type: 'select_room', room_id: lab.bystanders.room });
    client.send({ type: 'select_room', room_id: lab.bystanders.room, after: 0 });
    client.say('let me in');
    await client.expect('NOTAUTHORIZED', 'NOTAUTHORIZED', 'SELECTROOM?');
    await lab.bystanders.expectServed();
    await client.barrier();
    await client.close();
  });
});

describe('`after`', () => {
  it.each<[unknown]>(
    alone([
      '',
      'x',
      '-1',
      '1e3',
      '1.5',
      ' 1',
      '\0',
      '9'.repeat(17),
      -1,
      0.5,
      1e300,
      -1e300,
      2 ** 53,
      true,
      [],
      [1],
      {},
      { valueOf: 1 },
    ]),
  )('of %j is INVALID with a reason, and no room is selected', async (after) => {
    const client = await lab.clientIn('room');
    client.send({ type: 'select_room', room_id: lab.room, after });
    client.say('nobody hears this');
    const [refused] = await client.expect('INVALID', 'SELECTROOM?');
    expect(refused).toMatchObject({ type: 'status', reason: expect.stringContaining('after') });
    await client.close();
  });

  it('beyond the head is INVALID with a reason, and no room is selected', async () => {
    const client = await lab.clientIn('room');
    client.say('the last one');
    const [echo] = await client.take(1);
    const { seq } = messageOf(echo);
    for (const after of [seq + 1, String(seq + 1), 1e9, Number.MAX_SAFE_INTEGER]) {
      client.send({ type: 'select_room', room_id: lab.room, after });
      client.say('nobody hears this');
      const [refused] = await client.expect('INVALID', 'SELECTROOM?');
      expect(refused).toMatchObject({
        room_id: lab.room,
        reason: expect.stringContaining('after'),
      });
    }
    client.send({ type: 'select_room', room_id: lab.room, after: seq });
    await client.expect('CONNECTED');
    client.send({ type: 'select_room', room_id: lab.room, after: String(seq - 1) });
    await client.expect('CONNECTED');
    expect(await client.messages(1)).toEqual(['the last one']);
    await client.close();
  });
});

describe('a message', () => {
  const invalid: [what: string, fields: object][] = [
    ['no content', {}],
    ['empty content', { content: '' }],
    ['null as content', { content: null }],
    ['a number as content', { content: 5 }],
    ['true as content', { content: true }],
    ['a list as content', { content: ['hi'] }],
    ['an object as content', { content: { toString: 'hi' } }],
    ['8,001 characters', { content: 'x'.repeat(8_001) }],
    ['8,001 emoji', { content: '🚀'.repeat(8_001) }],
    ['60,000 characters', { content: 'x'.repeat(60_000) }],
    ['U+0000', { content: '\0' }],
    ['U+0000 at the end', { content: `${'x'.repeat(100)}\0` }],
    ['a lone high surrogate', { content: 'a\ud83d' }],
    ['a lone low surrogate', { content: '\ude00a' }],
    ['surrogates in the wrong order', { content: '\ude00\ud83d' }],
    ['8,000 lone surrogates', { content: '\ud800'.repeat(8_000) }],
    ['an empty msg', { msg: '' }],
    ['a number as msg', { msg: 5 }],
    ['U+0000 in msg', { msg: 'a\0' }],
    ['a lone surrogate in msg', { msg: '\udc00' }],
    ['8,001 characters in msg', { msg: 'x'.repeat(8_001) }],
    ['an empty ref', { content: 'hi', ref: '' }],
    ['a ref of 65 characters', { content: 'hi', ref: 'r'.repeat(65) }],
    ['a ref of 65 emoji', { content: 'hi', ref: '🚀'.repeat(65) }],
    ['U+0000 in ref', { content: 'hi', ref: 'r\0' }],
    ['a lone surrogate in ref', { content: 'hi', ref: '\ud800' }],
    ['a number as ref', { content: 'hi', ref: 1 }],
    ['a list as ref', { content: 'hi', ref: ['r'] }],
    ['an object as ref', { content: 'hi', ref: {} }],
  ];

  it.each(invalid)('with %s is INVALID with a reason, and is not stored', async (_what, fields) => {
    const client = await lab.clientIn('room');
    client.say('before');
    client.send({ type: 'message', ...fields });
    client.say('after');
    const [before, refused, after] = await client.take(3);
    expect(refused).toMatchObject({
      type: 'status',
      data: 'INVALID',
      reason: expect.stringMatching(/^(content|ref) /),
    });
    expect(messageOf(after).seq).toBe(messageOf(before).seq + 1);
    await client.close();
  });

  it('with content in __proto__ alone is INVALID', async () => {
    const client = await lab.clientIn('room');
    client.raw('{"type":"message","__proto__":{"content":"hi"}}');
    await client.expect('INVALID');
    await client.close();
  });

  it('that is INVALID is answered with its ref, if the ref is valid', async () => {
    const client = await lab.clientIn('room');
    client.send({ type: 'message', content: 'a\0b', ref: 'the-bad-one' });
    expect(await client.expect('INVALID')).toMatchObject([{ ref: 'the-bad-one' }]);
    await client.close();
  });

  it.each(['greeting', 'lobby'] as const)(
    'that is malformed gets the same answer as any other, in the state %s',
    async (state) => {
      const small = invalid.filter(([, fields]) => JSON.stringify(fields).length < 8_000);
      for (const [, fields] of small) {
        const client = await lab.clientIn(state);
        client.send({ type: 'message', ...fields });
        await client.expect(state === 'greeting' ? 'TOKEN?' : 'SELECTROOM?');
        await client.close();
      }
    },
  );

  it.each([
    ['8,000 characters', 'x'.repeat(8_000)],
    ['8,000 emoji', '🚀'.repeat(8_000)],
    ['8,000 control characters', '\u0001'.repeat(8_000)],
    ['line separators', 'a\r\nb\u2028c\u2029d\u0085'],
    ['quotes and backslashes', `'"\\\`$1 $$ ? :name %s {} \\u0000 \\\\`],
    ['SQL', `'); DROP TABLE messages; --`],
    ['marks of directions', '\u202eevil\u202c\u200b\ufeff'],
    ['noncharacters', '\ufffe\uffff\u{10ffff}'],
    ['a message as text', '{"type":"message","data":null}'],
  ])('of %s is unchanged, live and in the history', async (_what, content) => {
    const client = await lab.clientIn('room');
    client.say(content, { ref: content.slice(0, 30) });
    const [echo] = await client.take(1);
    const data = messageOf(echo);
    expect(data).toMatchObject({ content, ref: content.slice(0, 30) });
    await client.close();
    const page = await request(
      lab.node,
      'GET',
      `/rooms/${lab.room}/messages?after=${data.seq - 1}`,
      {
        as: eve,
      },
    );
    expect(page.content).toMatchObject([{ seq: data.seq, content }]);
  });
});
