import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { Bystanders } from '../harness/bystanders.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { memoryOf } from '../harness/memory.js';
import type { NodeProcess } from '../harness/node-process.js';
import type { TestNode } from '../harness/node.js';
import { person, secondsFromNow, sign } from '../harness/tokens.js';
import {
  CLOSE,
  CONTINUATION,
  FIN,
  frame,
  handshake,
  lengthHeader,
  PING,
  PONG,
  RSV1,
  RSV2,
  RSV3,
  TEXT,
  WsWire,
} from '../harness/ws-wire.js';
import type { MessageData } from '../../src/protocol/events.js';

const PATIENCE_MS = 15_000;
/** Enough for a slow machine. */
const FLOOD_TIMEOUT_MS = 120_000;
const MOST_GROWTH_BYTES = 200 * 1024 * 1024;

const ana = person({ levelOnEntity: 999 });
const ben = person();
const eve = person();

let world: ChatWorld;
let node: TestNode;
/** A room of ana and ben, who talk there after each test. */
let room: number;
/** A room of ana and eve. */
let lab: number;
let bystanders: Bystanders;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  bystanders = await Bystanders.enter(node, ana, ben);
  ({ room } = bystanders);
  lab = await createRoom(node, ana);
  await putRule(node, ana, lab, { userUUID: eve.userUUID, permissions: 'rw' });
});
afterEach(() => bystanders.expectServed());
afterAll(async () => {
  await bystanders.close();
  await world.close();
});

const json = (command: object): Buffer => frame(JSON.stringify(command));
const token = (): Buffer => json({ type: 'token', content: eve.token });
const select = (): Buffer => json({ type: 'select_room', room_id: lab });

/** A client in one of the states of a session. */
async function clientIn(state: 'greeting' | 'lobby' | 'room'): Promise<ChatClient> {
  if (state !== 'greeting') return ChatClient.enter(node, eve, state === 'room' ? lab : undefined);
  const client = await ChatClient.open(node.chatUrl);
  await client.expect('START?');
  return client;
}

/** Rows of one value each, lists too. */
function alone(values: readonly unknown[]): [unknown][] {
  return values.map((value) => [value]);
}

function messageOf(echo: ServerFrame | undefined): MessageData {
  expect(echo?.type).toBe('message');
  return echo?.data as MessageData;
}

const STATES = ['greeting', 'lobby', 'room'] as const;

