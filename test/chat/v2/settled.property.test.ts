import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom } from '../../harness/api.js';
import { ChatClient } from '../../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../../harness/chat-world.js';
import type { TestNode } from '../../harness/node.js';
import { person } from '../../harness/tokens.js';

const ana = person({ levelOnEntity: 999 });

let world: ChatWorld;
let node: TestNode;
let room: number;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  room = await createRoom(node, ana);
});
afterAll(() => world.close());

const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(-1, 0, 1e300, '07', ''));
const roomId = fc.oneof(
  { weight: 3, arbitrary: fc.constant('the room') },
  fc.constantFrom(2_000_000_000, '9'),
  anything,
);
const wanted = fc.record(
  { room_id: roomId, after: anything, epoch: anything },
  { requiredKeys: [] },
);

/** Commands, most of them wrong somehow, but for `quit`. */
const command = fc.record(
  {
    type: fc.oneof(
      {
        weight: 5,
        arbitrary: fc.constantFrom(
          'token',
          'join',
          'leave',
          'message',
          'edit',
          'delete',
          'reaction',
          'read',
          'typing',
          'ping',
        ),
      },
      anything.filter((type) => type !== 'quit'),
    ),
    room_id: roomId,
    content: fc.oneof(fc.constant('hi'), anything),
    target: fc.oneof(fc.integer({ min: 1, max: 20 }), anything),
    emoji: fc.oneof(fc.constantFrom('👍', '🎉'), anything),
    on: fc.oneof(fc.boolean(), anything),
    with: fc.oneof(fc.subarray(['typing', 'presence', 'read']), anything),
    upto: anything,
    back: fc.oneof(fc.boolean(), anything),
    rooms: fc.oneof(fc.array(wanted, { minLength: 1, maxLength: 1 }), anything),
    data: anything,
    reply_to: anything,
    mentions: anything,
    max: anything,
  },
  { requiredKeys: ['type'] },
);

it('every command is settled: its ref comes back once, whatever else it holds', async () => {
  const client = await ChatClient.enterV2(node, ana);
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 20 }), async (commands) => {
      const refs = commands.map(() => randomUUID());
      for (const [index, one] of commands.entries()) {
        const text = JSON.stringify({ ...one, ref: refs[index] });
        client.raw(text.replaceAll('"the room"', String(room)));
      }
      const settled: unknown[] = [];
      while (settled.length < commands.length) {
        const frame = await client.next();
        if (frame.type === 'status') settled.push(frame['ref']);
      }
      expect(new Set(settled)).toEqual(new Set(refs));
    }),
    { numRuns: 60 },
  );
  client.send({ type: 'quit' });
  expect(await client.closed()).toMatchObject({ code: 1000 });
});
