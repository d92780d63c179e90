/**
 * Tasks in their order, so many in one turn of the event loop: when thousands come at once, whoever else waits has a
 * turn in between.
 */
export class Pace {
  readonly #perTurn: number;
  #waiting: (() => void)[] = [];
  /** Tasks of this turn. */
  #done = 0;
  #scheduled = false;

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  /** Runs a task, at once if there is still room for it in this turn. It must not throw. */
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
