import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { eventually } from '../harness/eventually.js';
import type { TestNode } from '../harness/node.js';
import { startOwnRedis, startSentinel, type OwnRedis } from '../harness/redis.js';
import { person } from '../harness/tokens.js';

const NAME = 'mymaster';
const PASSWORD = 'of-redis';
const SENTINEL_PASSWORD = 'of-sentinels';

describe('two nodes on a Redis with three Sentinels', () => {
  const ana = person({ levelOnEntity: 999 });
  const servers: OwnRedis[] = [];
  let sentinels: OwnRedis[];
  let sentinel: Redis;
  let world: ChatWorld;
  let nodes: [TestNode, TestNode];
  let here: ChatClient;
  let there: ChatClient;

  beforeAll(async () => {
    const secret = ['--requirepass', PASSWORD, '--masterauth', PASSWORD];
    const master = await startOwnRedis(() => secret);
    servers.push(
      master,
      await startOwnRedis(() => [...secret, '--replicaof', '127.0.0.1', String(master.port)]),
    );
    const config = `sentinel monitor ${NAME} 127.0.0.1 ${master.port} 2
sentinel auth-pass ${NAME} ${PASSWORD}
sentinel down-after-milliseconds ${NAME} 1000
sentinel failover-timeout ${NAME} 5000
requirepass ${SENTINEL_PASSWORD}
sentinel sentinel-pass ${SENTINEL_PASSWORD}
`;
    sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(config)));
    sentinel = new Redis({ port: sentinels[0]?.port ?? 0, password: SENTINEL_PASSWORD });
    await replicaIsReady();
    world = await createChatWorld();
    const env = {
      REDIS_URL: `redis://:${PASSWORD}@${NAME}`,
      REDIS_SENTINELS: sentinels.map(({ port }) => `127.0.0.1:${port}`).join(', '),
      REDIS_SENTINEL_PASSWORD: SENTINEL_PASSWORD,
      REQUESTS_PER_SECOND: '1000',
      // Only messages, and the comparisons of an outage, are in time.
      POLL_INTERVAL_MS: '600000',
    };
    nodes = await Promise.all([world.start(env), world.start(env)]);
    await bothUp();
    const room = await createRoom(nodes[0], ana);
    here = await ChatClient.enter(nodes[0], ana, room);
    there = await ChatClient.enter(nodes[1], ana, room);
  });
  afterAll(async () => {
    await world.close();
    sentinel.disconnect();
    await Promise.all([...sentinels, ...servers].map((server) => server.stop()));
  });

  it('hear each other through the master', async () => {
    await expectToCross();
  });

  it('lose nothing when the master is replaced as planned, and hear each other through the new one', async () => {
    const old = await masterPort();
    await sentinel.call('SENTINEL', 'FAILOVER', NAME);
    await expectToCross();
    await expect.poll(masterPort).not.toBe(old);
    await expectToCross();
    await bothUp();
    await expectToCross();
  });

  it('lose nothing when the master is killed, and hear each other through the new one', async () => {
    await replicaIsReady();
    const old = await masterPort();
    process.kill(servers.find(({ port }) => port === old)?.pid ?? 0, 'SIGKILL');

    for (let n = 0; n < 10; n += 1) await expectToCross();
    await expect.poll(masterPort).not.toBe(old);
    await expectToCross();
    await bothUp();
    await expectToCross();
  });

  it('hear each other while one Sentinel is left', async () => {
    sentinel.disconnect();
    await Promise.all(sentinels.splice(0, 2).map((each) => each.stop()));
    const port = servers.find(({ port }) => port === lastMaster)?.port ?? 0;
    const admin = new Redis({ port, password: PASSWORD });
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    admin.disconnect();

    await expectToCross();
    await bothUp();
    await expectToCross();
  });

  let lastMaster = 0;
  async function masterPort(): Promise<number> {
    const [, port] = (await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)) as [
      string,
      string,
    ];
    lastMaster = Number(port);
    return lastMaster;
  }

  /** Whether Sentinel may make the other server the master. */
  async function replicaIsReady(): Promise<void> {
    await eventually(async () => {
      const [replica] = (await sentinel.call('SENTINEL', 'REPLICAS', NAME)) as unknown[];
      const others = (await sentinel.call('SENTINEL', 'SENTINELS', NAME)) as unknown[];
      expect(others).toHaveLength(2);
      expect(valueOf(replica, 'flags')).toBe('slave');
      expect(valueOf(replica, 'master-link-status')).toBe('ok');
    });
  }

  async function expectToCross(): Promise<void> {
    for (const from of [here, there]) {
      const content = randomUUID();
      from.say(content);
      for (const to of [here, there]) expect(await to.messages(1)).toEqual([content]);
    }
  }

  async function bothUp(): Promise<void> {
    for (const node of nodes) {
      await eventually(async () => {
        const { content } = await request(node, 'GET', '/readyz');
        expect(content).toMatchObject({ broker: 'up' });
      });
    }
  }
});

/** A value in a list of names and values; RESP3 makes an object of it. */
function valueOf(fields: unknown, name: string): unknown {
  if (!Array.isArray(fields)) return (fields as Record<string, unknown>)[name];
  return (fields as unknown[])[fields.indexOf(name) + 1];
}
