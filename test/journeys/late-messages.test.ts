import { describe, expect, it, type TestContext } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { openOutlet, OUTLET_FAULTS, type Outlet } from '../harness/outlet.js';
import { eventually } from '../harness/eventually.js';
import { startRedis } from '../harness/redis.js';
import { redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

/** So slow a poll delivers no message in time. */
const SLOW_POLL = { POLL_INTERVAL_MS: '600000' };

/** Other nodes find a message that was not published, without the slow comparison of heads. */
describe.concurrent('a message arrives in time', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();

  /** Each test has its own: the nodes of one test would put those of another in doubt. */
  async function openWorld({ onTestFinished }: TestContext): Promise<ChatWorld> {
    const world = await createChatWorld();
    onTestFinished(() => world.close());
    return world;
  }

  async function openRedisOutlet({ onTestFinished }: TestContext): Promise<Outlet> {
    const outlet = await openOutlet(redisUrl());
    onTestFinished(() => outlet.close());
    return outlet;
  }

  async function roomOn(node: { readonly url: string }): Promise<number> {
    const room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    return room;
  }

  /** Both have heard each other through Redis, and no node is in doubt any more. */
  async function calm(
    here: ChatClient,
    there: ChatClient,
    redis: readonly TestNode[],
  ): Promise<void> {
    for (const node of redis) {
      await eventually(async () => {
        const { content } = await request(node, 'GET', '/readyz');
        expect(content).toMatchObject({ broker: 'up' });
      });
    }
    // A node in doubt about peers is so until 2 s after the last change.
    await new Promise((resolve) => {
      setTimeout(resolve, 3_000);
    });
    here.say('are you there?');
    expect(await there.messages(1)).toEqual(['are you there?']);
    expect(await here.messages(1)).toEqual(['are you there?']);
  }

  it('if its node is killed before publishing it', async (test) => {
    const [world, redis] = [await openWorld(test), await openRedisOutlet(test)];
    const east = await world.start(SLOW_POLL);
    const dying = await world.startProcess({ ...SLOW_POLL, REDIS_URL: redis.url });
    const room = await roomOn(east);
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(dying, ben, room);
    await calm(here, there, [east]);

    redis.stall();
    there.say('my last word');
    expect(await there.messages(1)).toEqual(['my last word']);
    await dying.end('SIGKILL');
    expect(await here.messages(1)).toEqual(['my last word']);
    await here.close();
  });

  it.for(OUTLET_FAULTS)('if Redis $fault for one of them', async ({ fail, mend }, test) => {
    const [world, redis] = [await openWorld(test), await openRedisOutlet(test)];
    const east = await world.start(SLOW_POLL);
    const cut = await world.start({ ...SLOW_POLL, REDIS_URL: redis.url });
    const room = await roomOn(east);
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(cut, ben, room);
    await calm(here, there, [east, cut]);

    await fail(redis);
    there.say('from the one');
    expect(await here.messages(1)).toEqual(['from the one']);
    here.say('to the one');
    expect(await there.messages(2)).toEqual(['from the one', 'to the one']);
    expect(await here.messages(1)).toEqual(['to the one']);

    await mend(redis);
    await calm(here, there, [east]);
    await Promise.all([here.close(), there.close()]);
  });

  it('if another Redis takes over from a Redis that hangs', async (test) => {
    const world = await openWorld(test);
    const [first, second] = [await startRedis(), await startRedis()];
    test.onTestFinished(() => Promise.all([first.stop(), second.stop()]).then(() => undefined));
    const outlet = await openOutlet(first.url);
    test.onTestFinished(() => outlet.close());
    const env = { ...SLOW_POLL, REDIS_URL: outlet.url };
    const [east, west] = await Promise.all([world.start(env), world.start(env)]);
    const room = await roomOn(east);
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);
    await calm(here, there, [east, west]);

    outlet.stall();
    here.say('into the first, which hangs');
    expect(await there.messages(1)).toEqual(['into the first, which hangs']);
    await outlet.cut();
    there.say('into none');
    expect(await here.messages(2)).toEqual(['into the first, which hangs', 'into none']);
    outlet.resume();
    await outlet.restore(second.url);
    here.say('into the second');
    expect(await there.messages(2)).toEqual(['into none', 'into the second']);
    expect(await here.messages(1)).toEqual(['into the second']);
    await calm(here, there, [east, west]);
    await Promise.all([here.close(), there.close()]);
  });
});
