import type { Answer, UserRow } from './wire.js';

/** What names are asked of. */
interface Asked {
  request: (method: string, path: string) => Promise<Answer<readonly UserRow[]>>;
}

/** The server takes so many at a time. */
const MOST_AT_ONCE = 100;

/** Names and pictures of users, which are asked for when they are first needed, many at a time. */
export class Users {
  readonly #client: Asked;
  readonly #changed: () => void;
  readonly #known = new Map<string, UserRow>();
  readonly #wanted = new Set<string>();

  constructor(client: Asked, changed: () => void) {
    this.#client = client;
    this.#changed = changed;
  }

  /** What is known of a user now; the client's event `users` says when there is more. */
  get(userUUID: string): UserRow | undefined {
    const user = this.#known.get(userUUID);
    if (user === undefined) {
      // A user of whom the server knows nothing is not asked for again and again.
      this.#known.set(userUUID, { userUUID, name: null, picture: null });
      if (this.#wanted.size === 0) setTimeout(() => void this.#load());
      this.#wanted.add(userUUID);
    }
    return user;
  }

  /** Asks for them again when they are needed: they may have another name now. */
  forget(): void {
    this.#known.clear();
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
      for (const id of ids) this.#known.delete(id);
    }
  }
}
