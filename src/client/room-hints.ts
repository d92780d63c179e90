import type { Hint } from './wire.js';

/** As docs/PROTOCOL.md says. */
const TYPING_MS = 5_000;

/** What events without a number tell of others in a room: who is online, who types, and how far they have read. */
export class RoomHints {
  /** Empty if they are too many. */
  online: ReadonlySet<string> = new Set();
  /** Number of users online; undefined until it is known. */
  onlineCount: number | undefined;
  /** By user, the number up to which they have read. */
  readonly readers = new Map<string, number>();
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #stopped: (userUUID: string) => void;

  /** @param stopped is told who does not type any more */
  constructor(stopped: (userUUID: string) => void) {
    this.#stopped = stopped;
  }

  get typing(): readonly string[] {
    return [...this.#typing.keys()];
  }

  read({ emitter, upto }: Hint): void {
    this.readers.set(emitter, Math.max(upto, this.readers.get(emitter) ?? 0));
  }

  types(userUUID: string): void {
    clearTimeout(this.#typing.get(userUUID));
    const timer = setTimeout(() => {
      this.stopsTyping(userUUID);
    }, TYPING_MS);
    this.#typing.set(userUUID, timer);
  }

  stopsTyping(userUUID: string): void {
    clearTimeout(this.#typing.get(userUUID));
    if (this.#typing.delete(userUUID)) this.#stopped(userUUID);
  }

  /** Without names there are too many users online to tell who. */
  presence({ count, online, join, leave }: Hint): void {
    this.onlineCount = count;
    const isChange = join !== undefined || leave !== undefined;
    const now = new Set(online ?? (isChange ? [...this.online, ...(join ?? [])] : []));
    for (const user of leave ?? []) now.delete(user);
    this.online = now;
  }

  /** Nothing is known any more of what is so at a moment only. */
  disconnected(): void {
    this.online = new Set();
    this.onlineCount = undefined;
    for (const user of this.typing) this.stopsTyping(user);
  }
}
