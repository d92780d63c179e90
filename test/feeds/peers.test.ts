import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPeers, type Peers } from '../../src/feeds/peers.js';
import { createLogger } from '../../src/logger.js';
import type { Entry } from '../../src/store/entry.js';
import { Bus, type BusLink } from '../harness/bus.js';

const INSTALLATION = '0d1f2a3b';
const ROOM = 7;
const HEARTBEAT_MS = 400;
const FORGOTTEN_MS = 60_000;

/** A node, with what it received from its peers. */
interface Node {
  readonly link: BusLink;
  readonly peers: Peers;
  readonly entries: number[];
  /** Heads that peers announced. */
  readonly heads: number[];
  /** Rooms that a peer has deleted. */
  readonly deletions: number[];
  /** Its log lines, as level and message. */
  readonly logged: string[];
  readonly moves: () => number;
}

let bus: Bus;
let nodes: Node[];

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'performance'],
  });
  bus = new Bus();
  nodes = [];
});
afterEach(async () => {
  await Promise.all(nodes.map(({ peers }) => peers.close()));
  vi.useRealTimers();
});

/** A node whose position in each of its rooms is `position`. */
function startNode({ position = 1, installation = INSTALLATION } = {}): Node {
  const link = bus.link();
  const [entries, heads, deletions, logged]: [number[], number[], number[], string[]] = [
    [],
    [],
    [],
    [],
  ];
  const logger = createLogger({ level: 'silent', production: true });
  for (const level of ['info', 'warn'] as const) {
    logger[level] = (_: unknown, text?: string) => logged.push(`${level}: ${text}`);
  }
  let moves = 0;
  const peers = createPeers({
    createBroker: link.createBroker,
    installation,
    logger,
    handlers: {
      entries: (_, news) => entries.push(...news.map(({ seq }) => seq)),
      head: (_, other) => heads.push(other),
      positionOf: () => position,
      deleted: (roomId) => deletions.push(roomId),
      epochChanged: () => (moves += 1),
      markerMoved: () => undefined,
      invited: () => undefined,
      revoked: () => undefined,
      typing: () => undefined,
      hintsOf: () => undefined,
      allHints: () => [],
    },
  });
  const node = { link, peers, entries, heads, deletions, logged, moves: () => moves };
  nodes.push(node);
  return node;
}

/** Lets published messages arrive, and their answers. */
async function arrive(): Promise<void> {
  for (let turns = 0; turns < 8; turns += 1) await new Promise(setImmediate);
}

async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= HEARTBEAT_MS) {
    vi.advanceTimersByTime(Math.min(left, HEARTBEAT_MS));
    await arrive();
  }
}

/** Waits until every node receives the entries of all its peers. */
async function settle(): Promise<void> {
  await pass(12 * HEARTBEAT_MS);
  for (const { link, peers } of nodes) expect([link.loses, peers.receivesAll]).toEqual([{}, true]);
}

function message(seq: number, roomId = ROOM): Entry {
  return {
    roomId,
    seq,
    kind: 'message',
    emitter: '5c4f3f0e-2a53-4a3f-8f5a-0d8e8f6f2b11',
    content: 'hi',
    ref: null,
    createdAt: '2026-01-15T09:20:00.000Z',
  };
}

/** The messages, without heartbeats, that are published because of `act`. */
async function publishedBy(act: () => void): Promise<string[]> {
  const before = bus.published.length;
  act();
  await arrive();
  return bus.published
    .slice(before)
    .map(([, text]) => text.slice(text.indexOf(' ') + 1))
    .filter((text) => text !== '{}');
}