describe('a frame that is not a JSON object', () => {
  it.each([
    ['words', 'hello'],
    ['nothing', ''],
    ['a space', ' '],
    ['half an object', '{"type":"token"'],
    ['two objects', '{"type":"quit"}{"type":"quit"}'],
    ['an object and more', '{"type":"quit"}]'],
    ['JavaScript', "{type:'quit'}"],
    ['a comma too many', '{"type":"quit",}'],
    ['a list', '[]'],
    ['a list with a command', '[{"type":"quit"}]'],
    ['text', '"quit"'],
    ['a number', '1'],
    ['null', 'null'],
    ['true', 'true'],
    ['undefined', 'undefined'],
    ['NUL', '\0'],
    ['two byte order marks and an object', '\ufeff\ufeff{"type":"quit"}'],
    ['a raw line feed in text', '{"type":"message","content":"a\nb"}'],
    ['1,000 nested lists', '['.repeat(1_000) + ']'.repeat(1_000)],
    ['an object that opens 1,000 times', '{"a":'.repeat(1_000)],
    ['HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['bytes', Buffer.from([0, 1, 2, 253, 254, 255])],
    ['a command in a binary frame', Buffer.from('{"type":"quit"}')],
    ['nothing in a binary frame', Buffer.alloc(0)],
  ])('is BADJSON and closes with 4400 in every state: %s', async (_what, data) => {
    for (const state of STATES) {
      const client = await clientIn(state);
      client.raw(data, { binary: Buffer.isBuffer(data) });
      client.send({ type: 'token', content: eve.token });
      await client.expect('BADJSON');
      // And no answer to what was sent behind it.
      expect(await client.closed()).toEqual({ code: 4400, reason: 'BAD_JSON' });
      expect(client.unread('status')).toEqual([]);
    }
  });
});

describe('bytes that break RFC 6455', () => {
  const announce = (length: number): Buffer =>
    Buffer.concat([lengthHeader(FIN | TEXT, length, true), Buffer.alloc(4)]);
  const closing = (payload: number[]): Buffer =>
    frame(Buffer.from(payload), { first: FIN | CLOSE });
  const bytes = (...payload: number[]): Buffer => frame(Buffer.from(payload));

  it.each([
    ['an unmasked frame', 1002, () => frame('{}', { masked: false })],
    ['an unmasked close', 1002, () => frame('', { first: FIN | CLOSE, masked: false })],
    ['the first reserved bit', 1002, () => frame('{}', { first: FIN | RSV1 | TEXT })],
    ['the second reserved bit', 1002, () => frame('{}', { first: FIN | RSV2 | TEXT })],
    ['the third reserved bit', 1002, () => frame('{}', { first: FIN | RSV3 | TEXT })],
    ['a reserved bit of a ping', 1002, () => frame('', { first: FIN | RSV1 | PING })],
    ['the opcode 3', 1002, () => frame('{}', { first: FIN | 0x3 })],
    ['the opcode 15', 1002, () => frame('{}', { first: FIN | 0xf })],
    ['a continuation of nothing', 1002, () => frame('{}', { first: FIN | CONTINUATION })],
    [
      'a message within a message',
      1002,
      () => Buffer.concat([frame('{', { first: TEXT }), frame('{}')]),
    ],
    ['a ping in fragments', 1002, () => frame('', { first: PING })],
    ['a ping of 126 bytes', 1002, () => frame('p'.repeat(126), { first: FIN | PING })],
    ['a pong of 126 bytes', 1002, () => frame('p'.repeat(126), { first: FIN | PONG })],
    ['a close of one byte', 1002, () => closing([3])],
    ['a close with the code 0', 1002, () => closing([0, 0])],
    ['a close with the code 999', 1002, () => closing([3, 0xe7])],
    ['a close with the code 1005', 1002, () => closing([3, 0xed])],
    ['a close with the code 1006', 1002, () => closing([3, 0xee])],
    ['a close with the code 65535', 1002, () => closing([255, 255])],
    ['a close whose reason is not UTF-8', 1007, () => closing([3, 0xe8, 255])],
    ['text of the byte 255', 1007, () => bytes(255)],
    ['text of a long form of NUL', 1007, () => bytes(0xc0, 0x80)],
    ['text of a surrogate', 1007, () => bytes(0xed, 0xa0, 0x80)],
    ['text of half a character', 1007, () => bytes(0xe2, 0x82)],
    ['text beyond U+10FFFF', 1007, () => bytes(0xf4, 0x90, 0x80, 0x80)],
    [
      'a message whose content is not UTF-8',
      1007,
      () =>
        frame(
          Buffer.concat([
            Buffer.from('{"type":"message","content":"'),
            Buffer.from([0xfe]),
            Buffer.from('"}'),
          ]),
        ),
    ],
    [
      'half a character in each fragment, and no end of it',
      1007,
      () =>
        Buffer.concat([
          frame(Buffer.from([0xf0, 0x9f]), { first: TEXT }),
          frame(Buffer.from([0x9a]), { first: FIN | CONTINUATION }),
        ]),
    ],
    ['a frame that announces 1 MB', 1009, () => announce(1_048_576)],
    ['a frame that announces 2^53 bytes', 1009, () => announce(2 ** 53)],
    [
      'a frame that announces 2^64-1 bytes',
      1009,
      () => Buffer.concat([Buffer.from([FIN | TEXT, 0xff]), Buffer.alloc(12, 255)]),
    ],
    [
      'fragments of 128 KiB',
      1009,
      () =>
        Buffer.concat([
          frame('{', { first: TEXT }),
          ...Array.from({ length: 128 }, () => frame(' '.repeat(1_024), { first: CONTINUATION })),
        ]),
    ],
  ] as const)(
    'close with the code of the RFC, and nothing behind: %s, %d',
    async (_what, code, bad) => {
      for (const before of [[], [token(), json({})], [token(), select(), json({})]]) {
        const wire = await WsWire.open(node);
        wire.write(...before, bad());
        expect(await wire.closeCode()).toBe(code);
        wire.destroy();
      }
    },
  );

  it('are no harm where the connection is cut in the middle of them', async () => {
    const whole = Buffer.concat([token(), select(), json({ type: 'message', content: 'cut' })]);
    for (let length = 1; length < whole.length; length += 13) {
      const wire = await WsWire.open(node);
      wire.write(whole.subarray(0, length));
      if (length % 2) wire.destroy();
      else wire.socket.resetAndDestroy();
    }
    const client = await clientIn('room');
    await expect(client.barrier()).resolves.toBeUndefined();
    await client.close();
  });
});

describe('a large frame', () => {
  const padded = (command: object, bytes: number): string => {
    const text = JSON.stringify({ ...command, pad: '' });
    return `${text.slice(0, -2)}${'x'.repeat(bytes - text.length)}"}`;
  };

  it('of 128 KiB is handled, and of a byte more closes with 1009', async () => {
    const client = await clientIn('room');
    client.raw(padded({ type: 'message', content: 'large' }, 131_072));
    expect(await client.messages(1)).toEqual(['large']);
    client.raw(padded({ type: 'message', content: 'too large' }, 131_073));
    expect(await client.closed()).toMatchObject({ code: 1009 });
    expect(client.unread('message')).toEqual([]);
  });

  it('holds the longest message and ref, escaped as json.dumps of Python does it', async () => {
    const client = await clientIn('room');
    const content = '🚀'.repeat(8_000);
    const ref = '🧩'.repeat(64);
    const text = JSON.stringify({ type: 'message', content, ref }, undefined, 4);
    client.raw(
      text.replaceAll(
        /[\ud800-\udfff]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
      ),
    );
    const [echo, sent] = await client.take(2);
    expect(messageOf(echo)).toMatchObject({ content, ref });
    expect(sent).toMatchObject({ data: 'SENT', ref });
    await client.close();
  });

  it.each(STATES)('of 1 MB closes with 1009, in the state %s', async (state) => {
    const client = await clientIn(state);
    client.raw(padded({ type: 'message', content: 'too large' }, 1_048_576));
    expect(await client.closed()).toMatchObject({ code: 1009 });
  });

  it('of 8 KiB is handled before READY, and of a byte more closes with 1009', async () => {
    const client = await clientIn('greeting');
    client.raw(padded({ type: 'message', content: 'early' }, 8_192));
    await client.expect('TOKEN?');
    client.raw(padded({ type: 'token', content: eve.token }, 8_193));
    client.send({ type: 'token', content: eve.token });
    expect(await client.closed()).toEqual({ code: 1009, reason: 'TOO_BIG' });
    expect(client.unread('status')).toEqual([]);
  });

  it('of 8 KiB in fragments closes with 1009 before READY', async () => {
    const wire = await WsWire.open(node);
    wire.write(frame('{', { first: TEXT }));
    for (let i = 0; i < 8; i += 1) wire.write(frame(' '.repeat(1_024), { first: CONTINUATION }));
    wire.write(frame('}', { first: FIN | CONTINUATION }));
    expect(await wire.closeCode()).toBe(1009);
    wire.destroy();
  });
});

describe('an unusual frame that is right', () => {
  const text = JSON.stringify({ type: 'message', content: 'Häppchen 🧩'.repeat(20) });
  const content = (JSON.parse(text) as { content: string }).content;
  const pieces = Array.from(Buffer.from(text), (byte) => Buffer.from([byte]));

  it('may come in a fragment for each byte, with pings and empty fragments between', async () => {
    const wire = await WsWire.open(node);
    wire.write(token(), select());
    expect(await wire.words(3)).toEqual(['START?', 'READY', 'CONNECTED']);
    wire.write(frame('', { first: TEXT }));
    for (const piece of pieces) {
      wire.write(frame(piece, { first: CONTINUATION }), frame('', { first: CONTINUATION }));
    }
    wire.write(frame('ping?', { first: FIN | PING }), frame('', { first: FIN | CONTINUATION }));
    expect(await wire.next()).toEqual({ opcode: PONG, payload: Buffer.from('ping?') });
    expect(await wire.words(1)).toMatchObject([{ content }]);
    wire.destroy();
  });

  it('may come byte by byte, from the handshake on', async () => {
    const wire = await WsWire.dial(node);
    const whole = Buffer.concat([Buffer.from(handshake()), token(), select(), frame(text)]);
    for (const byte of whole) {
      if (!wire.socket.write(Buffer.from([byte]))) await once(wire.socket, 'drain');
    }
    expect((await wire.answer()).status).toBe(101);
    expect(await wire.words(4)).toMatchObject(['START?', 'READY', 'CONNECTED', { content }]);
    wire.destroy();
  });

  it('may have 10,000 empty fragments, but not 20,000', async () => {
    const empty = Array<Buffer>(10_000).fill(frame('', { first: CONTINUATION }));
    const wire = await WsWire.open(node);
    wire.write(token(), select(), frame('', { first: TEXT }), ...empty);
    wire.write(frame(text, { first: FIN | CONTINUATION }));
    expect(await wire.words(4)).toMatchObject(['START?', 'READY', 'CONNECTED', { content }]);
    wire.write(frame('', { first: TEXT }), ...empty, ...empty);
    expect(await wire.closeCode()).toBe(1008);
    wire.destroy();
  });

  it('may hold keys that nobody knows, 10,000 levels deep', async () => {
    const client = await clientIn('room');
    const deep = '['.repeat(10_000) + ']'.repeat(10_000);
    client.raw(
      `{"type":"message","content":"deep","x":${deep},"":1,"toString":1,"constructor":{"a":1},` +
        `"__proto__":{"content":"evil","ref":"evil"},"room_id":{},"after":"x","data":null}`,
    );
    const [echo] = await client.take(1);
    expect(echo?.data).toMatchObject({ content: 'deep', room_id: lab });
    expect(echo?.data).not.toHaveProperty('ref');
    client.raw(`{"type":${deep}}`);
    await client.expect('COMMAND?');
    expect(({} as Record<string, unknown>)['content']).toBeUndefined();
    await client.close();
  });

  it('may begin with a byte order mark, and have null for what it leaves out', async () => {
    const client = await clientIn('greeting');
    const fields = (command: object): string => `\ufeff${JSON.stringify(command)}`;
    client.raw(fields({ type: 'token', content: eve.token }));
    await client.expect('READY');
    client.raw(fields({ type: 'select_room', room_id: lab, after: null }));
    await client.expect('CONNECTED');
    client.raw(fields({ type: 'message', content: 'marked', ref: null, msg: null }));
    expect(await client.messages(1)).toEqual(['marked']);
    await client.close();
  });

  it('may hold a key twice: the last one counts', async () => {
    const client = await clientIn('room');
    client.raw('{"type":"quit","type":"message","content":1,"content":"last"}');
    expect(await client.messages(1)).toEqual(['last']);
    await client.close();
  });
});

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
      const client = await clientIn(state);
      client.raw(text);
      expect(await client.expect(word)).toMatchObject([{ type: 'query' }]);
      await client.close();
    }
  });
});

