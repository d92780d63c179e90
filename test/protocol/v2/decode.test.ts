import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDecoder } from '../../../src/protocol/v2/decode.js';

const decode = createDecoder({ contentCharacters: 10, dataBytes: 44, roomsPerSocket: 3 });

/** An object of so many levels. */
function nested(levels: number): object {
  return levels === 1 ? {} : { a: nested(levels - 1) };
}

function decodeValue(value: unknown): unknown {
  return decode(JSON.stringify(value));
}

describe('the decoder of version 2', () => {
  it('gives each command its fields in the names of the code', () => {
    const epoch = randomUUID();
    const join = {
      type: 'join',
      rooms: [
        { room_id: '7', after: '12', epoch: epoch.toUpperCase() },
        { room_id: epoch.toUpperCase() },
      ],
      max: 500,
      with: ['read', 'typing', 'read'],
      ref: 'j',
    };
    expect(decodeValue(join)).toEqual({
      kind: 'command',
      command: {
        type: 'join',
        rooms: [
          { id: 7, givenId: '7', after: 12, epoch },
          { id: epoch, givenId: epoch.toUpperCase(), after: undefined, epoch: undefined },
        ],
        max: 500,
        with: new Set(['read', 'typing']),
        ref: 'j',
      },
    });
    expect(decodeValue({ type: 'leave', room_id: 7, ref: 'l' })).toEqual({
      kind: 'command',
      command: { type: 'leave', roomId: 7, ref: 'l' },
    });
    const mentions = [epoch.toUpperCase(), epoch];
    const data = { z: 1, a: [null, 'é'], ['__proto__']: {} };
    const message = { type: 'message', room_id: 7, content: 'hi', ref: 'm' };
    expect(decodeValue({ ...message, data, reply_to: '3', mentions })).toEqual({
      kind: 'command',
      command: {
        type: 'message',
        roomId: 7,
        content: 'hi',
        data: JSON.stringify(data),
        replyTo: 3,
        mentions: [epoch],
        ref: 'm',
      },
    });
    expect(decodeValue({ ...message, data: null, reply_to: null, mentions: [] })).toEqual(
      decodeValue(message),
    );
  });

  it('gives a change of a message its target', () => {
    const at = { room_id: 7, target: '3' };
    const command = { roomId: 7, target: 3, ref: undefined };
    expect(decodeValue({ ...at, type: 'edit', content: 'new', data: { a: 1 } })).toEqual({
      kind: 'command',
      command: { ...command, type: 'edit', content: 'new', data: '{"a":1}' },
    });
    expect(decodeValue({ ...at, type: 'delete' })).toEqual({
      kind: 'command',
      command: { ...command, type: 'delete' },
    });
    expect(decodeValue({ ...at, type: 'reaction', emoji: '👍🏽', on: false })).toEqual({
      kind: 'command',
      command: { ...command, type: 'reaction', emoji: '👍🏽', on: false },
    });
  });

  it('takes a message without content beside data alone', () => {
    const message = { type: 'message', room_id: 7, data: {} };
    for (const content of [undefined, null, '']) {
      expect(decodeValue({ ...message, content })).toMatchObject({
        command: { content: '', data: '{}' },
      });
    }
  });

  it.each(['token', 'join', 'leave', 'message', 'edit', 'delete', 'reaction', 'ping', 'quit'])(
    'takes a ref on %s, and null as none',
    (type) => {
      const fields = {
        content: 'a',
        room_id: 1,
        target: 1,
        emoji: '👍',
        on: true,
        rooms: [{ room_id: 1, after: null, epoch: null }],
      };
      const command = { ...fields, type, max: null };
      expect(decodeValue({ ...command, ref: 'a1' })).toMatchObject({
        command: { type, ref: 'a1' },
      });
      expect(decodeValue({ ...command, ref: null })).toEqual(decodeValue(command));
      expect(decodeValue({ ...command, ref: '' })).toMatchObject({
        kind: 'malformed',
        type,
        detail: 'ref is empty',
        origin: { ref: undefined },
      });
    },
  );

  it.each([
    [{ type: 'join' }, /^rooms must be a list/],
    [{ type: 'join', rooms: [] }, /^rooms is empty/],
    [
      { type: 'join', rooms: [1, 2, 3, 4].map((room_id) => ({ room_id })) },
      /^rooms has more than 3/,
    ],
    [{ type: 'join', rooms: [7] }, /^rooms must hold objects/],
    [{ type: 'join', rooms: [{}] }, /^room_id must be/],
    [{ type: 'join', rooms: [{ room_id: 1 }, { room_id: 0 }] }, /^room_id must be/],
    [{ type: 'join', rooms: [{ room_id: 1, after: -1 }] }, /^after must be/],
    [{ type: 'join', rooms: [{ room_id: 1, epoch: 'x' }] }, /^epoch must be a UUID/],
    [{ type: 'join', rooms: [{ room_id: 1 }], max: 0 }, /^max must be 1 to 10000/],
    [{ type: 'join', rooms: [{ room_id: 1 }], max: 10_001 }, /^max must be 1 to 10000/],
    [{ type: 'leave' }, /^room_id must be/],
    [{ type: 'message', content: 'a' }, /^room_id must be/],
    [{ type: 'message', room_id: 1, content: 7, data: {} }, /^content must be a string/],
    [{ type: 'message', room_id: 1 }, /^content is empty/],
    [{ type: 'message', room_id: 1, content: 'a', data: [] }, /^data must be an object/],
    [{ type: 'message', room_id: 1, content: 'a', data: 'x' }, /^data must be an object/],
    [{ type: 'message', room_id: 1, content: 'a', data: { a: ['\0'] } }, /^data contains U\+0000/],
    [{ type: 'message', room_id: 1, content: 'a', data: { '\0': 1 } }, /^data contains U\+0000/],
    [{ type: 'message', room_id: 1, content: 'a', data: { a: 'x'.repeat(37) } }, /^data is longer/],
    [{ type: 'message', room_id: 1, content: 'a', data: { a: '€'.repeat(13) } }, /^data is longer/],
    [
      { type: 'message', room_id: 1, content: 'a', data: nested(9) },
      /^data has more than 8 levels/,
    ],
    [{ type: 'message', room_id: 1, content: 'a', reply_to: 0 }, /^reply_to must be/],
    [{ type: 'message', room_id: 1, content: 'a', mentions: 'x' }, /^mentions must be a list/],
    [{ type: 'message', room_id: 1, content: 'a', mentions: ['x'] }, /^mentions must hold UUIDs/],
    [
      { type: 'message', room_id: 1, content: 'a', mentions: Array(21).fill(randomUUID()) },
      /^mentions has more than 20/,
    ],
    [{ type: 'message', room_id: 1, content: '' }, /^content is empty/],
    [{ type: 'message', room_id: 1, content: '01234567890' }, /^content is longer than 10/],
    [{ type: 'edit', room_id: 1, content: 'a' }, /^target must be/],
    [{ type: 'edit', room_id: 1, target: 2 }, /^content is empty/],
    [{ type: 'delete', room_id: 1, target: 0 }, /^target must be/],
    [{ type: 'reaction', room_id: 1, target: 2, on: true }, /^emoji must be/],
    [{ type: 'reaction', room_id: 1, target: 2, emoji: 'a b', on: true }, /^emoji contains white/],
    [
      { type: 'reaction', room_id: 1, target: 2, emoji: '👍'.repeat(33), on: true },
      /^emoji is long/,
    ],
    [{ type: 'reaction', room_id: 1, target: 2, emoji: '👍' }, /^on must be/],
    [{ type: 'token' }, /^content must be a string/],
  ])('says what is wrong with %j', (value, problem) => {
    expect(decodeValue({ ...value, ref: 'a1' })).toMatchObject({
      kind: 'malformed',
      type: value.type,
      detail: expect.stringMatching(problem) as string,
      origin: { ref: 'a1' },
    });
  });

  it('takes data up to its limits', () => {
    const message = { type: 'message', room_id: 1, content: 'a' };
    for (const data of [nested(8), { a: 'x'.repeat(36) }, { a: '€'.repeat(12) }]) {
      expect(decodeValue({ ...message, data })).toMatchObject({
        command: { data: JSON.stringify(data) },
      });
    }
  });

  it('keeps what the sender may know a wrong command by', () => {
    const origin = { ref: 'a1', roomId: 7 };
    expect(decodeValue({ type: 'message', room_id: '7', ref: 'a1' })).toMatchObject({ origin });
    expect(decodeValue({ type: 'dance', room_id: 7, ref: 'a1' })).toEqual({
      kind: 'unknown',
      origin,
    });
  });

  it('knows no command of version 1 alone, and no type that is inherited', () => {
    for (const type of ['select_room', 'constructor', '__proto__', 1, null]) {
      expect(decodeValue({ type })).toMatchObject({ kind: 'unknown' });
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
