import type { RawClient } from './raw-client.js';

/** Sends messages to the room that a client has selected, each when the one before has come back. */
export class Talker {
  /** Messages that have come back. */
  echoes = 0;
  readonly #client: RawClient;

  /** The client must be the only sender of its room. */
  constructor(client: RawClient) {
    this.#client = client;
  }

  async say(count: number, content?: string): Promise<void> {
    for (let said = 0; said < count; said += 1) {
      const due = this.#client.received + 1;
      this.#client.say(content ?? `live ${due}`);
      await this.#client.until(() => this.#client.received >= due);
      this.echoes += 1;
    }
  }

  /** Sends messages until `work` has ended; returns how many came back meanwhile. Rejects if `work` does. */
  async during(work: Promise<unknown>): Promise<number> {
    const before = this.echoes;
    const progress = { ended: false };
    const end = work.finally(() => {
      progress.ended = true;
    });
    // If sending fails, its error is thrown, not that of `work`.
    end.catch(() => undefined);
    while (!progress.ended) await this.say(1);
    await end;
    return this.echoes - before;
  }
}