describe('a token', () => {
  const bad = (): unknown[] => [
    '',
    'token',
    eve.token.slice(0, -10),
    eve.token.split('.').slice(0, 2).join('.'),
    `Bearer ${eve.token}`,
    ` ${eve.token}`,
    `${eve.token}\0`,
    '\0',
    '\ud800',
    sign({ ...eve, exp: secondsFromNow(-60) }),
    sign({ ...eve, exp: secondsFromNow(60) }, 'another secret'),
    sign({ ...eve, userUUID: 'eve' }),
    sign({}),
    'a'.repeat(8_000),
    undefined,
    null,
    1,
    true,
    [eve.token],
    { token: eve.token },
    { toString: eve.token },
  ];

  it('that is bad is BADAUTH with a reason, and may be followed by a good one', async () => {
    for (const content of bad()) {
      const client = await clientIn('greeting');
      client.send({ type: 'token', content });
      const [refused] = await client.expect('BADAUTH');
      expect(refused).toMatchObject({ type: 'status', reason: expect.any(String) as string });
      client.send({ type: 'token', content: eve.token });
      await client.expect('READY');
      await client.close();
    }
  });

  it.each([
    ['three bad tokens', ['token', 'token', 'token']],
    ['three commands', ['select_room', 'message', 'nonsense']],
    ['tokens and commands', ['token', 'nonsense', 'token']],
  ])('is asked for twice; at the third refusal the socket closes: %s', async (_what, types) => {
    const client = await clientIn('greeting');
    for (const type of types) client.send({ type, content: 'x', room_id: lab });
    // Too late.
    client.send({ type: 'token', content: eve.token });
    await client.expect(...types.map((type) => (type === 'token' ? 'BADAUTH' : 'TOKEN?')));
    expect(await client.closed()).toEqual({ code: 4401, reason: 'TOKEN' });
    expect(client.unread('status')).toEqual([]);
  });

  it('that is bad in the upgrade counts as a refusal', async () => {
    const client = await ChatClient.open(node.chatUrl, { headers: { authorization: 'Bearer x' } });
    client.send({ type: 'nonsense' });
    client.send({ type: 'token', content: 'x' });
    await client.expect('START?', 'BADAUTH', 'TOKEN?', 'BADAUTH');
    expect(await client.closed()).toMatchObject({ code: 4401 });
  });

  it('that is bad after READY is BADAUTH, changes nothing, and never closes', async () => {
    const client = await clientIn('room');
    const contents = bad();
    for (const content of contents) client.send({ type: 'token', content });
    await client.expect(...contents.map(() => 'BADAUTH'));
    client.say('still me');
    expect((await client.take(1))[0]?.data).toMatchObject({ emitter: eve.userUUID });
    await client.close();
  });

  it('that expires closes with 4401, in a room as well as outside', async () => {
    // Accepted within the leeway of five seconds, of which two to three are left: enough for the
    // sockets to open on a busy machine.
    const expiring = sign({ ...eve, exp: secondsFromNow(-2) });
    const sockets = await Promise.all(
      [[], [{ type: 'select_room', room_id: lab }]].map(async (commands) => {
        const client = await ChatClient.open(node.chatUrl);
        client.send({ type: 'token', content: expiring });
        for (const command of commands) client.send(command);
        await client.expect('START?', 'READY', ...commands.map(() => 'CONNECTED'));
        return client;
      }),
    );
    for (const client of sockets) {
      expect(await client.closed()).toEqual({ code: 4401, reason: 'TOKEN' });
    }
  });

  it('may say that it never ends', async () => {
    for (const claims of [{ exp: 1e15 }, { exp: Number.MAX_SAFE_INTEGER }, {}]) {
      const who = { ...eve, token: sign({ ...eve, ...claims }) };
      const client = await ChatClient.enter(node, who, lab);
      await expect(client.barrier()).resolves.toBeUndefined();
      await client.close();
    }
  });

  it.each([
    ['fraction', 1.5],
    ['number beyond an integer', 1e12],
    ['number far below zero', -1e300],
    ['number of 400 digits', '9'.repeat(400)],
  ])('may hold a level that is a %s', async (_what, levelOnEntity) => {
    const who = { ...eve, token: sign({ ...eve, levelOnEntity }) };
    const client = await ChatClient.enter(node, who, lab);
    client.say('at some level');
    expect(await client.messages(1)).toEqual(['at some level']);
    await client.close();
  });
});

