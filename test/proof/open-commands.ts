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
    this.#add(CONNECT);
  }

  /** When the oldest one was sent; Infinity if all are answered. */
  get oldestAt(): number {
    for (const { at } of this.#open.values()) return at;
    return Infinity;
  }

  greeted(): void {
    this.#settle(CONNECT);
  }

  tokenSent(): void {
    this.#add(TOKEN);
  }

  tokenAnswered(): void {
    this.#settle(TOKEN);
  }

  selectSent(): void {
    this.#add(SELECT);
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
    this.#settle(SELECT);
  }

  messageSent(ref: string): void {
    this.#add(ref);
  }

  messageAnswered(ref: string): void {
    this.#settle(ref);
  }

  messageWithoutRoom(): void {
    this.#messagesWithoutRoom += 1;
  }

  /** The connection ended. */
  closed(): void {
    for (const key of this.#open.keys()) this.#settle(key);
  }

  #add(what: string): void {
    this.#open.set(what, this.#ledger.addCommand(what, this.#node, ANSWER_WITHIN_MS));
  }

  #settle(what: string): void {
    const command = this.#open.get(what);
    if (command === undefined) return;
    this.#open.delete(what);
    command.settledAt = performance.now();
  }
}
