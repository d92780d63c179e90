import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPeers, type Peers } from '../../src/feeds/peers.js';
import { RoomHints } from '../../src/feeds/room-hints.js';
import type { Subscriber } from '../../src/feeds/subscribers.js';
import { createLogger } from '../../src/logger.js';
import { Bus, type BusLink } from '../harness/bus.js';

const ROOM = 7;
const HEARTBEAT_MS = 400;
const GRACE_MS = 10_000;

/** A node that has the room open. */
interface Node {
  readonly link: BusLink;
  readonly peers: Peers;
  readonly hints: RoomHints;
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
  await Promise.all(nodes.map(close));
  vi.useRealTimers();
});

async function startNode(): Promise<Node> {
  const link = bus.link();
  let version = 0;
  const hints = new RoomHints({
    roomId: ROOM,
    flushQueue: { addRoom: () => undefined, addWriter: () => undefined },
    publish: (told) => {
      peers.publishHints(ROOM, { ...told, rulesHead: 0 });
    },
    isLive: () => true,
    nextVersion: () => (version += 1),
  });
  const peers = createPeers({
    createBroker: link.createBroker,
    installation: '0d1f2a3b',
    logger: createLogger({ level: 'silent', production: true }),
    handlers: {
      entries: () => undefined,
      head: () => undefined,
      positionOf: () => 1,
      deleted: () => undefined,
      epochChanged: () => undefined,
      markerMoved: () => undefined,
      invited: () => undefined,
      revoked: () => undefined,
      typing: () => undefined,
      hintsOf: (roomId) => (roomId === ROOM ? hints : undefined),
      allHints: () => [hints],
    },
  });
  const node = { link, peers, hints };
  nodes.push(node);
  await peers.join(ROOM);
  return node;
}

async function close({ peers, hints }: Node): Promise<void> {
  hints.close();
  await peers.close();
}

function session(userUUID: string): Subscriber {
  const identity = { userUUID, entityUUID: '', levelOnEntity: 0, isServer: false };
  return { version: 1, identity, writer: {} as Subscriber['writer'], roomLost: () => undefined };
}

/** Users enter the room on a node; returns what lets them go. */
function enter({ hints }: Node, ...users: string[]): () => void {
  const sessions = users.map(session);
  for (const one of sessions) hints.join(one, new Set());
  return () => {
    for (const one of sessions) hints.leave(one, one.identity, false);
  };
}

async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= HEARTBEAT_MS) {
    vi.advanceTimersByTime(Math.min(left, HEARTBEAT_MS));
    await arrive();
  }
}

/** Lets published messages arrive, and their answers. */
async function arrive(): Promise<void> {
  for (let turns = 0; turns < 8; turns += 1) await new Promise(setImmediate);
}

/** Until all nodes know each other, and what they have asked for. */
const settle = (): Promise<void> => pass(15 * HEARTBEAT_MS);

const shownBy = ({ hints }: Node): string[] => hints.presence.users().toSorted();

