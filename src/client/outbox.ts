import { ChatError } from './errors.js';
import { inTime } from './platform.js';
import type { UnsentCommand, UnsentStorage } from './storage.js';

/** A command that is sent until it is answered. `read` is not kept: the next one says more. */
export interface Pending {
  readonly command: Omit<UnsentCommand, 'type'> & { readonly type: UnsentCommand['type'] | 'read' };
  /** When it was given. */
  readonly at: Date;
  readonly outcome: Promise<number>;
  readonly resolve: (seq: number) => void;
  readonly reject: (error: ChatError) => void;
}

/** The commands of all rooms that are not settled yet, in the order in which they were given. */
export class Outbox {
  readonly #pending = new Map<string, Pending>();
  readonly #storage: UnsentStorage | undefined;
  /** Whether the kept commands of an earlier client are in it. They go first. */
  isLoaded = false;

  /** @param loaded is called once the kept commands of an earlier client are in it */
  constructor(storage: UnsentStorage | undefined, loaded: () => void) {
    this.#storage = storage;
    void this.#load(loaded);
  }

  /** Number of commands that change a room. */
  get size(): number {
    return [...this.#pending.values()].filter(({ command }) => command.type !== 'read').length;
  }

  /** Rooms that have some. */
  get rooms(): ReadonlySet<number> {
    return new Set([...this.#pending.values()].map(({ command }) => command.room_id));
  }

  /** Those of a room; the first one goes next. */
  of(roomId: number): readonly Pending[] {
    return [...this.#pending.values()].filter(({ command }) => command.room_id === roomId);
  }

  get(ref: string): Pending | undefined {
    return this.#pending.get(ref);
  }

  /**
   * Takes a command, unless one with its ref is here already.
   * @returns the number at which it is stored
   * @throws {ChatError} the reason of the server's
   */
  add(command: Pending['command']): Promise<number> {
    const known = this.#pending.get(command.ref);
    if (known !== undefined) return known.outcome;
    if (command.type !== 'read') {
      this.#keep((storage) => storage.put(command as UnsentCommand));
    }
    return this.#put(command);
  }

  /** The command with a ref was stored, or carried out, with a number. */
  settle(ref: string, seq: number): Pending | undefined {
    const pending = this.#take(ref);
    pending?.resolve(seq);
    return pending;
  }

  /** The command with a ref was refused. */
  refuse(ref: string, error: ChatError): void {
    this.#take(ref)?.reject(error);
  }

  /** Rejects all, and leaves what is kept to a later client. */
  close(): void {
    for (const { reject } of this.#pending.values()) reject(new ChatError('CLOSED'));
    this.#pending.clear();
  }

  #take(ref: string): Pending | undefined {
    const pending = this.#pending.get(ref);
    if (this.#pending.delete(ref)) this.#keep((storage) => storage.delete(ref));
    return pending;
  }

  #put(command: Pending['command']): Promise<number> {
    const pending = { command, at: new Date() } as Pending;
    const outcome = new Promise<number>((resolve, reject) => {
      Object.assign(pending, { resolve, reject });
    });
    this.#pending.set(command.ref, Object.assign(pending, { outcome }));
    return outcome;
  }

  /** A storage that fails does not keep commands from being sent. */
  #keep(change: (storage: UnsentStorage) => unknown): void {
    const storage = this.#storage;
    if (storage === undefined) return;
    Promise.resolve(storage)
      .then(change)
      .catch(() => undefined);
  }

  async #load(loaded: () => void): Promise<void> {
    let kept: readonly UnsentCommand[] = [];
    try {
      kept = [...((await inTime(() => this.#storage?.load())) ?? [])];
    } catch {
      // What was kept can't be read: the client works without it.
    }
    const given = [...this.#pending];
    this.#pending.clear();
    for (const command of kept) {
      // Nobody waits for its outcome any more.
      this.#put(command).catch(() => undefined);
    }
    // If a command was kept while the others were loaded, it is among them: somebody waits for this one.
    for (const [ref, pending] of given) this.#pending.set(ref, pending);
    this.isLoaded = true;
    loaded();
  }
}
