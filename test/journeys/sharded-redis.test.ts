import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shardOf } from '../../src/broker/sharded.js';
import { createRoom, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { eventually } from '../harness/eventually.js';
import { startRedis, type Redis } from '../harness/redis.js';
import { redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

interface Pair {
  readonly here: ChatClient;
  readonly there: ChatClient;
}

describe('two nodes with two Redis', () => {
  const ana = person({ levelOnEntity: 999 });
  let world: ChatWorld;
  let redis: Redis;
  let second: Outlet;
  let east: TestNode;
  let west: TestNode;
  /** A room on each Redis, with a client on each node. */
  const pairs: Pair[] = [];

  beforeAll(async () => {
    redis = await startRedis();
    second = await openOutlet(redis.url);
    world = await createChatWorld();
    const env = {
      REDIS_URL: '',
      REDIS_URLS: `${redisUrl()},${second.url}`,
      // Only messages and the comparisons of an outage are in time.
      POLL_INTERVAL_MS: '600000',
    };
    [east, west] = await Promise.all([world.start(env), world.start(env)]);
    await bothUp();
    const [epoch] = await query<{ uuid: string }>(world.databaseUrl, 'SELECT uuid FROM log_epoch');
    while (pairs.filter((pair) => pair !== undefined).length < 2) {
      const room = await createRoom(east, ana);
      const shard = shardOf(`${epoch?.uuid}:room:${room}`, 2);
      pairs[shard] ??= {
        here: await ChatClient.enter(east, ana, room),
        there: await ChatClient.enter(west, ana, room),
      };
    }
  });
  afterAll(async () => {
    await Promise.all(pairs.flatMap(({ here, there }) => [here.close(), there.close()]));
    await world.close();
    await second.close();
    await redis.stop();
  });

  it('deliver the messages of all rooms', async () => {
    for (const pair of pairs) expect(await crosses(pair)).toBe(true);
  });

  it('deliver the messages of all rooms while one Redis is away, and after it', async () => {
    await second.cut();
    for (const pair of pairs) expect(await crosses(pair)).toBe(true);
    await second.restore();
    await bothUp();
    for (const pair of pairs) expect(await crosses(pair)).toBe(true);
  });

  /** Whether the next message on both nodes is the one that is sent now. */
  async function crosses({ here, there }: Pair): Promise<boolean> {
    const content = randomUUID();
    here.say(content);
    const seen = await Promise.all([here.messages(1), there.messages(1)]);
    return seen.flat().every((each) => each === content);
  }

  async function bothUp(): Promise<void> {
    for (const node of [east, west]) {
      await eventually(async () => {
        const { content } = await request(node, 'GET', '/readyz');
        expect(content).toMatchObject({ broker: 'up' });
      });
    }
  }
});
