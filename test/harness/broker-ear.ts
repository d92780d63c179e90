import type { Broker, OnMessage } from '../../src/broker/broker.js';
import { eventually } from './eventually.js';

/** Collects the messages that a broker delivers. */
export class BrokerEar {
  /** Channel and message, in the order of arrival. */
  readonly messages: [channel: string, message: string][] = [];
  #told: () => void = () => undefined;

  readonly hear: OnMessage = (channel, message) => {
    this.messages.push([channel, message]);
    this.#told();
  };

  /** Resolves once this message has arrived. */
  async heard(channel: string, message: string): Promise<void> {
    while (!this.messages.some((one) => one[0] === channel && one[1] === message)) {
      await new Promise<void>((resolve) => {
        this.#told = resolve;
      });
    }
  }

  /** Resolves once the broker is up. */
  async up(broker: Broker): Promise<void> {
    await eventually(() => {
      if (!broker.isUp) throw new Error('the broker is not up');
    });
  }
}
