import type { Answer, UserRow } from './wire.js';

/** What names are asked of. */
interface Asked {
  request: (method: string, path: string) => Promise<Answer<readonly UserRow[]>>;
}

/** The server takes so many at a time. */
const MOST_AT_ONCE = 100;
/** A user of whom the server knew nothing is asked for again then. */
const UNKNOWN_MS = 30_000;

interface Known {
  user: UserRow;
  /** When the user was asked for, by `performance.now`. */
  readonly askedAt: number;
}

/** Names and pictures of users, which are asked for when they are first needed, many at a time. */
export class Users {
  readonly #client: Asked;
  readonly #changed: () => void;
  readonly #known = new Map<string, Known>();
  readonly #wanted = new Set<string>();

  constructor(client: Asked, changed: () => void) {
    this.#client = client;
    this.#changed = changed;
  }

  /** What is known of a user now; the client's event `users` says when there is more. */
  get(userUUID: string): UserRow | undefined {
    const known = this.#known.get(userUUID);
    const isUnknown = known === undefined || (known.user.name ?? known.user.picture) === null;
    const now = performance.now();
    if (isUnknown && !(known !== undefined && now - known.askedAt < UNKNOWN_MS)) {
      // A user of whom the server knows nothing is not asked for at each look.
      const nobody = { userUUID, name: null, picture: null };
      this.#known.set(userUUID, { user: known?.user ?? nobody, askedAt: now });
      if (this.#wanted.size === 0) setTimeout(() => void this.#load());
      this.#wanted.add(userUUID);
    }
    return known?.user;
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
      const askedAt = performance.now();
      for (const user of content) this.#known.set(user.userUUID, { user, askedAt });
      this.#changed();
    } catch {
      // Whoever needs them next asks again.
      for (const id of ids) this.#known.delete(id);
    }
  }
}