describe('a socket without a token in time', () => {
  let impatient: TestNode;

  beforeAll(async () => {
    impatient = await world.start({ AUTH_TIMEOUT_MS: '300' });
  });
  afterAll(() => impatient.close());

  it.each([
    ['says nothing', (): Buffer => Buffer.alloc(0)],
    ['has sent half a token', () => token().subarray(0, 50)],
    ['has sent a fragment', () => frame('{', { first: TEXT })],
    [
      'has sent pings',
      () => Buffer.concat(Array<Buffer>(20).fill(frame('', { first: FIN | PING }))),
    ],
    ['has been refused twice', () => Buffer.concat([json({}), json({})])],
    ['has sent a bad token', () => json({ type: 'token', content: 'x' })],
  ])('is closed with 4408 where it %s', async (_what, bytes) => {
    const wire = await WsWire.open(impatient);
    wire.write(bytes());
    expect(await wire.closeCode()).toBe(4408);
    wire.destroy();
  });

  it('is closed with 4408 where it sends its token byte by byte, slowly', async () => {
    const wire = await WsWire.open(impatient);
    const bytes = token();
    let at = 0;
    const drip = setInterval(() => wire.write(bytes.subarray(at, ++at)), 20);
    expect(await wire.closeCode()).toBe(4408);
    clearInterval(drip);
    wire.destroy();
  });

  it('stays where it was in time', async () => {
    const late = await WsWire.open(impatient);
    const client = await ChatClient.enter(impatient, eve, lab);
    // The one without is gone by then.
    expect(await late.closeCode()).toBe(4408);
    await client.barrier();
    await client.close();
    late.destroy();
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
    const client = await clientIn('room');
    client.send({ type: 'select_room', room_id });
    client.say('nobody hears this');
    await client.expect('NOTAUTHORIZED', 'SELECTROOM?');
    client.send({ type: 'select_room', room_id: String(lab) });
    await client.expect('CONNECTED');
    await client.close();
  });

  it.each(['1e400', '-1e400', '"\\u0031e3"', '{"__proto__":1}', '[['])(
    'that is written %s is NOTAUTHORIZED, or BADJSON where it is no JSON',
    async (text) => {
      const client = await clientIn('lobby');
      client.raw(`{"type":"select_room","room_id":${text}}`);
      await client.expect(text === '[[' ? 'BADJSON' : 'NOTAUTHORIZED');
      await client.close();
    },
  );

  it('of a room of others is NOTAUTHORIZED, and nothing of it is heard', async () => {
    const client = await clientIn('lobby');
    client.send({ type: 'select_room', room_id: room });
    client.send({ type: 'select_room', room_id: room, after: 0 });
    client.say('let me in');
    await client.expect('NOTAUTHORIZED', 'NOTAUTHORIZED', 'SELECTROOM?');
    await bystanders.expectServed();
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
    const client = await clientIn('room');
    client.send({ type: 'select_room', room_id: lab, after });
    client.say('nobody hears this');
    const [refused] = await client.expect('INVALID', 'SELECTROOM?');
    expect(refused).toMatchObject({ type: 'status', reason: expect.stringContaining('after') });
    await client.close();
  });

  it('beyond the head is INVALID with a reason, and no room is selected', async () => {
    const client = await clientIn('room');
    client.say('the last one');
    const [echo] = await client.take(1);
    const { seq } = messageOf(echo);
    for (const after of [seq + 1, String(seq + 1), 1e9, Number.MAX_SAFE_INTEGER]) {
      client.send({ type: 'select_room', room_id: lab, after });
      client.say('nobody hears this');
      const [refused] = await client.expect('INVALID', 'SELECTROOM?');
      expect(refused).toMatchObject({ room_id: lab, reason: expect.stringContaining('after') });
    }
    client.send({ type: 'select_room', room_id: lab, after: seq });
    await client.expect('CONNECTED');
    client.send({ type: 'select_room', room_id: lab, after: String(seq - 1) });
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
    const client = await clientIn('room');
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
    const client = await clientIn('room');
    client.raw('{"type":"message","__proto__":{"content":"hi"}}');
    await client.expect('INVALID');
    await client.close();
  });

  it('that is INVALID is named by its ref, where that is right', async () => {
    const client = await clientIn('room');
    client.send({ type: 'message', content: 'a\0b', ref: 'the-bad-one' });
    expect(await client.expect('INVALID')).toMatchObject([{ ref: 'the-bad-one' }]);
    await client.close();
  });

  it.each(['greeting', 'lobby'] as const)(
    'that is malformed gets the same answer as any other, in the state %s',
    async (state) => {
      const small = invalid.filter(([, fields]) => JSON.stringify(fields).length < 8_000);
      for (const [, fields] of small) {
        const client = await clientIn(state);
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
    ['what ends lines elsewhere', 'a\r\nb\u2028c\u2029d\u0085'],
    ['quotes and backslashes', `'"\\\`$1 $$ ? :name %s {} \\u0000 \\\\`],
    ['SQL', `'); DROP TABLE messages; --`],
    ['what marks directions', '\u202eevil\u202c\u200b\ufeff'],
    ['noncharacters', '\ufffe\uffff\u{10ffff}'],
    ['a message as text', '{"type":"message","data":null}'],
  ])('of %s comes back as it was, live and from the history', async (_what, content) => {
    const client = await clientIn('room');
    client.say(content, { ref: content.slice(0, 30) });
    const [echo] = await client.take(1);
    const data = messageOf(echo);
    expect(data).toMatchObject({ content, ref: content.slice(0, 30) });
    await client.close();
    const page = await request(node, 'GET', `/rooms/${lab}/messages?after=${data.seq - 1}`, {
      as: eve,
    });
    expect(page.content).toMatchObject([{ seq: data.seq, content }]);
  });
});

describe('an upgrade', () => {
  it.each([
    '/',
    '/chat/x',
    '/chat//',
    '/CHAT',
    '/chats',
    '/rooms',
    '/healthz',
    '/%63hat',
    '/chat%00',
    '/../chat',
    '*',
    '/?/chat',
    `/${'a'.repeat(8_000)}`,
  ])('at another path is 404 in the envelope: %s', async (path) => {
    const wire = await WsWire.dial(node);
    wire.write(handshake({ path }));
    const heard = await wire.rest();
    expect(heard).toMatch(/^HTTP\/1\.1 404 /);
    expect(JSON.parse(heard.slice(heard.indexOf('\r\n\r\n') + 4))).toEqual({
      meta: expect.objectContaining({ code: 404, reason: 'NOT_FOUND' }) as object,
      content: {},
    });
    wire.destroy();
  });

  it.each([
    ['no key', { headers: { 'Sec-WebSocket-Key': '' } }],
    ['a key that is none', { headers: { 'Sec-WebSocket-Key': 'x' } }],
    ['no version', { headers: { 'Sec-WebSocket-Version': '' } }],
    ['version 0', { headers: { 'Sec-WebSocket-Version': '0' } }],
    ['version garbage', { headers: { 'Sec-WebSocket-Version': '13abc' } }],
    ['a subprotocol that is no word', { headers: { 'Sec-WebSocket-Protocol': '@,,' } }],
    ['another method', { method: 'POST', headers: { 'Content-Length': '0' } }],
  ])('with %s is refused with 4xx, and the connection ends', async (_what, wrong) => {
    const wire = await WsWire.dial(node);
    wire.write(handshake(wrong));
    expect(await wire.rest()).toMatch(/^HTTP\/1\.1 4\d\d /);
    wire.destroy();
  });

  it.each([
    ['a query', { path: '/chat?room=1&__proto__=2&%zz' }],
    ['a slash at the end', { path: '/chat/' }],
    ['garbage for extensions', { headers: { 'Sec-WebSocket-Extensions': 'garbage; a=b, c' } }],
    ['compression', { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } }],
    ['garbage for authorization', { headers: { Authorization: 'Basic eHg6eHg=' } }],
    ['garbage for an origin', { headers: { Origin: 'null' } }],
    ['garbage for cookies', { headers: { Cookie: '=;;=\u00ff' } }],
  ])('with %s is taken', async (_what, given) => {
    const wire = await WsWire.dial(node);
    wire.write(handshake(given));
    const { status, headers } = await wire.answer();
    expect(status).toBe(101);
    expect(headers).not.toHaveProperty('sec-websocket-extensions');
    expect(await wire.words(1)).toEqual(['START?']);
    wire.destroy();
  });

  it('that is none is 426 in the envelope', async () => {
    const answer = await request(node, 'GET', '/chat');
    expect(answer).toMatchObject({ status: 426, meta: { reason: 'UPGRADE_REQUIRED' } });
    expect(answer.headers.get('Upgrade')).toBe('websocket');
  });

  it('that never ends keeps nobody out, nor the server up', async () => {
    const other = await world.start({ SHUTDOWN_TIMEOUT_MS: '2000' });
    const part = handshake();
    const wires = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const wire = await WsWire.dial(other);
        wire.write(part.slice(0, (i * 7) % (part.length - 2)));
        return wire;
      }),
    );
    const client = await ChatClient.enter(other, eve, lab);
    await client.barrier();
    await client.close();
    await expect(withinPatience(other.close())).resolves.toBeUndefined();
    for (const wire of wires) wire.destroy();
  });

  it('that is refused leaves no connection behind, also where the client keeps its side', async () => {
    const other = await world.start();
    const wires = await Promise.all(
      [{ path: '/nowhere' }, { headers: { 'Sec-WebSocket-Key': '' } }].map(async (wrong) => {
        const wire = await WsWire.dial(other);
        wire.write(handshake(wrong));
        await wire.rest();
        return wire;
      }),
    );
    try {
      // It ends when its last connection has.
      await expect(withinPatience(other.close())).resolves.toBeUndefined();
    } finally {
      for (const wire of wires) wire.destroy();
    }
  });

  it('that is taken leaves no connection behind, also where the client does not answer a close', async () => {
    const other = await world.start({ AUTH_TIMEOUT_MS: '300' });
    const wires = await Promise.all(Array.from({ length: 3 }, () => WsWire.open(other)));
    wires[0]?.write(json({ type: 'quit' }));
    wires[1]?.write(frame('{}', { masked: false }));
    for (const wire of wires) {
      // Each is told; none answers.
      for (let next = await wire.next(); next?.opcode !== CLOSE; next = await wire.next()) {
        expect(next?.opcode).toBe(TEXT);
      }
    }
    try {
      await expect(withinPatience(other.close())).resolves.toBeUndefined();
    } finally {
      for (const wire of wires) wire.destroy();
    }
  });
});