describe('a room', () => {
  it('has its messages published only while a peer has it open', async () => {
    const [east, west] = [startNode(), startNode()];
    await east.peers.join(ROOM);
    await settle();
    expect(await publishedBy(() => east.peers.publish(ROOM, [message(2)]))).toEqual([]);

    await west.peers.join(ROOM);
    await arrive();
    east.peers.publish(ROOM, [message(3)]);
    west.peers.publish(ROOM, [message(4)]);
    await arrive();
    expect([west.entries, east.entries]).toEqual([[3], [4]]);

    await west.peers.leave(ROOM);
    await arrive();
    expect(await publishedBy(() => east.peers.publish(ROOM, [message(5)]))).toEqual([]);
  });

  it('has its messages published even if this node does not have it open, since a peer may', async () => {
    const [east, west] = [startNode(), startNode()];
    await west.peers.join(ROOM);
    await settle();
    east.peers.publish(ROOM, [message(2)]);
    await arrive();
    expect(west.entries).toEqual([2]);
  });

  it('has its messages published while it is unknown which peers have it open', async () => {
    const [east, west] = [startNode(), startNode()];
    west.link.loses = { sent: true };
    await east.peers.join(ROOM);
    await west.peers.join(ROOM);
    east.peers.publish(ROOM, [message(2)]);
    await arrive();
    expect(west.entries).toEqual([2]);
  });

  it('has its head sent to a peer that opens it, so that the peer misses no earlier entry', async () => {
    const [east, west] = [startNode({ position: 3 }), startNode({ position: 2 })];
    await east.peers.join(ROOM);
    await west.peers.join(ROOM);
    await arrive();
    expect(new Set(west.heads)).toEqual(new Set([3]));
  });

  it('has its head sent to a peer that was not known to have it open, and is behind', async () => {
    const east = startNode({ position: 3 });
    await east.peers.join(ROOM);
    await settle();
    // It has more entries by the time that the answer arrives.
    const west = startNode({ position: 5 });
    await west.peers.join(ROOM);
    await arrive();
    expect(new Set(west.heads)).toEqual(new Set([3]));
    expect(east.heads).toContain(5);
  });

  it('is deleted on all nodes, and its rule changes are published to all', async () => {
    const [east, west] = [startNode(), startNode()];
    await west.peers.join(ROOM);
    await settle();
    // The publishing node does not have the room open.
    east.peers.publishToAll(ROOM, { entries: [message(4)] });
    east.peers.publishToAll(ROOM, { deleted: true });
    await arrive();
    expect(west.entries).toEqual([4]);
    expect(west.deletions).toEqual([ROOM]);
  });

  it('is announced together with all rooms that open in the same turn', async () => {
    const [east, west] = [startNode(), startNode()];
    const rooms = Array.from({ length: 500 }, (_, at) => at + 1);
    await Promise.all(rooms.map((room) => east.peers.join(room)));
    await settle();
    const before = bus.published.length;
    await Promise.all(rooms.map((room) => west.peers.join(room)));
    await arrive();
    const answers = bus.published.slice(before).filter(([channel]) => channel.includes(':node:'));
    expect(answers.length).toBeLessThan(50);
    for (const room of rooms) east.peers.publish(room, [message(room + 1, room)]);
    await arrive();
    expect(west.entries).toEqual(rooms.map((room) => room + 1));
  });
});

describe('installations that share a Redis', () => {
  it('hear nothing of each other', async () => {
    const [here, there] = [startNode(), startNode({ installation: '9c8b7a6d' })];
    await Promise.all([here.peers.join(ROOM), there.peers.join(ROOM)]);
    for (const { peers } of [here, there]) {
      peers.publish(ROOM, [message(2)]);
      peers.publishToAll(ROOM, { entries: [message(3)] });
      peers.publishToAll(ROOM, { deleted: true });
    }
    await arrive();
    for (const { entries, heads, deletions } of [here, there]) {
      expect([entries, heads, deletions]).toEqual([[], [], []]);
    }
  });

  it('keep their open rooms when the epoch changes, and are heard there', async () => {
    const [east, west] = [startNode(), startNode()];
    await Promise.all([east.peers.join(ROOM), west.peers.join(ROOM)]);
    await settle();
    east.peers.moveTo('5e4d3c2b');
    west.peers.publish(ROOM, [message(2)]);
    await arrive();
    expect(east.entries).toEqual([]);
    expect([east.moves(), west.moves()]).toEqual([0, 1]);
    west.peers.moveTo('5e4d3c2b');
    await settle();
    west.peers.publish(ROOM, [message(3)]);
    await arrive();
    expect(east.entries).toEqual([3]);
  });
});

