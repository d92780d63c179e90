import type { Message, Room } from '../../../src/client/index.js';

/** Messages of a page. */
const PAGE = 50;

/**
 * Messages around one that is not among the last ones of its room: those before and after it, until they reach the ones
 * that the room holds.
 */
export class Past {
  readonly room: Room;
  /** Number of the message that it is about. */
  readonly seq: number;
  hasOlder = true;
  hasNewer = true;
  isClosed = false;
  #messages: readonly Message[] = [];
  #loading: Promise<unknown> | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #ends: readonly (() => void)[];

  constructor(room: Room, seq: number) {
    this.room = room;
    this.seq = seq;
    this.#ends = [
      room.on('entry', (_type, { target }) => {
        if (target !== undefined) void this.#reload(target);
      }),
      room.on('change', () => {
        this.#changed();
      }),
    ];
  }

  on(_name: 'change', listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.isClosed = true;
    for (const end of this.#ends) end();
    this.#listeners.clear();
  }

  /** What is known, up to the room's own last messages if it reaches them. */
  get messages(): readonly Message[] {
    const { messages } = this.room;
    const first = messages[0]?.seq;
    const isReached = !this.hasNewer || this.#reaches(first);
    if (!isReached || first === undefined) return this.#messages;
    return [...this.#messages.filter(({ seq = 0 }) => seq < first), ...messages];
  }

  /** Whether the newest messages of the room follow without a gap. */
  get isAtPresent(): boolean {
    return !this.hasNewer || this.#reaches(this.room.messages[0]?.seq);
  }

  /** Loads the message and its neighbours. @throws {ChatError} */
  load(): Promise<unknown> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  /** @throws {ChatError} */
  loadOlder(limit: number): Promise<unknown> {
    this.#loading ??= this.#loadOlder(limit).finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  /** @throws {ChatError} */
  loadNewer(): Promise<unknown> {
    this.#loading ??= this.#loadNewer().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #load(): Promise<void> {
    const [before, after] = await Promise.all([
      this.room.read({ before: this.seq + 1, limit: PAGE }),
      this.room.read({ after: this.seq, limit: PAGE }),
    ]);
    this.#messages = [...before.messages, ...after.messages];
    this.hasOlder = before.hasMore;
    this.hasNewer = after.hasMore;
    this.#changed();
  }

  async #loadOlder(limit: number): Promise<void> {
    const first = this.#messages[0]?.seq;
    if (first === undefined || !this.hasOlder) return;
    const page = await this.room.read({ before: first, limit });
    this.#messages = [...page.messages, ...this.#messages];
    this.hasOlder = page.hasMore;
    this.#changed();
  }

  async #loadNewer(): Promise<void> {
    const last = this.#messages.at(-1)?.seq;
    if (last === undefined || this.isAtPresent) return;
    const page = await this.room.read({ after: last, limit: PAGE });
    this.#messages = [...this.#messages, ...page.messages];
    this.hasNewer = page.hasMore;
    this.#changed();
  }

  #reaches(first: number | undefined): boolean {
    const last = this.#messages.at(-1)?.seq;
    return first !== undefined && last !== undefined && last >= first - 1;
  }

  /** A message was edited, deleted or reacted to. */
  async #reload(target: number): Promise<void> {
    const isHeld = (): boolean => this.#messages.some(({ seq }) => seq === target);
    if (!isHeld()) return;
    try {
      const { messages } = await this.room.read({ after: target - 1, before: target + 1 });
      const now = messages.find(({ seq }) => seq === target);
      this.#messages = this.#messages.flatMap((message) => {
        if (message.seq !== target) return [message];
        return now === undefined ? [] : [now];
      });
      this.#changed();
    } catch {
      // It is shown as it was.
    }
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
