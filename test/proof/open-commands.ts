import type { Command, Ledger } from './ledger.js';
import { ANSWER_WITHIN_MS } from './verdict.js';

const CONNECT = 'connect';
const TOKEN = 'token';
const SELECT = 'select_room';

/** The unanswered commands of one socket. */
export class OpenCommands {
  readonly #ledger: Ledger;
  readonly #node: string;
  /** In the order of sending; messages by their ref. */
  readonly #open = new Map<string, Command>();
  /** Messages that SELECTROOM? answered: it does not name the message. */
  #messagesWithoutRoom = 0;

  constructor(ledger: Ledger, node: string) {
    this.#ledger = ledger;
    this.#node = node;
    this.sent(CONNECT);
  }

  /** When the oldest one was sent; Infinity if all are answered. */
  get oldestAt(): number {
    for (const { at } of this.#open.values()) return at;
    return Infinity;
  }

  greeted(): void {
    this.answered(CONNECT);
  }

  tokenSent(): void {
    this.sent(TOKEN);
  }

  tokenAnswered(): void {
    this.answered(TOKEN);
  }

  selectSent(): void {
    this.sent(SELECT);
  }

  /** The messages before it must be answered first: one that is still unanswered never will be. */
  selectAnswered(): void {
    const select = this.#open.get(SELECT);
    if (select === undefined) return;
    for (const [key, command] of this.#open) {
      if (command === select) break;
      this.#open.delete(key);
      if (this.#messagesWithoutRoom === 0) continue;
      this.#messagesWithoutRoom -= 1;
      command.settledAt = performance.now();
    }
    this.#messagesWithoutRoom = 0;
    this.answered(SELECT);
  }

  /**
   * If it is sent again before it was answered, the first time counts.
   * @param key names it among the unanswered ones
   * @param what describes it
   */
  sent(key: string, what = key): void {
    if (this.#open.has(key)) return;
    this.#open.set(key, this.#ledger.addCommand(what, this.#node, ANSWER_WITHIN_MS));
  }

  answered(key: string): void {
    const command = this.#open.get(key);
    if (command === undefined) return;
    this.#open.delete(key);
    command.settledAt = performance.now();
  }

  messageWithoutRoom(): void {
    this.#messagesWithoutRoom += 1;
  }

  /** The connection ended. */
  closed(): void {
    for (const key of this.#open.keys()) this.answered(key);
  }
}
