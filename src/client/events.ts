type Listener<Args extends readonly unknown[]> = (...args: Args) => void;

/** Typed events: `Events` has the arguments of each by its name. */
export class Emitter<Events extends Readonly<Record<keyof Events, readonly unknown[]>>> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /**
   * Calls a listener at each event of a name.
   * @returns what ends that
   */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** A listener that throws is reported, and the others are called. */
  protected emit<Name extends keyof Events>(name: Name, ...args: Events[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        (listener as Listener<Events[Name]>)(...args);
      } catch (error) {
        // As the error of a listener of the DOM: nobody else has it.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
