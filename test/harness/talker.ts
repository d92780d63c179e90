import type { RawClient } from './raw-client.js';

/** Talks in the room that a client has selected, one message at a time: the next when the last has come back. */
export class Talker {
  /** Messages that came back; all that were sent have. */
  echoes = 0;
  readonly #client: RawClient;

  /** Nobody else may talk there. */
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

  /** Talks until `work` has ended, and rejects where it does; returns how many came back meanwhile. */
  async during(work: Promise<unknown>): Promise<number> {
    const before = this.echoes;
    const progress = { ended: false };
    const end = work.finally(() => {
      progress.ended = true;
    });
    // Where talking fails, that is the error that tells.
    end.catch(() => undefined);
    while (!progress.ended) await this.say(1);
    await end;
    return this.echoes - before;
  }
}
