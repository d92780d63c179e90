import type { Answer, UserRow } from './wire.js';

/** What names are asked of. */
interface Asked {
  request: (method: string, path: string) => Promise<Answer<readonly UserRow[]>>;
}

/** The server takes so many at a time. */
const MOST_AT_ONCE = 100;
/** A user of whom the server knew nothing is asked for again then. */
const UNKNOWN_MS = 30_000;

/** Names and pictures of users, which are asked for when they are first needed, many at a time. */
export class Users {
  readonly #client: Asked;
  readonly #changed: () => void;
  readonly #known = new Map<string, UserRow>();
  /** By user, when they were asked for, by `performance.now`. */
  readonly #askedAt = new Map<string, number>();
  readonly #wanted = new Set<string>();

  constructor(client: Asked, changed: () => void) {
    this.#client = client;
    this.#changed = changed;
  }

  /** What is known of a user now, undefined if nothing is; the client's event `users` says when there is more. */
  get(userUUID: string): UserRow | undefined {
    const user = this.#known.get(userUUID);
    const isNamed = (user?.name ?? user?.picture) != null;
    const now = performance.now();
    // A user of whom the server knows nothing is not asked for at each look. Before the first connection the user is ''.
    if (
      userUUID !== '' &&
      !isNamed &&
      now - (this.#askedAt.get(userUUID) ?? -Infinity) > UNKNOWN_MS
    ) {
      this.#askedAt.set(userUUID, now);
      if (this.#wanted.size === 0) setTimeout(() => void this.#load());
      this.#wanted.add(userUUID);
    }
    return user;
  }

  async #load(): Promise<void> {
    const ids = [...this.#wanted].slice(0, MOST_AT_ONCE);
    for (const id of ids) this.#wanted.delete(id);
    if (this.#wanted.size > 0) setTimeout(() => void this.#load());
    try {
      const { content } = await this.#client.request('GET', `/users?ids=${ids.join(',')}`);
      for (const user of content) this.#known.set(user.userUUID, user);
      this.#changed();
    } catch {
      // Whoever needs them next asks again.
      for (const id of ids) this.#askedAt.delete(id);
    }
  }
}
