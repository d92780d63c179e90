/** Counts what is under way, and tells when none of it is left. */
export class WaitGroup {
  #size = 0;
  #waiting: (() => void)[] = [];

  /** How many are under way. */
  get size(): number {
    return this.#size;
  }

  /** One more begins. */
  add(): void {
    this.#size += 1;
  }

  /** One has ended. */
  done(): void {
    this.#size -= 1;
    if (this.#size > 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** Resolves once none is left. */
  wait(): Promise<void> {
    if (this.#size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}
