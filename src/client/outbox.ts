import { ChatError } from './errors.js';
import type { UnsentCommand, UnsentStorage } from './storage.js';
import type { Status } from './wire.js';

/** A command that is sent until it is answered. `read` is not kept: the next one says more. */
export interface Pending {
  readonly command: Omit<UnsentCommand, 'type'> & { readonly type: UnsentCommand['type'] | 'read' };
  /** When it was given. */
  readonly at: Date;
  readonly resolve: (seq: number) => void;
  readonly reject: (error: ChatError) => void;
}

/** The commands of all rooms that are not settled yet, in the order in which they were given. */
export class Outbox {
  readonly #pending = new Map<string, Pending>();
  readonly #storage: UnsentStorage | undefined;
  /** Resolves once the kept commands of an earlier client are in it. */
  readonly loaded: Promise<void>;

  constructor(storage: UnsentStorage | undefined) {
    this.#storage = storage;
    this.loaded = this.#load();
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Rooms that have some. */
  get rooms(): ReadonlySet<number> {
    return new Set([...this.#pending.values()].map(({ command }) => command.room_id));
  }

  /** Those of a room. */
  of(roomId: number): readonly Pending[] {
    return [...this.#pending.values()].filter(({ command }) => command.room_id === roomId);
  }

  get(ref: string): Pending | undefined {
    return this.#pending.get(ref);
  }

  /**
   * Takes a command.
   * @returns the number at which it is stored
   * @throws {ChatError} the reason of the server's
   */
  add(command: Pending['command']): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#pending.set(command.ref, { command, at: new Date(), resolve, reject });
      if (command.type !== 'read') void this.#storage?.put(command as UnsentCommand);
    });
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

  #take(ref: string): Pending | undefined {
    const pending = this.#pending.get(ref);
    if (this.#pending.delete(ref)) void this.#storage?.delete(ref);
    return pending;
  }

  async #load(): Promise<void> {
    let kept: readonly UnsentCommand[] = [];
    try {
      kept = (await this.#storage?.load()) ?? [];
    } catch {
      // What was kept can't be read: the client works without it.
    }
    const given = [...this.#pending];
    this.#pending.clear();
    for (const command of kept) {
      // Nobody waits for its outcome any more.
      const pending = {
        command,
        at: new Date(),
        resolve: () => undefined,
        reject: () => undefined,
      };
      this.#pending.set(command.ref, pending);
    }
    for (const [ref, pending] of given) this.#pending.set(ref, pending);
  }
}

export function refusalOf({ data, reason, detail, seq, retry_after_ms }: Status): ChatError {
  return new ChatError(reason ?? data, { detail, seq, retryAfterMs: retry_after_ms });
}
