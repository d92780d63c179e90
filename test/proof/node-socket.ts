import { WebSocket } from 'ws';
import type { Ledger } from './ledger.js';
import { OpenCommands } from './open-commands.js';
import type { Random } from './random.js';
import { ANSWER_WITHIN_MS } from './verdict.js';

const HANDSHAKE_TIMEOUT_MS = 3_000;
/** How often a socket checks for unanswered commands. */
const LOOK_INTERVAL_MS = 250;
/**
 * Close codes that faults explain: a lost connection (1006), a node that shuts down (1012), and an overloaded node
 * (1013).
 */
const EXPECTED_CLOSES: ReadonlySet<number> = new Set([1006, 1012, 1013]);

/** The addresses of a node for its clients. */
export interface ChatNode {
  readonly name: string;
  readonly url: string;
  readonly chatUrl: string;
}

/** A client's socket to a node. It ends if it leaves a command unanswered. */
export class NodeSocket extends WebSocket {
  readonly node: ChatNode;
  readonly commands: OpenCommands;
  /** Whether the client has closed it. */
  #isGivenUp = false;

  constructor(node: ChatNode, subprotocols: string[], ledger: Ledger) {
    super(node.chatUrl, subprotocols, {
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      perMessageDeflate: false,
    });
    this.node = node;
    this.commands = new OpenCommands(ledger, node.name);
    const look = setInterval(() => {
      if (performance.now() - this.commands.oldestAt > ANSWER_WITHIN_MS) this.terminate();
    }, LOOK_INTERVAL_MS);
    // `close` follows.
    this.on('error', () => undefined);
    this.on('close', (code) => {
      clearInterval(look);
      this.commands.closed();
      if (!this.#isGivenUp && !EXPECTED_CLOSES.has(code)) ledger.surprise(`close ${code}`);
    });
  }

  /** No command is waited for any more. */
  override close(code?: number): void {
    this.#isGivenUp = true;
    this.commands.closed();
    super.close(code);
  }
}

/** A node, but not the one that a client had before, or that did not answer. */
export function pickNode(
  nodes: readonly ChatNode[],
  before: ChatNode | undefined,
  random: Random,
): ChatNode {
  const others = nodes.filter((node) => node !== before);
  return random.pick(others.length > 0 ? others : nodes);
}
