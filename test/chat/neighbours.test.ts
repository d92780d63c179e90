import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import type { Broker } from '../../src/broker/broker.js';
import { createRedisBroker } from '../../src/broker/redis.js';
import { createNeighbours, type Neighbours } from '../../src/chat/neighbours.js';
import type { Entry } from '../../src/store/entries.js';
import { BrokerEar } from '../harness/broker-ear.js';
import { QUIET } from '../harness/store-hosts.js';

const ROOM = 7;
const PATIENCE = { timeout: 10_000 };
const CHANNEL = `room:${ROOM}`;

/** A node, with what it heard of the others. */
interface Node {
  readonly neighbours: Neighbours;
  readonly entries: number[];
  readonly numbers: number[];
  /** Rooms that were said to be deleted. */
  readonly deletions: number[];
}

describe('nodes', () => {
  let prefix: string;
  /** Hears all that is published about the room. */
  let ear: BrokerEar;
  const opened: Broker[] = [];

  beforeEach(async () => {
    prefix = randomUUID();
    ear = new BrokerEar();
    const listening = openBroker(ear.hear);
    await ear.up(listening);
    await listening.subscribe(CHANNEL);
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((broker) => broker.close()));
  });

  function openBroker(onMessage: BrokerEar['hear']): Broker {
    const broker = createRedisBroker({
      url: inject('redisUrl'),
      prefix,
      logger: QUIET,
      onMessage,
    });
    opened.push(broker);
    return broker;
  }

  /** A node that has the room up to `number`. */
  async function startNode(number: number): Promise<Node> {
    const entries: number[] = [];
    const numbers: number[] = [];
    const deletions: number[] = [];
    const neighbours = createNeighbours({
      createBroker: openBroker,
      logger: QUIET,
      handlers: {
        entries: (_, news) => entries.push(...news.map(({ seq }) => seq)),
        number: (_, other) => numbers.push(other),
        numberOf: () => number,
        deleted: (roomId) => deletions.push(roomId),
      },
    });
    await vi.waitFor(() => {
      expect(neighbours.broker.isUp).toBe(true);
    }, PATIENCE);
    return { neighbours, entries, numbers, deletions };
  }

  /** Numbers of the entries that were published up to now: what a node tells after them is heard. */
  async function published(by: Node): Promise<number[]> {
    by.neighbours.tellAll(ROOM, { deleted: true });
    const marks = (): number =>
      ear.messages.filter(([, message]) => message.includes('"deleted"')).length;
    const before = marks();
    await vi.waitFor(() => {
      expect(marks()).toBeGreaterThan(before);
    }, PATIENCE);
    return ear.messages.flatMap(([, message]) => {
      const news = JSON.parse(message.slice(message.indexOf(' '))) as { entries?: Entry[] };
      return (news.entries ?? []).map(({ seq }) => seq);
    });
  }

  it('publish messages only while another node looks at the room', async () => {
    const east = await startNode(3);
    const west = await startNode(2);
    await east.neighbours.join(ROOM);
    east.neighbours.tell(ROOM, [message(4)]);
    expect(await published(east)).toEqual([]);

    await west.neighbours.join(ROOM);
    await heard(east.numbers, 2);
    east.neighbours.tell(ROOM, [message(5)]);
    await heard(west.entries, 5);

    await west.neighbours.leave(ROOM);
    await caughtUp(east, west);
    east.neighbours.tell(ROOM, [message(6)]);
    expect(await published(east)).toEqual([5]);
  });

  it('tell who comes how far the room is, so that nothing is missed before the greeting', async () => {
    const east = await startNode(3);
    const west = await startNode(2);
    await east.neighbours.join(ROOM);
    await west.neighbours.join(ROOM);

    await heard(west.numbers, 3);
    west.neighbours.tell(ROOM, [message(4)]);
    await heard(east.entries, 4);
    expect(new Set(west.numbers)).toEqual(new Set([3]));
  });

  it('tell who was not known to look what it has missed while it was not', async () => {
    const east = await startNode(3);
    await east.neighbours.join(ROOM);
    // A node that has more already when it hears who answers its greeting.
    const west = await startNode(5);
    await west.neighbours.join(ROOM);
    await heard(west.numbers, 3);
    await vi.waitFor(() => {
      expect(east.numbers.filter((number) => number === 5).length).toBeGreaterThanOrEqual(2);
    }, PATIENCE);
  });

  it('tell everybody of a change of rules', async () => {
    const east = await startNode(3);
    const west = await startNode(3);
    await west.neighbours.join(ROOM);
    // It does not look at the room itself.
    east.neighbours.tellAll(ROOM, { entries: [message(4)] });
    await heard(west.entries, 4);
    expect(west.entries).toEqual([4]);
  });

  it('forget who has not answered from one renewal to the next, and nobody else', async () => {
    const [east, west, dead] = [await startNode(1), await startNode(2), await startNode(3)];
    for (const node of [east, west, dead]) await node.neighbours.join(ROOM);
    await heard(east.numbers, 3);
    await dead.neighbours.broker.close();

    await heard(west.numbers, 3);
    // Behind the answer of the west to that greeting.
    west.neighbours.tellAll(ROOM, { entries: [message(9)] });
    await heard(east.entries, 9);
    east.numbers.length = 0;
    east.neighbours.renew();
    await heard(east.numbers, 2);
    east.neighbours.renew();
    east.neighbours.tell(ROOM, [message(4)]);
    await heard(west.entries, 4);

    await west.neighbours.leave(ROOM);
    await caughtUp(east, west);
    east.neighbours.tell(ROOM, [message(5)]);
    expect(await published(east)).toEqual([9, 4]);
  });
});

/** Resolves when `listener` has heard all that `speaker` has published up to now. */
async function caughtUp(listener: Node, speaker: Node): Promise<void> {
  const before = listener.deletions.length;
  speaker.neighbours.tellAll(ROOM, { deleted: true });
  await vi.waitFor(() => {
    expect(listener.deletions.length).toBeGreaterThan(before);
  }, PATIENCE);
}

async function heard(list: readonly number[], number: number): Promise<void> {
  await vi.waitFor(() => {
    expect(list).toContain(number);
  }, PATIENCE);
}

function message(seq: number): Entry {
  return {
    room_id: ROOM,
    seq,
    kind: 'message',
    emitter: randomUUID(),
    content: 'hi',
    ref: null,
    createdAt: new Date().toISOString(),
  };
}
