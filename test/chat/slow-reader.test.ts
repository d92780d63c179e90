import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { RawClient } from '../harness/raw-client.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({ OUTBOX_BYTES: '65536' });
});
afterAll(() => world.close());

it('a client that floods and never reads is cut off', async () => {
  const strict = await world.start({
    OUTBOX_BYTES: '65536',
    PING_INTERVAL_MS: '200',
    PONG_TIMEOUT_MS: '400',
  });
  const deaf = await ChatClient.enter(strict, person());
  deaf.socket.pause();
  while (deaf.socket.readyState === deaf.socket.OPEN) {
    // The client does not read, so it notices the end only by writing.
    for (let i = 0; i < 1_000 && deaf.socket.bufferedAmount < 1 << 22; i += 1) deaf.raw('{}');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(await deaf.closed()).toMatchObject({ code: 1006 });
});

it('a reader that stopped gets every message once it reads again, and slows nobody', async () => {
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

it('a slow reader stays connected, though one write to it takes longer than a pong may', async () => {
  const patient = await world.start({
    // All waiting bytes go to the kernel as one write.
    OUTBOX_BYTES: `${16 * 1024 * 1024}`,
    PING_INTERVAL_MS: '500',
    PONG_TIMEOUT_MS: '4000',
  });
  const ana = person({ levelOnEntity: 100 });
  const room = await createRoom(patient, ana);
  const sender = await RawClient.enter(patient, ana, room);
  const slow = await RawClient.enter(patient, ana, room);
  const content = 'x'.repeat(8_000);
  const count = 3_000;
  const sent = sender.until(() => sender.received >= count);
  for (let i = 0; i < count; i += 1) sender.say(content);
  // Some 24 MB at 2.5 MB/s.
  while (slow.received < count) {
    const before = slow.received;
    slow.resume();
    await slow.until(() => slow.received > before);
    slow.pause();
    await delay(100);
  }
  slow.resume();
  await sent;
  sender.say('live again');
  await slow.reached((sender.last ?? 0) + 1);
  expect(slow.received).toBe(count + 1);
  expect(slow.answers).toEqual([]);
  await Promise.all([sender.terminate(), slow.terminate()]);
});
