/** A piece of work of a key. */
interface Turn {
  /** Resolves when its second part has begun, or never will. */
  readonly begun: Promise<void>;
  /** Resolves when its outcome, and that of all before it, is known. */
  readonly done: Promise<unknown>;
}

/**
 * Work in two parts: the first is done at once, the second begins in the order of the calls, and outcomes come in that
 * order, too; for each key by itself.
 */
export class InOrder {
  /** The last one of each key. */
  readonly #last = new Map<string, Turn>();

  /**
   * @param prepare the first part
   * @param begin the second part, of what the first one returned; not called if that failed
   */
  run<Prepared, Result>(
    key: string,
    prepare: () => Promise<Prepared>,
    begin: (prepared: Prepared) => Promise<Result>,
  ): Promise<Result> {
    const before = this.#last.get(key);
    let hasBegun = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      hasBegun = resolve;
    });
    const result = take(before, prepare, begin, hasBegun);
    const done = Promise.allSettled([before?.done, result]).then(() => {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    });
    const turn = { begun, done };
    this.#last.set(key, turn);
    return result;
  }
}

async function take<Prepared, Result>(
  before: Turn | undefined,
  prepare: () => Promise<Prepared>,
  begin: (prepared: Prepared) => Promise<Result>,
  hasBegun: () => void,
): Promise<Result> {
  const [prepared] = await Promise.allSettled([prepare(), before?.begun]);
  // Not awaited here: only what it does at once has an order.
  const ending = (async () => {
    if (prepared.status === 'rejected') throw prepared.reason;
    return begin(prepared.value);
  })();
  hasBegun();
  const [outcome] = await Promise.allSettled([ending, before?.done]);
  if (outcome.status === 'rejected') throw outcome.reason;
  return outcome.value;
}
