import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({ OUTBOX_BYTES: '65536' });
});
afterAll(() => world.close());

it('gives a reader who stopped everything once it reads again, and slows nobody', async () => {
  const ana = person({ levelOnEntity: 100 });
  const room = await createRoom(node, ana);
  const slow = await ChatClient.enter(node, ana, room);
  const quick = await ChatClient.enter(node, ana, room);
  slow.socket.pause();
  // More than the kernel's buffers and the outbox hold together.
  const content = 'x'.repeat(8_000);
  const count = 3_000;
  for (let i = 0; i < count; i += 1) quick.say(content);
  const seen = await quick.take(count);
  slow.socket.resume();
  expect((await slow.take(count)).map(numberOf)).toEqual(seen.map(numberOf));
  quick.say('live again');
  expect(await slow.messages(1)).toEqual(['live again']);
  await slow.barrier();
  await Promise.all([slow.close(), quick.close()]);
});
