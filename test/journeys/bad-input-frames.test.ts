import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eve, json, messageOf, SocketLab, STATES, token } from '../harness/socket-lab.js';
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

let lab: SocketLab;

beforeAll(async () => {
  lab = await SocketLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

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
      const client = await lab.clientIn(state);
      client.raw(data, { binary: Buffer.isBuffer(data) });
      client.send({ type: 'token', content: eve.token });
      await client.expect('BADJSON');
      // And no answer to the frames behind it.
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
    'close the socket with the code of the RFC, and nothing behind them is handled: %s, %d',
    async (_what, code, bad) => {
      for (const before of [[], [token(), json({})], [token(), lab.select(), json({})]]) {
        const wire = await WsWire.open(lab.node);
        wire.write(...before, bad());
        expect(await wire.closeCode()).toBe(code);
        wire.destroy();
      }
    },
  );

  it('do no harm if the connection is cut in the middle of them', async () => {
    const whole = Buffer.concat([token(), lab.select(), json({ type: 'message', content: 'cut' })]);
    for (let length = 1; length < whole.length; length += 13) {
      const wire = await WsWire.open(lab.node);
      wire.write(whole.subarray(0, length));
      if (length % 2) wire.destroy();
      else wire.socket.resetAndDestroy();
    }
    const client = await lab.clientIn('room');
    await expect(client.barrier()).resolves.toBeUndefined();
    await client.close();
  });
});

describe('a large frame', () => {
  const padded = (command: object, bytes: number): string => {
    const text = JSON.stringify({ ...command, pad: '' });
    return `${text.slice(0, -2)}${'x'.repeat(bytes - text.length)}"}`;
  };

  it('of 128 KiB is handled, and one a byte longer closes with 1009', async () => {
    const client = await lab.clientIn('room');
    client.raw(padded({ type: 'message', content: 'large' }, 131_072));
    expect(await client.messages(1)).toEqual(['large']);
    client.raw(padded({ type: 'message', content: 'too large' }, 131_073));
    expect(await client.closed()).toMatchObject({ code: 1009 });
    expect(client.unread('message')).toEqual([]);
  });

  it('holds the longest message and ref, escaped as json.dumps of Python does it', async () => {
    const client = await lab.clientIn('room');
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
    const client = await lab.clientIn(state);
    client.raw(padded({ type: 'message', content: 'too large' }, 1_048_576));
    expect(await client.closed()).toMatchObject({ code: 1009 });
  });

  it('of 8 KiB is handled before READY, and one a byte longer closes with 1009', async () => {
    const client = await lab.clientIn('greeting');
    client.raw(padded({ type: 'message', content: 'early' }, 8_192));
    await client.expect('TOKEN?');
    client.raw(padded({ type: 'token', content: eve.token }, 8_193));
    client.send({ type: 'token', content: eve.token });
    expect(await client.closed()).toEqual({ code: 1009, reason: 'TOO_BIG' });
    expect(client.unread('status')).toEqual([]);
  });

  it('of 8 KiB in fragments closes with 1009 before READY', async () => {
    const wire = await WsWire.open(lab.node);
    wire.write(frame('{', { first: TEXT }));
    for (let i = 0; i < 8; i += 1) wire.write(frame(' '.repeat(1_024), { first: CONTINUATION }));
    wire.write(frame('}', { first: FIN | CONTINUATION }));
    expect(await wire.closeCode()).toBe(1009);
    wire.destroy();
  });
});

describe('an unusual valid frame', () => {
  const text = JSON.stringify({ type: 'message', content: 'Häppchen 🧩'.repeat(20) });
  const content = (JSON.parse(text) as { content: string }).content;
  const pieces = Array.from(Buffer.from(text), (byte) => Buffer.from([byte]));

  it('may come in a fragment for each byte, with pings and empty fragments between', async () => {
    const wire = await WsWire.open(lab.node);
    wire.write(token(), lab.select());
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
    const wire = await WsWire.dial(lab.node);
    const whole = Buffer.concat([Buffer.from(handshake()), token(), lab.select(), frame(text)]);
    for (const byte of whole) {
      if (!wire.socket.write(Buffer.from([byte]))) await once(wire.socket, 'drain');
    }
    expect((await wire.answer()).status).toBe(101);
    expect(await wire.words(4)).toMatchObject(['START?', 'READY', 'CONNECTED', { content }]);
    wire.destroy();
  });

  it('may have 10,000 empty fragments, but not 20,000', async () => {
    const empty = Array<Buffer>(10_000).fill(frame('', { first: CONTINUATION }));
    const wire = await WsWire.open(lab.node);
    wire.write(token(), lab.select(), frame('', { first: TEXT }), ...empty);
    wire.write(frame(text, { first: FIN | CONTINUATION }));
    expect(await wire.words(4)).toMatchObject(['START?', 'READY', 'CONNECTED', { content }]);
    wire.write(frame('', { first: TEXT }), ...empty, ...empty);
    expect(await wire.closeCode()).toBe(1008);
    wire.destroy();
  });

  it('may have unknown keys, 10,000 levels deep', async () => {
    const client = await lab.clientIn('room');
    const deep = '['.repeat(10_000) + ']'.repeat(10_000);
    client.raw(
      `{"type":"message","content":"deep","x":${deep},"":1,"toString":1,"constructor":{"a":1},` +
        `"__proto__":{"content":"evil","ref":"evil"},"room_id":{},"after":"x","data":null}`,
    );
    const [echo] = await client.take(1);
    expect(echo?.data).toMatchObject({ content: 'deep', room_id: lab.room });
    expect(echo?.data).not.toHaveProperty('ref');
    client.raw(`{"type":${deep}}`);
    await client.expect('COMMAND?');
    expect(({} as Record<string, unknown>)['content']).toBeUndefined();
    await client.close();
  });

  it('may begin with a byte order mark, and have null for absent fields', async () => {
    const client = await lab.clientIn('greeting');
    const fields = (command: object): string => `\ufeff${JSON.stringify(command)}`;
    client.raw(fields({ type: 'token', content: eve.token }));
    await client.expect('READY');
    client.raw(fields({ type: 'select_room', room_id: lab.room, after: null }));
    await client.expect('CONNECTED');
    client.raw(fields({ type: 'message', content: 'marked', ref: null, msg: null }));
    expect(await client.messages(1)).toEqual(['marked']);
    await client.close();
  });

  it('may have a key twice: the last one counts', async () => {
    const client = await lab.clientIn('room');
    client.raw('{"type":"quit","type":"message","content":1,"content":"last"}');
    expect(await client.messages(1)).toEqual(['last']);
    await client.close();
  });
});
