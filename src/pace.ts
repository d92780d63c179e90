/**
 * Runs tasks in order, a few in each turn of the event loop, so that thousands that come at once do not keep all other
 * work waiting.
 */
export class Pace {
  readonly #perTurn: number;
  #waiting: (() => void)[] = [];
  /** Tasks that ran in this turn. */
  #done = 0;
  #scheduled = false;

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  /** Runs a task now if this turn has room for it, else in a later turn. It must not throw. */
  run(task: () => void): void {
    this.#schedule();
    if (this.#done >= this.#perTurn) {
      this.#waiting.push(task);
      return;
    }
    this.#done += 1;
    task();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#nextTurn();
    });
  }

  #nextTurn(): void {
    this.#scheduled = false;
    const tasks = this.#waiting.splice(0, this.#perTurn);
    this.#done = tasks.length;
    if (tasks.length > 0) this.#schedule();
    for (const task of tasks) task();
  }
}
