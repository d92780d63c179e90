import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { eventually } from '../harness/eventually.js';
import type { TestNode } from '../harness/node.js';
import { redisUrl } from '../harness/services.js';
import { person, type Person } from '../harness/tokens.js';

/** One Redis and one prefix, two databases: each has its room 1. */
describe('two installations on one Redis', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const worlds: ChatWorld[] = [];
  const prefix = randomUUID();
  const redis = new Redis(redisUrl());
  let production: TestNode;
  let staging: TestNode;

  beforeAll(async () => {
    const REDIS_PREFIX = prefix;
    // Only a message through the broker would arrive in time.
    const POLL_INTERVAL_MS = '60000';
    for (let count = 0; count < 2; count += 1) worlds.push(await createChatWorld());
    const env = {
      REDIS_PREFIX,
      POLL_INTERVAL_MS,
      FAILED_TOKENS_PER_MINUTE: '2',
      REQUESTS_PER_SECOND: '1',
      REQUESTS_BURST: '50',
      TRUSTED_PROXIES: 'loopback',
    };
    const nodes = worlds.map((world) => world.start(env));
    [production, staging] = (await Promise.all(nodes)) as [TestNode, TestNode];
  });
  afterAll(async () => {
    redis.disconnect();
    await Promise.all(worlds.map((world) => world.close()));
  });

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

  it('never count requests or failed tokens together', async () => {
    const left = async (node: TestNode, as: Person): Promise<string | null> =>
      (await request(node, 'GET', '/test/token', { as })).headers.get('RateLimit-Remaining');
    // Until a node has reached Redis, it counts by itself.
    await eventually(async () => {
      const as = person();
      for (const node of [production, staging]) await left(node, as);
      expect(await redis.keys(`${prefix}:*:requests:${as.userUUID}`)).toHaveLength(2);
      expect(await left(staging, as)).toBe('48');
    });

    const at = { headers: { 'X-Forwarded-For': '203.0.113.7' } };
    const bad = { ...ben, token: 'x.y.z' };
    const status = async (node: TestNode, as: Person): Promise<number> =>
      (await request(node, 'GET', '/test/token', { as, ...at })).status;
    for (const given of [401, 401, 429]) expect(await status(production, bad)).toBe(given);
    await eventually(async () => {
      const [key = ''] = await redis.keys(`${prefix}:*:failed-tokens:203.0.113.7`);
      expect(await redis.get(key)).toBe('2');
    });
    expect(await status(staging, bad)).toBe(401);
    expect(await status(staging, ben)).toBe(200);
  });
});