async function withinPatience(done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('the server did not close'));
    }, PATIENCE_MS);
  });
  await Promise.race([done, late]);
  clearTimeout(timer);
}

describe('a flood', () => {
  let target: NodeProcess;
  /** Where ana and ben talk meanwhile. */
  let corner: number;

  beforeAll(async () => {
    corner = await createRoom(node, ana);
    await putRule(node, ana, corner, { userUUID: ben.userUUID, permissions: 'rw' });
    // Nothing but answers is to come.
    target = await world.startProcess({ PING_INTERVAL_MS: '3600000' });
  });
  afterAll(async () => {
    const code = await target.end('SIGTERM');
    if (code !== 0) throw new Error(`the server ended with ${code}: ${target.program.stderr()}`);
  });

  /** Watches the memory until it is asked by how much it grew at most. */
  function watchMemory(): () => number {
    const memory = (): number => memoryOf(target.pid).now;
    const before = memory();
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, memory());
    }, 25);
    return () => {
      clearInterval(timer);
      return Math.max(most, memory()) - before;
    };
  }

  /** Two people who talk until `done`, and find each other's every word. */
  async function talkUntil(done: () => boolean, rounds = 0): Promise<void> {
    const [here, there] = await Promise.all([
      ChatClient.enter(target, ana, corner),
      ChatClient.enter(target, ben, corner),
    ]);
    for (let i = 0; i < rounds || !done(); i += 1) {
      here.say(`round ${i}`);
      for (const client of [here, there]) expect(await client.messages(1)).toEqual([`round ${i}`]);
    }
    await Promise.all([here.close(), there.close()]);
  }

  /**
   * Writes frames as fast as the server takes them, and reads no answer, until nothing has moved for some
   * rounds of others' talk. What the server has not taken by then it is offered further on.
   * @returns how many frames it has taken
   */
  async function pour(wire: WsWire, one: Buffer, count: number, rounds = 100): Promise<number> {
    const size = 10_000;
    const block = Buffer.concat(Array<Buffer>(size).fill(one));
    let taken = 0;
    const offer = (): void => {
      wire.socket.write(block, (error) => {
        if (error) return;
        taken += size;
        if (taken < count) offer();
      });
    };
    wire.socket.pause();
    offer();
    let before = -1;
    let still = 0;
    await talkUntil(() => {
      still = taken === before ? still + 1 : 0;
      before = taken;
      return still > rounds;
    });
    return taken;
  }

  it(
    'of 300,000 tiny frames grows no heap, is answered in full, and slows nobody down to nothing',
    { timeout: FLOOD_TIMEOUT_MS },
    async () => {
      // 10 MB of answers are more than the buffers between the two take.
      const count = 300_000;
      const wire = await WsWire.open(target);
      wire.write(token());
      expect(await wire.words(2)).toEqual(['START?', 'READY']);
      await talkUntil(() => true, 20);
      const growth = watchMemory();

      wire.socket.removeAllListeners('data');
      await pour(wire, frame('{}'), count);

      // Each answer is the same: their bytes are one pattern.
      const answer = frame('{"type":"query","data":"COMMAND?"}', { masked: false });
      const pattern = Buffer.concat(Array<Buffer>(4_096).fill(answer));
      let received = 0;
      let differs = false;
      const all = new Promise<void>((resolve) => {
        wire.socket.on('data', (chunk: Buffer) => {
          for (let at = 0; at < chunk.length;) {
            const offset = received % answer.length;
            const length = Math.min(chunk.length - at, pattern.length - offset);
            differs ||= chunk.compare(pattern, offset, offset + length, at, at + length) !== 0;
            received += length;
            at += length;
          }
          if (differs || received >= count * answer.length) resolve();
        });
      });
      let isAll = false;
      void all.then(() => {
        isAll = true;
      });
      wire.socket.resume();
      await talkUntil(() => isAll, 20);
      await all;
      expect(differs).toBe(false);
      expect(received).toBe(count * answer.length);
      expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
      wire.destroy();
    },
  );

  it(
    'of a million frames before READY is closed at the third',
    { timeout: FLOOD_TIMEOUT_MS },
    async () => {
      const growth = watchMemory();
      const wire = await WsWire.open(target);
      const block = Buffer.concat(Array<Buffer>(10_000).fill(frame('{}')));
      for (let i = 0; i < 100; i += 1) wire.socket.write(block);
      expect(await wire.words(4)).toEqual(['START?', 'TOKEN?', 'TOKEN?', 'TOKEN?']);
      const close = await wire.next();
      expect([close?.opcode, close?.payload.readUInt16BE(0)]).toEqual([CLOSE, 4401]);
      expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
      wire.destroy();
    },
  );

  it(
    'of four million tiny frames whose answers nobody reads is no longer read',
    { timeout: FLOOD_TIMEOUT_MS },
    async () => {
      const wire = await WsWire.open(target);
      wire.write(token());
      expect(await wire.words(2)).toEqual(['START?', 'READY']);
      const growth = watchMemory();
      // 32 MB are more than the buffers between the two take.
      const count = 4_000_000;
      expect(await pour(wire, frame('{}'), count, 300)).toBeLessThan(count);
      expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
      wire.destroy();
    },
  );

  it.each([
    ['pings of 125 bytes', () => frame('p'.repeat(125), { first: FIN | PING })],
    ['pongs', () => frame('p'.repeat(125), { first: FIN | PONG })],
    ['messages without a room', () => json({ type: 'message', content: 'x'.repeat(100) })],
    ['selections of no room', () => json({ type: 'select_room', room_id: 'x'.repeat(100) })],
    ['bad tokens', () => json({ type: 'token', content: 'x'.repeat(100) })],
  ] as const)(
    'of 300,000 %s, whose answers nobody reads, grows no heap',
    { timeout: FLOOD_TIMEOUT_MS },
    async (_what, flood) => {
      const wire = await WsWire.open(target);
      wire.write(token());
      expect(await wire.words(2)).toEqual(['START?', 'READY']);
      const growth = watchMemory();
      await pour(wire, flood(), 300_000);
      expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
      wire.destroy();
    },
  );
});

