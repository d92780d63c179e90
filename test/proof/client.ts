import type { Person } from '../harness/tokens.js';
import type { ClientRecord, Ledger } from './ledger.js';
import type { ChatNode } from './node-socket.js';
import type { Random } from './random.js';

/** A client with this number of unanswered commands sends no new ones. */
const MAX_UNANSWERED = 20;

/** A client in one of its rooms. */
export interface Place {
  readonly record: ClientRecord;
  /** Whether it is in the room, and knows the present epoch of the log. */
  readonly isLive: boolean;
  /** Number of the last entry that it got. */
  readonly lastSeq: number;
  /** When the newest of its received messages was first sent. */
  readonly newestHeardAt: number;
}

export interface ClientOptions {
  readonly who: Person;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly nodes: readonly ChatNode[];
  readonly commandsPerSecond: number;
}

/** A member of rooms. It reconnects to any node, and records everything in the ledger. */
export abstract class ProofClient {
  protected readonly ledger: Ledger;
  protected readonly random: Random;
  readonly #intervalMs: number;
  #actTimer: NodeJS.Timeout | undefined;

  constructor({ ledger, random, commandsPerSecond }: ClientOptions) {
    this.ledger = ledger;
    this.random = random;
    this.#intervalMs = 1_000 / commandsPerSecond;
  }

  abstract readonly places: readonly Place[];

  /** Number of commands that were neither acknowledged nor refused. */
  abstract readonly unsettled: number;

  /** Name of the node to which it is connected, or connects. */
  abstract readonly nodeName: string;

  abstract connect(): void;

  /** Breaks the connection without a close frame; the client reconnects. */
  abstract terminate(): void;

  /** Does not connect again. */
  abstract stopReconnecting(): void;

  /** Closes its socket, and does not reconnect. */
  abstract end(): void;

  /** Sends a new command, if it can. */
  protected abstract act(): void;

  startSending(): void {
    const pause = this.#intervalMs * (0.5 + this.random.next());
    this.#actTimer = setTimeout(() => {
      this.startSending();
      if (this.unsettled < MAX_UNANSWERED) this.act();
    }, pause);
  }

  stopSending(): void {
    clearTimeout(this.#actTimer);
  }
}
