/** Called with each message of a channel that this node subscribed to, its own messages included. */
export type OnMessage = (channel: string, message: string) => void;

/**
 * Carries messages between the nodes. It only wakes them up: a message may be lost, come late or come twice, since each
 * node reads missing entries from the log.
 */
export interface Broker {
  /**
   * Whether it is connected, and all subscriptions are in force. Messages may be lost all the same: a node knows that
   * they arrive when it receives its own.
   */
  readonly isUp: boolean;
  /** What failed last, for the operator; undefined if nothing has failed yet. */
  readonly problem: unknown;
  /** Never waits and never throws: a message that can't be sent is dropped, and `onLoss` is called. */
  publish(channel: string, message: string): void;
  /**
   * Resolves when messages of the channel arrive from now on; or, while the broker is down, at once: the
   * subscription then takes effect before `onReconnect`.
   */
  subscribe(channel: string): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
  /** Called after each connect, when all subscriptions are in force and messages can be published. */
  onReconnect(listener: () => void): void;
  /** Called whenever a message of this node, or one for it, may be lost: a connection broke, or Redis refused. */
  onLoss(listener: () => void): void;
  close(): Promise<void>;
}

/** Makes a broker whose messages go to `onMessage`. */
export type CreateBroker = (onMessage: OnMessage) => Broker;
