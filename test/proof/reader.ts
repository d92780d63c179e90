import { setTimeout as delay } from 'node:timers/promises';
import { request } from '../harness/api.js';
import type { Person } from '../harness/tokens.js';
import type { Ledger } from './ledger.js';
import type { Random } from './random.js';
import type { RestNode } from './shuffler.js';
import { REST_ANSWER_WITHIN_MS } from './verdict.js';

const PAUSE_MS = { min: 100, max: 400 };

/** Reads lists of rooms and pages of the history of each node, until it is stopped. */
export class Reader {
  readonly #who: Person;
  readonly #nodes: readonly RestNode[];
  readonly #roomIds: readonly number[];
  readonly #ledger: Ledger;
  readonly #random: Random;
  #readsAtOnce = false;
  #stopped = false;

  constructor(options: {
    who: Person;
    nodes: readonly RestNode[];
    roomIds: readonly number[];
    ledger: Ledger;
    random: Random;
  }) {
    this.#who = options.who;
    this.#nodes = options.nodes;
    this.#roomIds = options.roomIds;
    this.#ledger = options.ledger;
    this.#random = options.random;
  }

  start(): void {
    for (const node of this.#nodes) void this.#readOn(node, this.#random.fork());
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Requests of several clients at once; the next ones follow when all are answered. */
  async readAtOnce(node: RestNode, times: number): Promise<void> {
    if (this.#readsAtOnce) return;
    this.#readsAtOnce = true;
    await Promise.all(Array.from({ length: times }, () => this.#read(node, '/rooms')));
    this.#readsAtOnce = false;
  }

  async #readOn(node: RestNode, random: Random): Promise<void> {
    while (!this.#stopped) {
      const isList = random.next() < 0.5;
      await this.#read(node, isList ? '/rooms' : `/rooms/${random.pick(this.#roomIds)}/messages`);
      await delay(random.between(PAUSE_MS.min, PAUSE_MS.max));
    }
  }

  async #read(node: RestNode, path: string): Promise<void> {
    const command = this.#ledger.addCommand(`GET ${path}`, node.name, REST_ANSWER_WITHIN_MS);
    try {
      const { status } = await request(node, 'GET', path, { as: this.#who });
      if (status !== 200 && status !== 503) this.#ledger.surprise(`${status} for GET`);
    } catch {
      // The node has ended, or the connection broke.
    } finally {
      command.settledAt = performance.now();
    }
  }
}
