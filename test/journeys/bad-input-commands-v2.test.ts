import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { ben, eve, SocketLab } from '../harness/socket-lab.js';

let lab: SocketLab;
/** A message of eve. */
let target: number;
let client: ChatClient;

beforeAll(async () => {
  lab = await SocketLab.open();
  client = await ChatClient.enterV2(lab.node, eve);
  target = Number((await answerTo({ type: 'message', content: 'mine', ref: 'mine' }))['seq']);
});
afterEach(() => lab.bystanders.expectServed());
afterAll(async () => {
  await client.close();
  await lab.close();
});

/** Values that are no number of a room, a message or an entry. */
const NO_NUMBERS = [
  -1,
  0.5,
  1e300,
  2 ** 53,
  '',
  ' 1',
  '1e3',
  '0x1',
  '+1',
  'x',
  '\0',
  true,
  [],
  [1],
  {},
  '__proto__',
];
const NO_TEXTS = ['', '\0', 'a\ud800', 5, true, [], ['a'], {}];
const NO_DATA = [
  'text',
  1,
  true,
  [],
  { a: 'x'.repeat(4_089) },
  { a: [[[[[[[[]]]]]]]] },
  { a: '\0' },
  { '\0': 1 },
];
const NO_REFS = [...NO_TEXTS, 'r'.repeat(65), '🚀'.repeat(65)];

/** Commands that are valid, each with fields that are not. */
const COMMANDS: Readonly<
  Record<string, { valid: () => object; bad: Readonly<Record<string, readonly unknown[]>> }>
> = {
  join: {
    valid: () => ({ rooms: [{ room_id: lab.room }] }),
    bad: {
      rooms: [
        ...NO_NUMBERS.concat(0).map((room_id) => [{ room_id }]),
        ...NO_NUMBERS.map((after) => [{ room_id: 1, after }]),
        ...[1, 'x', '', [], {}].map((epoch) => [{ room_id: 1, epoch }]),
        Array.from({ length: 129 }, () => ({ room_id: 1 })),
        undefined,
        null,
        'x',
        1,
        {},
        [],
        [1],
        [null],
        ['1'],
        [[]],
        [{}],
      ],
      max: [...NO_NUMBERS, 0, 10_001],
      with: ['typing', 1, {}, ['x'], [1], [['typing']], [null]],
      ref: NO_REFS,
    },
  },
  leave: { valid: () => ({}), bad: { room_id: [...NO_NUMBERS, 0, undefined], ref: NO_REFS } },
  message: {
    valid: () => ({ content: 'a' }),
    bad: {
      room_id: [...NO_NUMBERS, 0, undefined],
      content: [...NO_TEXTS, undefined, null, 'x'.repeat(8_001)],
      data: NO_DATA,
      reply_to: [...NO_NUMBERS, 0],
      mentions: ['x', 1, {}, ['x'], [1], [null], Array.from({ length: 21 }, () => ben.userUUID)],
      ref: NO_REFS,
    },
  },
  edit: {
    valid: () => ({ target, content: 'a' }),
    bad: {
      room_id: [...NO_NUMBERS, 0, undefined],
      target: [...NO_NUMBERS, 0, undefined, null],
      content: [...NO_TEXTS, undefined, null, 'x'.repeat(8_001)],
      data: NO_DATA,
      ref: NO_REFS,
    },
  },
  delete: {
    valid: () => ({ target }),
    bad: {
      room_id: [...NO_NUMBERS, 0, undefined],
      target: [...NO_NUMBERS, 0, undefined, null],
      ref: NO_REFS,
    },
  },
  reaction: {
    valid: () => ({ target, emoji: '👍', on: true }),
    bad: {
      room_id: [...NO_NUMBERS, 0, undefined],
      target: [...NO_NUMBERS, 0, undefined, null],
      emoji: [...NO_TEXTS, undefined, null, '👍 ', 'a\u00a0b', '\n', 'x'.repeat(33)],
      on: [undefined, null, 'true', 1, [], {}],
      ref: NO_REFS,
    },
  },
  read: {
    valid: () => ({ upto: 1 }),
    bad: {
      room_id: [...NO_NUMBERS, 0, undefined],
      upto: [...NO_NUMBERS, undefined, null],
      back: ['true', 1, [], {}],
      ref: NO_REFS,
    },
  },
  typing: { valid: () => ({}), bad: { room_id: [...NO_NUMBERS, 0, undefined], ref: NO_REFS } },
  ping: { valid: () => ({}), bad: { ref: NO_REFS } },
  quit: { valid: () => ({}), bad: { ref: NO_REFS } },
};