describe('a burst of messages', () => {
  it('by the ten thousand is stored whole and in order', { timeout: 60_000 }, async () => {
    const client = await clientIn('room');
    const witness = await ChatClient.enter(node, ana, lab);
    const words = Array.from({ length: 10_000 }, (_, i) => `word ${i}`);
    for (const word of words) client.say(word);
    expect(await client.messages(words.length)).toEqual(words);
    const heard = await witness.take(words.length);
    expect(heard.map((echo) => messageOf(echo).content)).toEqual(words);
    await Promise.all([client.close(), witness.close()]);

    const stored: string[] = [];
    let after = messageOf(heard[0]).seq - 1;
    while (stored.length < words.length) {
      const path = `/rooms/${lab}/messages?after=${after}&limit=1000`;
      const page = (await request(node, 'GET', path, { as: eve })).content as MessageData[];
      expect(page).not.toEqual([]);
      stored.push(...page.map(({ content }) => content));
      after = page.at(-1)?.seq ?? 0;
    }
    expect(stored).toEqual(words);
  });

  it('among bad ones and other commands keeps its order', async () => {
    const client = await clientIn('room');
    const answers: unknown[] = [];
    for (let i = 0; i < 200; i += 1) {
      client.say(`word ${i}`);
      client.send({});
      client.say('');
      answers.push(`word ${i}`, 'COMMAND?', 'INVALID');
    }
    const frames = await client.take(answers.length);
    expect(
      frames.map((one) => (one.type === 'message' ? messageOf(one).content : one.data)),
    ).toEqual(answers);
    await client.close();
  });

  it('is stored as far as it was read where the client is gone at once', async () => {
    const client = await clientIn('room');
    const words = Array.from({ length: 2_000 }, (_, i) => `gone ${i}`);
    for (const word of words) client.say(word);
    const [first] = await client.take(1);
    client.terminate();
    const from = messageOf(first).seq;
    const page = await request(node, 'GET', `/rooms/${lab}/messages?after=${from - 1}&limit=1000`, {
      as: eve,
    });
    const contents = (page.content as MessageData[]).map(({ content }) => content);
    expect(contents.length).toBeGreaterThan(0);
    expect(contents).toEqual(words.slice(0, contents.length));
  });
});
