import { WebSocket } from 'ws';
import type { Person } from '../harness/tokens.js';
import type { ClientRecord, Ledger } from './ledger.js';
import { OpenCommands } from './open-commands.js';
import type { Random } from './random.js';
import { ANSWER_WITHIN_MS } from './verdict.js';

/** A client with this number of unanswered commands sends no new ones. */
const MAX_UNANSWERED = 20;
const HANDSHAKE_TIMEOUT_MS = 3_000;
/** How often a client checks for unanswered commands. */
const LOOK_INTERVAL_MS = 250;
const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;
/**
 * Close codes that faults explain: a lost connection (1006), a node that shuts down (1012), and an overloaded node
 * (1013).
 */
const EXPECTED_CLOSES: ReadonlySet<number> = new Set([1006, 1012, 1013]);

/** The address of a node for its clients. */
export interface ChatNode {
  readonly name: string;
  readonly chatUrl: string;
}

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

/**
 * A member of rooms, over a raw socket. It reconnects to any node, closes a socket that leaves a command unanswered, and
 * records everything in the ledger.
 */
export abstract class ProofClient {
  protected readonly ledger: Ledger;
  protected readonly random: Random;
  /** The unanswered commands of its socket. */
  protected commands: OpenCommands | undefined;
  readonly #subprotocols: string[];
  readonly #nodes: readonly ChatNode[];
  readonly #intervalMs: number;
  #socket: WebSocket | undefined;
  #node: ChatNode | undefined;
  #ended = false;
  #attempts = 0;
  #actTimer: NodeJS.Timeout | undefined;
  #connectTimer: NodeJS.Timeout | undefined;
  #lookTimer: NodeJS.Timeout | undefined;

  constructor(options: ClientOptions, subprotocols: string[]) {
    this.ledger = options.ledger;
    this.random = options.random;
    this.#subprotocols = subprotocols;
    this.#nodes = options.nodes;
    this.#intervalMs = 1_000 / options.commandsPerSecond;
  }

  abstract readonly places: readonly Place[];

  /** Number of commands that were neither acknowledged nor refused. */
  abstract readonly unsettled: number;

  /** Name of the node to which it is connected, or connects. */
  get nodeName(): string {
    return this.#node?.name ?? 'no node';
  }

  connect(): void {
    // Not the node that it had before, or that did not answer.
    const others = this.#nodes.filter((other) => other !== this.#node);
    const node = this.random.pick(others.length > 0 ? others : this.#nodes);
    this.#node = node;
    const socket = new WebSocket(node.chatUrl, this.#subprotocols, {
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      perMessageDeflate: false,
    });
    const commands = new OpenCommands(this.ledger, node.name);
    this.#socket = socket;
    this.commands = commands;
    this.#lookTimer = setInterval(() => {
      if (performance.now() - commands.oldestAt > ANSWER_WITHIN_MS) socket.terminate();
    }, LOOK_INTERVAL_MS);
    socket.on('message', (data: Buffer) => {
      this.received(JSON.parse(data.toString()));
    });
    // `close` follows.
    socket.on('error', () => undefined);
    socket.on('close', (code) => {
      commands.closed();
      if (!EXPECTED_CLOSES.has(code)) this.ledger.surprise(`close ${code}`);
      clearInterval(this.#lookTimer);
      this.disconnected();
      this.#reconnect();
    });
  }

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

  /** Breaks the connection without a close frame; the client reconnects. */
  terminate(): void {
    this.#socket?.terminate();
  }

  /** Stops reconnecting when its socket ends. */
  stopReconnecting(): void {
    this.#ended = true;
  }

  /** Closes its socket, and does not reconnect. */
  end(): void {
    this.stopReconnecting();
    this.stopSending();
    this.terminate();
    clearInterval(this.#lookTimer);
    clearTimeout(this.#connectTimer);
    this.disconnected();
  }

  /** Takes a frame. */
  protected abstract received(frame: unknown): void;

  /** The socket is closed. */
  protected abstract disconnected(): void;

  /** Sends a new command, if it can. */
  protected abstract act(): void;

  /** It has got on: the next attempt to reconnect is a first one again. */
  protected recovered(): void {
    this.#attempts = 0;
  }

  protected send(command: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }

  #reconnect(): void {
    if (this.#ended) return;
    this.ledger.reconnects += 1;
    const backoff = Math.min(MIN_BACKOFF_MS * 2 ** this.#attempts, MAX_BACKOFF_MS);
    this.#attempts += 1;
    this.#connectTimer = setTimeout(
      () => {
        this.connect();
      },
      backoff * (0.5 + this.random.next()),
    );
  }
}
