import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterAll(() => world.close());

it('two people talk in a room and read its history', async () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const room = await createRoom(node, ana);
  await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });

  const anaClient = await ChatClient.enter(node, ana, room);
  const benClient = await ChatClient.enter(node, ben, room);
  anaClient.say('hello');
  expect(await anaClient.messages(1)).toEqual(['hello']);
  expect(await benClient.messages(1)).toEqual(['hello']);
  benClient.say('hi');
  const [frame] = await anaClient.take(1);
  expect(frame).toMatchObject({
    type: 'message',
    data: { content: 'hi', emitter: ben.userUUID, room_id: room },
  });

  const history = await request(node, 'GET', `/rooms/${room}/messages`, { as: ben });
  expect(history.content).toMatchObject([
    { emitter: ana.userUUID, content: 'hello', room_id: room },
    { emitter: ben.userUUID, content: 'hi', room_id: room },
  ]);
  await Promise.all([anaClient.close(), benClient.close()]);
});
