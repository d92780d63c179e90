import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { fillRoom, untilReadingStops } from '../harness/backlog.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { memoryOf } from '../harness/memory.js';
import type { NodeProcess } from '../harness/node-process.js';
import { RawClient } from '../harness/raw-client.js';
import { Talker } from '../harness/talker.js';
import { person } from '../harness/tokens.js';

const ENTRIES = 400_000;
/**
 * V8 collects the young generation, which is garbage almost entirely, once it reaches this size in MiB. By default Node
 * 24 lets so much of it gather that the process grows by as much as an unbounded server would.
 */
const YOUNG_GENERATION = '--max-semi-space-size=1';
/**
 * The entries are some 110 MB as frames, of which the server holds a page and an outbox of 1 MiB. Measured: 7 MB more on
 * Node 20, 25 MB on Node 24, garbage included.
 */
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;
/** Another user's message comes back at least once while this number of messages is read. Measured: once in 500. */
const ENTRIES_AN_ECHO = 10_000;

let world: ChatWorld;
/** A process of its own, so that its memory can be measured. */
let node: NodeProcess;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.startProcess({ NODE_OPTIONS: YOUNG_GENERATION });
});
afterAll(() => world.close());

describe('a session hundreds of thousands of entries behind', () => {
  it('catches up in bounded memory, even if it pauses reading, and slows no other session', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const { first, last } = await fillRoom(world.databaseUrl, room, ENTRIES);
    const other = await RawClient.enter(node, ana, room);
    const talker = new Talker(other);
    await talker.say(100);
    const before = memoryOf(node.pid);

    const behind = await RawClient.enter(node, ana, room, first - 1);
    const part = ENTRIES / 10;
    const echoes = await talker.during(behind.reached(first + part));
    expect(echoes).toBeGreaterThan(part / ENTRIES_AN_ECHO);
    behind.pause();
    // Most of the backlog is not read yet: without a bound, all of it would wait in the server now.
    await untilReadingStops(world.databaseUrl, talker);
    behind.resume();
    const rest = last - (behind.last ?? 0);
    expect(await talker.during(behind.reached(last))).toBeGreaterThan(rest / ENTRIES_AN_ECHO);

    // Messages sent meanwhile follow, then new ones; no number is missing, and none comes twice.
    await talker.say(1);
    await behind.reached(other.last ?? 0);
    expect(behind.received).toBe(ENTRIES + talker.echoes);
    expect([...behind.answers, ...other.answers]).toEqual([]);
    expect(memoryOf(node.pid).peak - before.peak).toBeLessThan(MAX_GROWTH_BYTES);
    await Promise.all([behind.terminate(), other.terminate()]);
  });
});
