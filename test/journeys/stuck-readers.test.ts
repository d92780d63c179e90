import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { fillRoom, untilReadingStops } from '../harness/backlog.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { memoryOf } from '../harness/memory.js';
import { RawClient } from '../harness/raw-client.js';
import { Talker } from '../harness/talker.js';
import { person } from '../harness/tokens.js';

const CONTENT = 'x'.repeat(8_000);
/** 8 MB: the kernel's buffers and the outbox of a socket hold less. */
const FILLING = 1_000;
const OUTBOX_BYTES = 65_536;
/** Bytes beyond the cap that a session gets while it catches up. */
const CHUNK_BYTES = 65_536 + CONTENT.length;
/** Memory that V8 may take before it collects garbage. Measured: 20 to 120 MB. */
const GARBAGE_BYTES = 150 * 1024 * 1024;

const ana = person({ levelOnEntity: 100 });
let world: ChatWorld;

beforeAll(async () => {
  world = await createChatWorld();
});
afterAll(() => world.close());

/** Clients that select a room and never read again, unless they are resumed. */
async function enterStuck(
  node: { readonly url: string },
  room: number,
  count: number,
): Promise<RawClient[]> {
  const stuck: RawClient[] = [];
  while (stuck.length < count) {
    const group = Array.from({ length: 50 }, () => RawClient.enter(node, ana, room));
    for (const client of await Promise.all(group)) {
      client.pause();
      stuck.push(client);
    }
  }
  return stuck;
}

describe('stuck readers in a busy room', () => {
  it('hold OUTBOX_BYTES each at most, slow nobody, and get every message once they read again', async () => {
    const node = await world.startProcess({
      OUTBOX_BYTES: `${OUTBOX_BYTES}`,
      // The stuck readers stay connected.
      PING_INTERVAL_MS: '3600000',
    });
    const room = await createRoom(node, ana);
    const sender = await RawClient.enter(node, ana, room);
    const talker = new Talker(sender);
    const quick = await Promise.all([1, 2, 3].map(() => RawClient.enter(node, ana, room)));
    const stuck = await enterStuck(node, room, 1_000);
    const empty = memoryOf(node.pid);
    await talker.say(FILLING, CONTENT);
    const full = memoryOf(node.pid);
    await talker.say(2 * FILLING, CONTENT);
    const later = memoryOf(node.pid);

    for (const client of quick) await client.reached(sender.last ?? 0);
    for (const client of quick) expect(client.received).toBe(talker.echoes);
    // All buffers are full by now: more messages make no difference.
    expect(later.now - full.now).toBeLessThan(GARBAGE_BYTES);
    expect(later.peak - empty.now).toBeLessThan(stuck.length * OUTBOX_BYTES + GARBAGE_BYTES);

    const awake = stuck.slice(0, 20);
    for (const client of awake) client.resume();
    for (const client of awake) await client.reached(sender.last ?? 0);
    await talker.say(1);
    for (const client of awake) await client.reached(sender.last ?? 0);
    for (const client of awake) expect(client.received).toBe(talker.echoes);
    for (const client of [sender, ...quick, ...awake]) expect(client.answers).toEqual([]);
    await Promise.all([sender, ...quick, ...stuck].map((client) => client.terminate()));
  });

  it('hold OUTBOX_BYTES and a page each at most while they catch up', async () => {
    const node = await world.startProcess({
      OUTBOX_BYTES: `${OUTBOX_BYTES}`,
      PING_INTERVAL_MS: '3600000',
    });
    const room = await createRoom(node, ana);
    const { first } = await fillRoom(world.databaseUrl, room, FILLING, CONTENT);
    const sender = await RawClient.enter(node, ana, room);
    const talker = new Talker(sender);
    await talker.say(1);
    const before = memoryOf(node.pid);
    const stuck: RawClient[] = [];
    // One after the other, so that no two hold the same page.
    while (stuck.length < 150) {
      const client = await RawClient.enter(node, ana, room, first - 1);
      client.pause();
      stuck.push(client);
    }
    await untilReadingStops(world.databaseUrl, talker);
    const growth = memoryOf(node.pid).now - before.now;
    expect(growth).toBeLessThan(stuck.length * (OUTBOX_BYTES + CHUNK_BYTES) + GARBAGE_BYTES);

    for (const client of stuck) client.resume();
    for (const client of stuck) await client.reached(sender.last ?? 0);
    for (const client of stuck) expect(client.received).toBe(FILLING + talker.echoes);
    await Promise.all([sender, ...stuck].map((client) => client.terminate()));
  });

  it.each([
    ['take no bytes from one ping to its deadline', {}, false],
    ['take nothing for SEND_TIMEOUT_MS, though they pong', { SEND_TIMEOUT_MS: '4000' }, true],
  ])('are cut off if they %s, and nobody else is', async (_, env, theyPong) => {
    const node = await world.startProcess({
      OUTBOX_BYTES: `${OUTBOX_BYTES}`,
      PING_INTERVAL_MS: '500',
      PONG_TIMEOUT_MS: '4000',
      ...env,
    });
    const room = await createRoom(node, ana);
    const sender = await RawClient.enter(node, ana, room);
    const talker = new Talker(sender);
    const quick = await RawClient.enter(node, ana, room);
    const stuck = await enterStuck(node, room, 50);
    const pongs = setInterval(() => {
      if (theyPong) for (const client of stuck) client.pong();
    }, 100);
    const cutOff = (): number => node.program.stdout().match(/session ended/g)?.length ?? 0;
    while (cutOff() < stuck.length) await talker.say(100, CONTENT);
    clearInterval(pongs);
    // They notice it now that they read.
    for (const client of stuck) client.resume();
    await Promise.all(stuck.map((client) => client.closed));
    for (const client of stuck) expect(client.received).toBeLessThan(talker.echoes);
    await talker.say(1);
    await quick.reached(sender.last ?? 0);
    expect(quick.received).toBe(talker.echoes);
    expect(cutOff()).toBe(stuck.length);
    await Promise.all([sender.terminate(), quick.terminate()]);
  });

  it('hold OUTBOX_TOTAL_BYTES together at most: the fullest are closed, and miss nothing', async () => {
    const node = await world.startProcess({
      OUTBOX_BYTES: `${1024 * 1024}`,
      OUTBOX_TOTAL_BYTES: `${8 * 1024 * 1024}`,
      PING_INTERVAL_MS: '3600000',
      SEND_TIMEOUT_MS: '3600000',
    });
    const room = await createRoom(node, ana);
    const { first } = await fillRoom(world.databaseUrl, room, FILLING, CONTENT);
    const sender = await RawClient.enter(node, ana, room);
    const talker = new Talker(sender);
    const stuck: RawClient[] = [];
    // Each reader at a position of its own.
    while (stuck.length < 40) {
      const client = await RawClient.enter(node, ana, room, first + stuck.length);
      client.pause();
      stuck.push(client);
    }
    await untilReadingStops(world.databaseUrl, talker);
    const overloaded = (): number => node.program.stdout().match(/OVERLOAD/g)?.length ?? 0;
    // Seven fit in.
    while (overloaded() < stuck.length - 8) await talker.say(10);
    expect(overloaded()).toBeLessThan(stuck.length - 4);

    const back = stuck.slice(0, 5);
    for (const client of stuck) client.resume();
    for (const client of back) {
      await client.closed;
      const again = await RawClient.enter(node, ana, room, client.last);
      await again.reached(sender.last ?? 0);
      await again.terminate();
    }
    await Promise.all([sender, ...stuck].map((client) => client.terminate()));
  });
});
