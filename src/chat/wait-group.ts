/** Counts tasks, and resolves when none is left. */
export class WaitGroup {
  #size = 0;
  #waiting: (() => void)[] = [];

  /** Number of unfinished tasks. */
  get size(): number {
    return this.#size;
  }

  /** A task begins. */
  add(): void {
    this.#size += 1;
  }

  /** A task has ended. */
  done(): void {
    this.#size -= 1;
    if (this.#size > 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** Resolves once no task is left. */
  wait(): Promise<void> {
    if (this.#size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}
