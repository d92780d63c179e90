import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { Broker } from '../../src/broker/broker.js';
import { createLocalBroker } from '../../src/broker/local.js';
import { createRedisBroker } from '../../src/broker/redis.js';
import { BrokerEar } from '../harness/broker-ear.js';
import { redisUrl } from '../harness/services.js';
import { QUIET } from '../harness/store-hosts.js';

/** Creates a broker of one chat; `chat` names it among those that share a Redis. */
type Create = (chat: string, ear: BrokerEar) => Broker;

const kinds: readonly (readonly [name: string, create: Create])[] = [
  ['in the process', (_, ear) => createLocalBroker(ear.hear)],
  [
    'over Redis',
    (chat, ear) =>
      createRedisBroker({
        url: redisUrl(),
        prefix: chat,
        logger: QUIET,
        onMessage: ear.hear,
      }),
  ],
];

describe.each(kinds)('a broker %s', (_, create) => {
  const opened: Broker[] = [];

  afterEach(async () => {
    await Promise.all(opened.splice(0).map((broker) => broker.close()));
  });

  it('delivers messages of a channel in order, to their publisher too', async () => {
    const { broker, ear } = await open();
    await broker.subscribe('a');

    const sent = Array.from({ length: 500 }, (_, n) => `${n}`);
    for (const message of sent) broker.publish('a', message);

    await ear.heard('a', '499');
    expect(ear.messages).toEqual(sent.map((message) => ['a', message]));
  });

  it('delivers messages from the moment at which subscribe resolves', async () => {
    const { broker, ear } = await open();

    for (const channel of ['a', 'b', 'c']) {
      await broker.subscribe(channel);
      broker.publish(channel, 'first');
    }

    await ear.heard('c', 'first');
    expect(ear.messages).toEqual([
      ['a', 'first'],
      ['b', 'first'],
      ['c', 'first'],
    ]);
  });

  it('delivers nothing from a channel without a subscription', async () => {
    const { broker, ear } = await open();
    await broker.subscribe('a');

    for (const channel of ['b', 'aa', 'A', '', 'a*', '*']) broker.publish(channel, 'no');
    broker.publish('a', 'yes');

    await ear.heard('a', 'yes');
    expect(ear.messages).toEqual([['a', 'yes']]);
  });

  it('delivers nothing after unsubscribe has resolved', async () => {
    const { broker, ear } = await open();
    await Promise.all([broker.subscribe('a'), broker.subscribe('b')]);
    broker.publish('a', 'before');
    await ear.heard('a', 'before');

    await broker.unsubscribe('a');
    broker.publish('a', 'after');
    broker.publish('b', 'end');

    await ear.heard('b', 'end');
    expect(ear.messages).toEqual([
      ['a', 'before'],
      ['b', 'end'],
    ]);
  });

  it('delivers a message once, however often its channel was subscribed', async () => {
    const { broker, ear } = await open();
    await Promise.all([broker.subscribe('a'), broker.subscribe('a'), broker.subscribe('b')]);
    await broker.unsubscribe('a');
    await broker.subscribe('a');

    broker.publish('a', 'once');
    broker.publish('b', 'end');

    await ear.heard('b', 'end');
    expect(ear.messages).toEqual([
      ['a', 'once'],
      ['b', 'end'],
    ]);
  });

  it('keeps the order of subscribe and unsubscribe calls that are not awaited', async () => {
    const { broker, ear } = await open();

    void broker.subscribe('a');
    void broker.unsubscribe('a');
    void broker.subscribe('b');
    void broker.unsubscribe('b');
    await broker.subscribe('b');
    broker.publish('a', 'no');
    broker.publish('b', 'yes');

    await ear.heard('b', 'yes');
    expect(ear.messages).toEqual([['b', 'yes']]);
  });

  it('delivers any text unchanged', async () => {
    const { broker, ear } = await open();
    await broker.subscribe('sala “ñ” 🎈\r\n');
    const texts = ['', '👩‍👩‍👧 ñandú', 'a\r\nb\0c', 'x'.repeat(1_000_000)];

    for (const text of texts) broker.publish('sala “ñ” 🎈\r\n', text);

    await ear.heard('sala “ñ” 🎈\r\n', texts.at(-1) ?? '');
    expect(ear.messages.map(([, message]) => message)).toEqual(texts);
  });

  it('keeps installations apart', async () => {
    const one = await open('one');
    const other = await open('other');
    await Promise.all([one.broker.subscribe('a'), other.broker.subscribe('a')]);

    one.broker.publish('a', 'for one');
    other.broker.publish('a', 'for the other');

    await Promise.all([one.ear.heard('a', 'for one'), other.ear.heard('a', 'for the other')]);
    expect(one.ear.messages).toEqual([['a', 'for one']]);
    expect(other.ear.messages).toEqual([['a', 'for the other']]);
  });

  it('is up, and has lost nothing', async () => {
    const { broker } = await open();
    let losses = 0;
    broker.onLoss(() => {
      losses += 1;
    });
    await broker.subscribe('a');
    broker.publish('a', 'hi');
    await broker.unsubscribe('a');

    expect(broker.isUp).toBe(true);
    expect(losses).toBe(0);
  });

  it('delivers nothing after it was closed, and accepts calls without an error', async () => {
    const { broker, ear } = await open();
    await broker.subscribe('a');

    await broker.close();
    broker.publish('a', 'too late');
    await broker.subscribe('b');
    await broker.unsubscribe('a');
    await broker.close();

    const another = await open();
    await another.broker.subscribe('end');
    another.broker.publish('end', 'end');
    await another.ear.heard('end', 'end');
    expect(ear.messages).toEqual([]);
  });

  async function open(chat = ''): Promise<{ broker: Broker; ear: BrokerEar }> {
    const ear = new BrokerEar();
    const broker = create(`${chat} ${randomUUID()}`, ear);
    opened.push(broker);
    await ear.up(broker);
    return { broker, ear };
  }
});
