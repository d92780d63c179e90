import { isUnavailable } from './pg-errors.js';

interface Waiting<Item, Outcome> {
  readonly item: Item;
  resolve(outcome: Outcome): void;
  reject(error: unknown): void;
}

/**
 * Runs a statement for many items, one statement at a time. Items that wait for it to end make up the next one: so
 * thousands of users who do the same at once need one connection and few statements.
 */
export class StatementBatches<Item, Outcome> {
  readonly #run: (items: readonly Item[]) => Promise<readonly Outcome[]>;
  readonly #countFirst: (waiting: readonly Item[]) => number;
  #waiting: Waiting<Item, Outcome>[] = [];
  #isRunning = false;

  /**
   * @param run the statement; returns one outcome an item
   * @param countFirst how many of the items that wait, in their order, may be in one statement
   */
  constructor(
    run: (items: readonly Item[]) => Promise<readonly Outcome[]>,
    countFirst: (waiting: readonly Item[]) => number,
  ) {
    this.#run = run;
    this.#countFirst = countFirst;
  }

  /** @returns the item's outcome; rejects with the error of the statement */
  add(item: Item): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#isRunning) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#isRunning = true;
    // Items that are added in the same turn share the first statement.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(
        0,
        this.#countFirst(this.#waiting.map(({ item }) => item)),
      );
      try {
        const outcomes = await this.#run(batch.map(({ item }) => item));
        for (const [index, one] of batch.entries()) one.resolve(outcomes[index] as Outcome);
      } catch (error) {
        // Those that wait would have to wait as long again.
        const others = isUnavailable(error) ? this.#waiting.splice(0) : [];
        for (const one of [...batch, ...others]) one.reject(error);
      }
    }
    this.#isRunning = false;
  }
}