/** The first status behind a command, in the lab's room unless it names another. */
async function answerTo(command: object): Promise<ServerFrame> {
  client.send({ room_id: lab.room, ...command });
  for (;;) {
    const frame = await client.next();
    if (frame.type === 'status') return frame;
  }
}

describe.each(Object.entries(COMMANDS))('a %s of version 2', (type, { valid, bad }) => {
  it.each(Object.entries(bad))(
    'with a malformed %s is INVALID, says so, and changes nothing',
    async (field, values) => {
      for (const value of values) {
        const refused = await answerTo({ type, ref: 'the ref', ...valid(), [field]: value });
        expect(refused).toMatchObject({
          data: 'INVALID',
          reason: 'INVALID',
          detail: expect.stringMatching(/^(room_id|rooms|\w+) /),
        });
        // Words of our own, and the ref if it is none of what is wrong.
        expect(refused['detail']).not.toMatch(/invalid input|expected|received/i);
        expect(refused['ref']).toBe(field === 'ref' ? undefined : 'the ref');
      }
      expect(await answerTo({ type: 'ping', ref: 'alive' })).toMatchObject({
        data: 'PONG',
        ref: 'alive',
      });
    },
  );
});

describe('what commands of version 2 that are malformed have left', () => {
  it('is nothing: the message is as it was sent', async () => {
    client.send({ type: 'join', rooms: [{ room_id: lab.room, after: target - 1 }] });
    expect(await client.next()).toMatchObject({ data: 'CONNECTED', from: target - 1 });
    expect(await client.next()).toMatchObject({ data: { seq: target, content: 'mine' } });
    // Joining accepts the rule.
    expect(await client.next()).toMatchObject({ type: 'member', data: { seq: target + 1 } });
  });
});

describe('a frame of version 2', () => {
  it.each(['{}', '{"type":null}', '{"type":"select_room","room_id":1}', '{"type":"__proto__"}'])(
    'of an unknown type is INVALID, and the socket stays open: %s',
    async (text) => {
      client.raw(text);
      expect(await client.next()).toMatchObject({ data: 'INVALID', reason: 'UNKNOWN_COMMAND' });
    },
  );

  it.each(['hello', '', '[]', 'null', '{"type":"ping"', '["ping"]', '"ping"', '1'])(
    'that is no JSON object closes with 4400: %s',
    async (text) => {
      const other = await ChatClient.enterV2(lab.node, eve);
      other.raw(text);
      await other.expect('BADJSON');
      expect(await other.closed()).toEqual({ code: 4400, reason: 'BAD_JSON' });
    },
  );

  it('is refused before READY, three times, whatever it is', async () => {
    for (const [type, { valid }] of Object.entries(COMMANDS)) {
      if (type === 'ping' || type === 'quit') continue;
      const other = await ChatClient.openV2(lab.node.chatUrl);
      await other.expect('START?');
      for (const command of [valid(), {}, { room_id: lab.room, ...valid() }]) {
        other.send({ type, ...command });
        expect(await other.expect('BADAUTH')).toMatchObject([{ reason: 'UNAUTHORIZED' }]);
      }
      expect(await other.closed()).toMatchObject({ code: 4401 });
    }
  });
});
