/** Takes what was published on a channel that this node subscribed to, its own messages included. */
export type OnMessage = (channel: string, message: string) => void;

/**
 * Tells the nodes what is new. It is only the wake-up: a message may be lost, come late or come twice,
 * and the log makes up for it.
 */
export interface Broker {
  /** False while messages may be lost: then the log is asked instead. */
  readonly isUp: boolean;
  /** Never waits and never throws: a message that can't be sent is dropped. */
  publish(channel: string, message: string): void;
  /**
   * Resolves when messages of the channel arrive from now on; or, while the broker is down, at once: the
   * subscription then takes effect before `onReconnect`.
   */
  subscribe(channel: string): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
  /**
   * Called after each connect, when all subscriptions are in force and messages can be published: what was sent
   * before is lost.
   */
  onReconnect(listener: () => void): void;
  /** Rejects where the broker does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Makes a broker whose messages go to `onMessage`. */
export type CreateBroker = (onMessage: OnMessage) => Broker;