describe('a node', () => {
  it('is up once it hears its own heartbeat', async () => {
    const node = startNode();
    expect(node.peers.isUp).toBe(false);
    await arrive();
    expect(node.peers.isUp).toBe(true);
  });

  it.each([
    ['its messages', { sent: true }],
    ['the messages for it', { heard: true }],
  ])('is down within 2 s if %s are lost, though it is connected', async (_, loses) => {
    const node = startNode();
    await settle();
    node.link.loses = loses;
    await pass(1_600);
    expect([node.peers.isUp, node.peers.receivesAll]).toEqual([false, false]);
    node.link.loses = {};
    await pass(HEARTBEAT_MS);
    expect(node.peers.isUp).toBe(true);
    await settle();
  });

  it('warns once that the broker is down, then once a minute with the reason, and logs when it is up', async () => {
    const node = startNode();
    node.link.problem = new Error('NOPERM');
    await settle();
    node.link.loses = { sent: true };
    await pass(30_000);
    expect(node.logged).toEqual(['warn: broker is down, polling the database']);
    await pass(100_000);
    expect(node.logged).toHaveLength(3);
    node.link.loses = {};
    await pass(1_000);
    expect(node.logged.at(-1)).toBe('info: broker is up again');
    // A connection that breaks again and again does not flood the log, either.
    for (let round = 0; round < 10; round += 1) {
      node.link.loses = { sent: true };
      await pass(2_000);
      node.link.loses = {};
      await pass(800);
    }
    expect(node.logged.length).toBeLessThanOrEqual(6);
  });

  it('waits with its warning for a reason that comes late', async () => {
    const node = startNode();
    await settle();
    node.link.loses = { sent: true };
    await pass(3_200);
    expect(node.peers.isUp).toBe(false);
    expect(node.logged).toEqual([]);
    node.link.problem = new Error('Command timed out');
    await pass(HEARTBEAT_MS);
    expect(node.logged).toEqual(['warn: broker is down, polling the database']);
  });

  it('is in doubt while a peer is silent, for a minute at most', async () => {
    const [east, dead] = [startNode(), startNode()];
    await Promise.all([east.peers.join(ROOM), dead.peers.join(ROOM)]);
    await settle();
    dead.link.end();
    await pass(1_600);
    expect(east.peers.receivesAll).toBe(false);
    await pass(FORGOTTEN_MS - 4_000);
    expect(east.peers.receivesAll).toBe(false);
    await pass(4_000);
    expect(east.peers.receivesAll).toBe(true);
    expect(await publishedBy(() => east.peers.publish(ROOM, [message(2)]))).toEqual([]);
  });

  it('forgets at once a peer that shuts down in order', async () => {
    const [east, west] = [startNode(), startNode()];
    await Promise.all([east.peers.join(ROOM), west.peers.join(ROOM)]);
    await settle();
    await west.peers.close();
    await pass(8 * HEARTBEAT_MS);
    expect(east.peers.receivesAll).toBe(true);
    expect(await publishedBy(() => east.peers.publish(ROOM, [message(2)]))).toEqual([]);
  });

  it('learns the rooms that a silent peer opened meanwhile, when it is heard again', async () => {
    const [east, west] = [startNode(), startNode()];
    await east.peers.join(ROOM);
    await settle();
    // Neither node can notice this cut by its own heartbeats: each still receives them.
    west.link.loses = { sent: true };
    await west.peers.join(ROOM);
    await pass(4 * HEARTBEAT_MS);
    expect(east.peers.receivesAll).toBe(false);
    west.link.loses = {};
    await settle();
    east.peers.publish(ROOM, [message(2)]);
    await arrive();
    expect(west.entries).toEqual([2]);
  });

  it('knows a forgotten peer again when it is heard', async () => {
    const [east, west] = [startNode({ position: 3 }), startNode({ position: 1 })];
    await Promise.all([east.peers.join(ROOM), west.peers.join(ROOM)]);
    await settle();
    west.heads.length = 0;
    west.link.loses = { sent: true };
    await pass(FORGOTTEN_MS + 2_000);
    west.link.loses = {};
    await settle();
    // The entries stored meanwhile were not published to it.
    expect(west.heads).toContain(3);
    east.peers.publish(ROOM, [message(4)]);
    west.peers.publish(ROOM, [message(5)]);
    await arrive();
    expect([west.entries, east.entries]).toEqual([[4], [5]]);
  });

  it('makes peers read the log after its connection broke, even briefly', async () => {
    const [east, west] = [startNode(), startNode()];
    await Promise.all([east.peers.join(ROOM), west.peers.join(ROOM)]);
    await settle();
    west.link.loses = { sent: true };
    west.peers.publish(ROOM, [message(2)]);
    await arrive();
    west.link.loses = {};
    expect(east.peers.receivesAll).toBe(true);
    west.link.reconnect();
    await arrive();
    expect([east.peers.receivesAll, west.peers.receivesAll]).toEqual([false, false]);
    await settle();
    east.peers.publish(ROOM, [message(3)]);
    await arrive();
    expect(west.entries).toEqual([3]);
  });

  it('announces a room again if its announcement did not come back', async () => {
    const [east, west] = [startNode(), startNode()];
    await east.peers.join(ROOM);
    await settle();
    west.link.loses = { sent: true };
    await west.peers.join(ROOM);
    await arrive();
    west.link.loses = {};
    await settle();
    east.peers.publish(ROOM, [message(2)]);
    await arrive();
    expect(west.entries).toEqual([2]);
  });

  it('lists many rooms in few messages, and again for a peer that asks meanwhile', async () => {
    const rooms = Array.from({ length: 2_500 }, (_, at) => at + 1);
    const [east, west] = [startNode(), startNode()];
    await Promise.all(rooms.flatMap((room) => [east.peers.join(room), west.peers.join(room)]));
    await settle();
    const before = bus.published.length;
    west.link.reconnect();
    await settle();
    // Each node asks the other, which answers in three parts, and each heartbeat is one more message.
    expect(bus.published.length - before).toBeLessThan(50);
    for (const room of rooms) east.peers.publish(room, [message(2, room)]);
    await arrive();
    expect(west.entries).toHaveLength(rooms.length);
  });

  it('hands on entries of kinds that it does not know, which a newer node publishes', async () => {
    const node = startNode();
    await node.peers.join(ROOM);
    const entry = { ...message(2), kind: 'transfer', content: '{"to":"whom"}', weight: 7 };
    node.link.deliver(
      `${INSTALLATION}:room:${ROOM}`,
      `abcdefgh.1 ${JSON.stringify({ entries: [entry] })}`,
    );
    expect(node.entries).toEqual([2]);
  });

  it('ignores messages that are not from a node', async () => {
    const node = startNode();
    await node.peers.join(ROOM);
    await settle();
    const rule = { ...message(2), kind: 'member', content: 'no rule' };
    const rules = { ...message(2), kind: 'members', content: '{"members":[{"level":0}]}' };
    const bodies = [
      '',
      'x',
      'x null',
      'abcdefgh.1 null',
      'abcdefgh.1 {"entries":5}',
      'abcdefgh.1 {"entries":[null]}',
      'abcdefgh.1 {"deleted":1}',
      `abcdefgh.1 ${JSON.stringify({ entries: [rule] })}`,
      `abcdefgh.1 ${JSON.stringify({ entries: [rules] })}`,
      `abcdefgh.1 ${JSON.stringify({ entries: [message(2, ROOM + 1)] })}`,
      `abcdefgh.1 ${JSON.stringify({ entries: [message(-1)] })}`,
      `x ${JSON.stringify({ entries: [message(2)] })}`,
      `x {"rooms":[[${ROOM},9]]}`,
    ];
    for (const body of bodies) node.link.deliver(`${INSTALLATION}:room:${ROOM}`, body);
    expect([node.entries, node.heads, node.deletions]).toEqual([[], [], []]);
    expect(node.peers.receivesAll).toBe(true);
    expect(node.logged).toEqual(['warn: unknown message from the broker']);
  });
});

describe('an idle installation', () => {
  it('publishes only heartbeats, however many rooms it has', async () => {
    const rooms = Array.from({ length: 50 }, (_, at) => at + 1);
    for (let count = 0; count < 8; count += 1) startNode();
    await Promise.all(nodes.flatMap(({ peers }) => rooms.map((room) => peers.join(room))));
    await settle();
    const before = bus.published.length;
    await pass(10 * HEARTBEAT_MS);
    expect(bus.published.length - before).toBe(10 * nodes.length);
  });
});
