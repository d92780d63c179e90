import type { Broker, CreateBroker } from '../../src/broker/broker.js';

/** What a broker over Redis does for nodes of one process, without a socket and with faults at will. */
export class Bus {
  /** All that was published and not lost, in order. */
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

/** One node's way to the bus. */
export class BusLink {
  readonly #send: (channel: string, message: string) => void;
  readonly #channels = new Set<string>();
  readonly #reconnected = new Set<() => void>();
  readonly #lost = new Set<() => void>();
  #deliver: (channel: string, message: string) => void = () => undefined;
  #isUp = true;
  /** Which messages are lost on their way, unnoticed: those that it publishes, and those for it. */
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

  /** The connection breaks, and is there again. */
  reconnect(): void {
    this.#isUp = false;
    for (const subscriber of this.#lost) subscriber();
    this.#isUp = true;
    for (const subscriber of this.#reconnected) subscriber();
  }

  /** As when the process was killed. */
  end(): void {
    this.#isUp = false;
  }
}
