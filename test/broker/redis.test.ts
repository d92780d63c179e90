import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Broker } from '../../src/broker/broker.js';
import { createRedisBroker } from '../../src/broker/redis.js';
import { BrokerEar } from '../harness/broker-ear.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { eventually } from '../harness/eventually.js';
import { startRedis } from '../harness/redis.js';
import { redisUrl } from '../harness/services.js';
import { QUIET } from '../harness/store-hosts.js';

/** The broker while Redis fails: it is connected through an outlet, the other nodes are not. */
describe('the broker over Redis', () => {
  let outlet: Outlet;
  let prefix: string;
  let ear: BrokerEar;
  let broker: Broker;
  let reconnects: number;
  const opened: Broker[] = [];

  beforeEach(async () => {
    outlet = await openOutlet(redisUrl());
    prefix = randomUUID();
    ear = new BrokerEar();
    reconnects = 0;
    broker = open(outlet.url, ear);
    broker.onReconnect(() => {
      reconnects += 1;
    });
    await ear.up(broker);
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((broker) => broker.close()));
    await outlet.close();
  });

  it('uses two connections, however many channels it has', async () => {
    await Promise.all(Array.from({ length: 200 }, (_, n) => broker.subscribe(`${n}`)));

    for (let n = 0; n < 200; n += 1) broker.publish(`${n}`, 'hi');

    await ear.heard('199', 'hi');
    expect(ear.messages).toHaveLength(200);
    expect(outlet.connections).toBe(2);
  });

  it('calls onReconnect after the first connection, too', () => {
    expect(reconnects).toBe(1);
  });

  it('is down while Redis is down, and drops published messages', async () => {
    await broker.subscribe('a');

    await outlet.cut();
    await down();
    broker.publish('a', 'lost');
    await outlet.restore();
    await ear.up(broker);
    broker.publish('a', 'found');

    await ear.heard('a', 'found');
    expect(ear.messages).toEqual([['a', 'found']]);
    expect(outlet.connections).toBe(2);
  });

  it('has renewed its current subscriptions when it calls onReconnect', async () => {
    await Promise.all([broker.subscribe('kept'), broker.subscribe('left')]);
    const other = await openDirectly();

    await outlet.cut();
    await down();
    // Both take effect with the reconnect.
    await broker.subscribe('new');
    await broker.unsubscribe('left');
    const reconnected = new Promise<boolean>((resolve) => {
      broker.onReconnect(() => {
        for (const channel of ['kept', 'left', 'new']) other.publish(channel, 'hi');
        resolve(true);
      });
    });
    await outlet.restore();
    await reconnected;

    await ear.heard('new', 'hi');
    expect(ear.messages).toEqual([
      ['kept', 'hi'],
      ['new', 'hi'],
    ]);
  });

  it('reconnects as often as necessary', async () => {
    await broker.subscribe('a');

    for (let round = 0; round < 5; round += 1) {
      await outlet.cut();
      await down();
      await outlet.restore();
      await ear.up(broker);
    }
    broker.publish('a', 'hi');

    await ear.heard('a', 'hi');
    expect(ear.messages).toEqual([['a', 'hi']]);
    expect(reconnects).toBe(6);
  });

  it('reconnects to a restarted Redis', async () => {
    const first = await startRedis();
    const second = await startRedis();
    try {
      await outlet.cut();
      await outlet.restore(first.url);
      await ear.up(broker);
      await broker.subscribe('a');

      await first.stop();
      // stop() does not end a Redis that was given for the test run.
      await outlet.cut();
      await down();
      await outlet.restore(second.url);
      await ear.up(broker);
      broker.publish('a', 'hi');

      await ear.heard('a', 'hi');
      expect(ear.messages).toEqual([['a', 'hi']]);
    } finally {
      await second.stop();
    }
  });

  it('resolves every call if Redis was never there', async () => {
    await outlet.cut();
    const lonelyEar = new BrokerEar();
    const lonely = open(outlet.url, lonelyEar);

    await lonely.subscribe('a');
    lonely.publish('a', 'lost');
    expect(lonely.isUp).toBe(false);

    await outlet.restore();
    await lonelyEar.up(lonely);
    lonely.publish('a', 'hi');
    await lonelyEar.heard('a', 'hi');
    expect(lonelyEar.messages).toEqual([['a', 'hi']]);
  });

  it('resolves every call if Redis hangs', async () => {
    await broker.subscribe('a');
    await broker.subscribe('b');

    outlet.stall();
    broker.publish('a', 'into the void');
    // Each resolves or rejects while Redis still hangs.
    await Promise.all([broker.subscribe('c'), broker.unsubscribe('b')]);
    await down();
    outlet.resume();
    await ear.up(broker);
    for (const channel of ['b', 'c']) broker.publish(channel, 'hi');

    await ear.heard('c', 'hi');
    expect(ear.messages.filter(([, message]) => message === 'hi')).toEqual([['c', 'hi']]);
  });

  it('is down if Redis hangs, even without a subscription', async () => {
    await broker.subscribe('a');

    outlet.stall();
    broker.publish('a', 'into the void');
    await down();
    outlet.resume();
    await ear.up(broker);

    broker.publish('a', 'hi');
    await ear.heard('a', 'hi');
    expect(reconnects).toBe(2);
  });

  it('is down as soon as it has found that Redis hangs', async () => {
    expect(broker.problem).toBeUndefined();
    outlet.stall();
    await eventually(() => {
      expect(broker.problem).toMatchObject({ message: 'Command timed out' });
    });
    // The end of a connection takes a turn of the event loop or two.
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);

    expect(broker.isUp).toBe(false);
  });

  it('completes a subscription that was in flight when Redis ended', async () => {
    outlet.stall();
    const subscribed = broker.subscribe('a');
    await outlet.cut();
    await subscribed;
    outlet.resume();
    await outlet.restore();
    await ear.up(broker);

    broker.publish('a', 'hi');

    await ear.heard('a', 'hi');
    expect(ear.messages).toEqual([['a', 'hi']]);
  });

  it('closes both connections, and opens none afterwards', async () => {
    await broker.subscribe('a');
    outlet.stall();
    const hanging = broker.subscribe('b');
    await broker.close();
    outlet.resume();
    await hanging;

    await eventually(() => {
      expect(outlet.connections).toBe(0);
    });
    expect(broker.isUp).toBe(false);
  });

  function open(url: string, ear: BrokerEar): Broker {
    const opening = createRedisBroker({ url, prefix, logger: QUIET, onMessage: ear.hear });
    opened.push(opening);
    return opening;
  }

  /** Another node of the same chat, whose Redis does not fail. */
  async function openDirectly(): Promise<Broker> {
    const ear = new BrokerEar();
    const direct = open(redisUrl(), ear);
    await ear.up(direct);
    return direct;
  }

  function down(): Promise<void> {
    return eventually(() => {
      expect(broker.isUp).toBe(false);
    });
  }
});