describe('a user who is online', () => {
  it('is known on each node, also on one that opens the room later, and without a message a join', async () => {
    const [east, west] = [await startNode(), await startNode()];
    await settle();
    const before = bus.published.length;
    const many = Array.from({ length: 500 }, (_, n) => `user ${n}`).toSorted();
    enter(east, ...many);
    await pass(HEARTBEAT_MS);
    expect(shownBy(west)).toEqual(many);
    expect(bus.published.length - before).toBeLessThan(5);

    const late = await startNode();
    await settle();
    expect(shownBy(late)).toEqual(many);
  });

  it('is so once, until the last of their sessions on any node has been gone for the grace', async () => {
    const [east, west] = [await startNode(), await startNode()];
    await settle();
    const leaves = [enter(east, 'ana', 'ana'), enter(west, 'ana')];
    await pass(HEARTBEAT_MS);
    leaves[0]?.();
    await pass(GRACE_MS + 1_000);
    expect([east, west].map(shownBy)).toEqual([['ana'], ['ana']]);
    leaves[1]?.();
    await pass(GRACE_MS - 1_000);
    expect([east, west].map(shownBy)).toEqual([['ana'], ['ana']]);
    await pass(2_000);
    expect([east, west].map(shownBy)).toEqual([[], []]);
  });

  it('stays so through a restart of their node, if they come back within the grace', async () => {
    const [east, west] = [await startNode(), await startNode()];
    await settle();
    enter(east, 'ana', 'ben');
    await pass(HEARTBEAT_MS);
    await close(east);
    await pass(GRACE_MS / 2);
    expect(shownBy(west)).toEqual(['ana', 'ben']);
    enter(west, 'ana');
    await pass(GRACE_MS);
    expect(shownBy(west)).toEqual(['ana']);
  });

  it('is gone within a minute if their node was killed, and not before it was long silent', async () => {
    const [east, west] = [await startNode(), await startNode()];
    await settle();
    enter(east, 'ana');
    enter(west, 'ben');
    await pass(HEARTBEAT_MS);
    east.link.end();
    await pass(45_000);
    expect(shownBy(west)).toEqual(['ana', 'ben']);
    await pass(14_000);
    expect(shownBy(west)).toEqual(['ben']);
  });

  it('stays so for a minute while the broker is down, and after it is up again', async () => {
    const [east, west] = [await startNode(), await startNode()];
    await settle();
    enter(east, 'ana');
    enter(west, 'ben');
    await pass(HEARTBEAT_MS);
    for (const { link } of nodes) link.loses = { sent: true };
    await pass(58_000);
    expect([east, west].map(shownBy)).toEqual([
      ['ana', 'ben'],
      ['ana', 'ben'],
    ]);
    for (const { link } of nodes) link.loses = {};
    await settle();
    await pass(60_000);
    expect([east, west].map(shownBy)).toEqual([
      ['ana', 'ben'],
      ['ana', 'ben'],
    ]);

    for (const { link } of nodes) link.loses = { sent: true };
    await pass(63_000);
    expect([east, west].map(shownBy)).toEqual([['ana'], ['ben']]);
    for (const { link } of nodes) link.loses = {};
    await settle();
    expect([east, west].map(shownBy)).toEqual([
      ['ana', 'ben'],
      ['ana', 'ben'],
    ]);
  });
});

describe('the users of a room that a node does not have open', () => {
  it('are asked of the peers, without waiting long for one that does not answer', async () => {
    const [east, west, other] = [await startNode(), await startNode(), await startNode()];
    await settle();
    enter(west, 'ana');
    enter(other, 'ana', 'ben');
    expect(await found(east)).toEqual(['ana', 'ben']);
    other.link.loses = { heard: true };
    expect(await found(east)).toEqual(['ana']);
  });

  async function found({ peers }: Node): Promise<string[]> {
    const finding = peers.online(ROOM);
    await arrive();
    await pass(HEARTBEAT_MS);
    return [...(await finding)].toSorted();
  }
});

type Step = { do: 'enter' | 'leave' | 'cut' | 'heal' | 'wait'; node: number; user: number };

const steps = fc.array(
  fc.record({
    do: fc.constantFrom<Step['do']>('enter', 'enter', 'leave', 'cut', 'heal', 'wait'),
    node: fc.nat(2),
    user: fc.nat(3),
  }),
  { maxLength: 25 },
);

it('all nodes agree on who is online, whatever was lost between them', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      bus = new Bus();
      nodes = [];
      for (let n = 0; n < 3; n += 1) await startNode();
      await settle();
      const sessions: { node: Node; user: string; leave: () => void }[] = [];
      for (const step of steps) {
        const node = nodes[step.node];
        if (node === undefined) continue;
        const user = `user ${step.user}`;
        if (step.do === 'enter') sessions.push({ node, user, leave: enter(node, user) });
        else if (step.do === 'leave') sessions.shift()?.leave();
        else if (step.do === 'wait') await pass(HEARTBEAT_MS);
        else if (step.do === 'cut') node.link.loses = { sent: true, heard: true };
        else {
          node.link.loses = {};
          // As ioredis reports it: messages were lost.
          node.link.reconnect();
        }
      }
      for (const { link } of nodes) {
        link.loses = {};
        link.reconnect();
      }
      await pass(GRACE_MS);
      await settle();
      const online = [...new Set(sessions.map(({ user }) => user))].toSorted();
      expect(nodes.map(shownBy)).toEqual([online, online, online]);
      await Promise.all(nodes.splice(0).map(close));
    }),
    { numRuns: 30 },
  );
});
