import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDecoder } from '../../../src/protocol/v1/decode.js';
import { roomIdSchema, textProblem } from '../../../src/protocol/values.js';

const decode = createDecoder({ contentCharacters: 10 });

function decodeValue(value: unknown): unknown {
  return decode(JSON.stringify(value));
}

describe('the decoder', () => {
  it('accepts a number, or digits, as a room id', () => {
    for (const room_id of [7, '7']) {
      expect(decodeValue({ type: 'select_room', room_id, after: '12' })).toEqual({
        kind: 'command',
        command: { type: 'select_room', roomId: 7, after: 12 },
      });
    }
  });

  it('prefers content to msg', () => {
    expect(decodeValue({ type: 'message', content: 'a', msg: 'b' })).toMatchObject({
      command: { content: 'a' },
    });
    expect(decodeValue({ type: 'message', msg: 'b' })).toMatchObject({ command: { content: 'b' } });
  });

  it('ignores keys that it does not know', () => {
    expect(decode('{"type":"quit","now":true,"__proto__":{"type":"x"}}')).toEqual({
      kind: 'command',
      command: { type: 'quit' },
    });
  });

  it.each([
    [{ type: 'message' }, /^content must be a string/],
    [{ type: 'message', content: '' }, /^content is empty/],
    [{ type: 'message', content: '01234567890' }, /^content is longer than 10/],
    [{ type: 'message', content: 'a', ref: '' }, /^ref is empty/],
    [{ type: 'message', content: 'a', ref: 'x'.repeat(65) }, /^ref is longer than 64/],
    [{ type: 'select_room' }, /^room_id must be/],
    [{ type: 'select_room', room_id: 1, after: -1 }, /^after must be/],
    [{ type: 'token', content: 7 }, /^content must be/],
  ])('gives the reason for refusing %j', (value, problem) => {
    expect(decodeValue(value)).toMatchObject({
      kind: 'malformed',
      malformed: { type: value.type, problem: expect.stringMatching(problem) },
    });
  });

  it('treats null as a missing field', () => {
    const [select, message] = [
      { type: 'select_room', room_id: 7 },
      { type: 'message', content: 'a' },
    ];

    expect(decodeValue({ ...select, after: null })).toEqual(decodeValue(select));
    expect(decodeValue({ ...message, ref: null, msg: null })).toEqual(decodeValue(message));
    expect(decodeValue({ type: 'message', content: null, msg: 'a' })).toEqual(decodeValue(message));
    expect(decodeValue({ type: 'message', content: null, ref: null })).toMatchObject({
      malformed: { problem: 'content must be a string', ref: undefined },
    });
  });

  it('accepts one byte order mark before the JSON, and no more', () => {
    expect(decode('\ufeff{"type":"quit"}')).toEqual(decode('{"type":"quit"}'));
    for (const frame of ['\ufeff\ufeff{}', ' \ufeff{}', '{}\ufeff', '\ufeff', '\ufeff[]']) {
      expect(decode(frame)).toEqual({ kind: 'not-json' });
    }
  });

  it('knows no type that is inherited or not a string', () => {
    for (const type of ['constructor', '__proto__', 'toString', 1, null, ['quit']]) {
      expect(decodeValue({ type })).toEqual({ kind: 'unknown' });
    }
  });

  it('never throws, whatever the frame is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string({ unit: 'binary' })), (frame) => {
        expect(decode(frame)).toHaveProperty('kind');
      }),
    );
  });
});

describe('roomIdSchema', () => {
  const parse = (value: unknown): unknown =>
    roomIdSchema('no room').safeParse(value).data ?? undefined;

  it('accepts the positive integers of Postgres, and nothing that only looks like one', () => {
    expect(parse('2147483647')).toBe(2_147_483_647);
    const wrong = ['1e3', '-1', '0', '07', ' 7', '1; drop table', '2147483648', '9'.repeat(20)];
    for (const value of [...wrong, 0, -1, 1.5, NaN, 2_147_483_648, null, undefined, [], {}, true]) {
      expect(parse(value)).toBeUndefined();
    }
  });
});

describe('textProblem', () => {
  it('counts code points, not UTF-16 units', () => {
    expect(textProblem('\u{1f600}'.repeat(10), 10)).toBeUndefined();
    expect(textProblem('\u{1f600}'.repeat(11), 10)).toMatch(/longer/);
  });

  it('refuses the texts that Postgres refuses', () => {
    expect(textProblem('a\0b', 10)).toMatch(/U\+0000/);
    expect(textProblem('a\ud800b', 10)).toMatch(/surrogate/);
  });
});
