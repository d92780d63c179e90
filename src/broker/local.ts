import type { Broker, OnMessage } from './broker.js';

/** The broker of a node that is alone: messages arrive in a later turn of the event loop, in order. */
export function createLocalBroker(onMessage: OnMessage): Broker {
  const channels = new Set<string>();
  let closed = false;
  return {
    isUp: true,
    problem: undefined,
    publish(channel, message) {
      setImmediate(() => {
        if (!closed && channels.has(channel)) onMessage(channel, message);
      });
    },
    subscribe(channel) {
      channels.add(channel);
      return Promise.resolve();
    },
    unsubscribe(channel) {
      channels.delete(channel);
      return Promise.resolve();
    },
    onReconnect() {
      // It is never down.
    },
    onLoss() {
      // It loses nothing.
    },
    close() {
      closed = true;
      channels.clear();
      return Promise.resolve();
    },
  };
}
