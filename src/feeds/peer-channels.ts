import { nodeOf } from './peer-registry.js';

/** The channels of one installation on the broker: one for all nodes, and one for each node and each room. */
export class PeerChannels {
  readonly #prefix: string;
  readonly #roomPrefix: string;
  /** Of all nodes. */
  readonly nodes: string;

  constructor(installation: string) {
    this.#prefix = `${installation}:`;
    this.#roomPrefix = `${this.#prefix}room:`;
    this.nodes = `${this.#prefix}nodes`;
  }

  /** @param name of the node; its channel stays when the name changes */
  ofNode(name: string): string {
    return `${this.#prefix}node:${nodeOf(name)}`;
  }

  ofRoom(roomId: number): string {
    return `${this.#roomPrefix}${roomId}`;
  }

  /** Whether a channel is one of this installation's. */
  has(channel: string): boolean {
    return channel.startsWith(this.#prefix);
  }

  /** The room of a channel; undefined if it belongs to one node or to all. */
  roomOf(channel: string): number | undefined {
    const prefix = this.#roomPrefix;
    return channel.startsWith(prefix) ? Number(channel.slice(prefix.length)) : undefined;
  }
}
