import type { Broker, CreateBroker } from '../../src/broker/broker.js';

/** A broker like the one over Redis for nodes of one process, without sockets and with faults on demand. */
export class Bus {
  /** All messages that were published and not lost, in order. */
  readonly published: [channel: string, message: string][] = [];
  readonly #links = new Set<BusLink>();

  link(): BusLink {
    const link = new BusLink((channel, message) => {
      this.published.push([channel, message]);
      for (const other of this.#links) other.deliver(channel, message);
    });
    this.#links.add(link);
    return link;
  }
}

/** One node's connection to the bus. */
export class BusLink {
  readonly #send: (channel: string, message: string) => void;
  readonly #channels = new Set<string>();
  readonly #reconnected = new Set<() => void>();
  readonly #lost = new Set<() => void>();
  #deliver: (channel: string, message: string) => void = () => undefined;
  #isUp = true;
  /** Which messages are lost unnoticed: those that it publishes, and those for it. */
  loses: { sent?: boolean; heard?: boolean } = {};
  problem: unknown;

  constructor(send: (channel: string, message: string) => void) {
    this.#send = send;
  }

  readonly createBroker: CreateBroker = (onMessage): Broker => {
    this.#deliver = onMessage;
    // eslint-disable-next-line typescript/no-this-alias
    const link = this;
    return {
      get isUp() {
        return link.#isUp;
      },
      get problem() {
        return link.problem;
      },
      publish: (channel, message) => {
        if (this.#isUp && !this.loses.sent) setImmediate(this.#send, channel, message);
      },
      subscribe: (channel) => {
        this.#channels.add(channel);
        return Promise.resolve();
      },
      unsubscribe: (channel) => {
        this.#channels.delete(channel);
        return Promise.resolve();
      },
      onReconnect: (subscriber) => void this.#reconnected.add(subscriber),
      onLoss: (subscriber) => void this.#lost.add(subscriber),
      close: () => {
        this.end();
        return Promise.resolve();
      },
    };
  };

  deliver(channel: string, message: string): void {
    if (this.#isUp && !this.loses.heard && this.#channels.has(channel)) {
      this.#deliver(channel, message);
    }
  }

  /** The connection breaks, and is restored at once. */
  reconnect(): void {
    this.#isUp = false;
    for (const subscriber of this.#lost) subscriber();
    this.#isUp = true;
    for (const subscriber of this.#reconnected) subscriber();
  }

  /** As if the process had been killed. */
  end(): void {
    this.#isUp = false;
  }
}
