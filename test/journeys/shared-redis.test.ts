import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

/** One Redis and one prefix, two databases: each has its room 1. */
describe('two installations on one Redis', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const worlds: ChatWorld[] = [];
  let production: TestNode;
  let staging: TestNode;

  beforeAll(async () => {
    const REDIS_PREFIX = randomUUID();
    // Only a message through the broker would arrive in time.
    const POLL_INTERVAL_MS = '60000';
    for (let count = 0; count < 2; count += 1) worlds.push(await createChatWorld());
    const nodes = worlds.map((world) => world.start({ REDIS_PREFIX, POLL_INTERVAL_MS }));
    [production, staging] = (await Promise.all(nodes)) as [TestNode, TestNode];
  });
  afterAll(() => Promise.all(worlds.map((world) => world.close())));

  it('never take messages, rights or deletions from each other', async () => {
    const [room, sameRoom] = [await createRoom(production, ana), await createRoom(staging, ana)];
    expect(sameRoom).toBe(room);
    for (const node of [production, staging]) {
      await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    }
    const here = await ChatClient.enter(production, ben, room);
    const there = await ChatClient.enter(staging, ana, room);

    there.say('for staging');
    expect(await there.messages(1)).toEqual(['for staging']);
    await putRule(staging, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    here.say('I may not', { ref: 'mine' });
    const [refused] = await here.expect('NOTAUTHORIZED');
    expect(refused).toMatchObject({ room_id: room, ref: 'mine' });

    await request(staging, 'DELETE', `/rooms/${room}`, { as: ana });
    await there.expect('NOTAUTHORIZED');
    const host = await ChatClient.enter(production, ana, room);
    host.say('for production');
    expect(await here.messages(1)).toEqual(['for production']);
    await Promise.all([here, there, host].map((client) => client.close()));
  });
});
