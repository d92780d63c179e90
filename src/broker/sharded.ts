import type { Broker, CreateBroker, OnMessage } from './broker.js';

/** The offset and the prime of FNV-1a with 32 bits. */
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** The index of the broker, of `count`, that carries a channel: the same on every node. */
export function shardOf(channel: string, count: number): number {
  let hash = FNV_OFFSET;
  for (let at = 0; at < channel.length; at += 1) {
    hash = Math.imul(hash ^ channel.charCodeAt(at), FNV_PRIME);
  }
  return (hash >>> 0) % count;
}

/**
 * One broker over several: each channel is carried by one of them. It is up while all are, so that a node compares the
 * heads of its rooms often if any of them fails; meanwhile the others deliver as before.
 */
export function createShardedBroker(shards: readonly CreateBroker[], onMessage: OnMessage): Broker {
  const brokers = shards.map((create) => create(onMessage));

  function brokerOf(channel: string): Broker {
    const broker = brokers[shardOf(channel, brokers.length)];
    if (broker === undefined) throw new Error('there are no brokers');
    return broker;
  }

  return {
    get isUp() {
      return brokers.every((broker) => broker.isUp);
    },
    get problem() {
      return brokers.find((broker) => !broker.isUp)?.problem;
    },
    publish(channel, message) {
      brokerOf(channel).publish(channel, message);
    },
    subscribe: (channel) => brokerOf(channel).subscribe(channel),
    unsubscribe: (channel) => brokerOf(channel).unsubscribe(channel),
    onReconnect(listener) {
      for (const broker of brokers) broker.onReconnect(listener);
    },
    onLoss(listener) {
      for (const broker of brokers) broker.onLoss(listener);
    },
    async close() {
      await Promise.all(brokers.map((broker) => broker.close()));
    },
  };
}
