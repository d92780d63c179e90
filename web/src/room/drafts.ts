import { sharedStorage } from '../browser-storage.js';

/** Texts of a user that are not sent yet: each room has its own, which outlives the page. */
export class Drafts {
  readonly #prefix: string;
  readonly #listeners = new Set<(roomId: number) => void>();

  constructor(userUUID: string) {
    this.#prefix = `nano-messaging:draft:${userUUID}:`;
  }

  /** Calls a listener with a room when a text was given back. @returns what ends that */
  on(_name: 'returned', listener: (roomId: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  of(roomId: number): string {
    return sharedStorage.get(this.#prefix + roomId) ?? '';
  }

  keep(roomId: number, text: string): void {
    if (text.trim() === '') sharedStorage.delete(this.#prefix + roomId);
    else sharedStorage.set(this.#prefix + roomId, text);
  }

  /** Takes a text that was refused, behind what is there: nobody should have to write it again. */
  giveBack(roomId: number, text: string): void {
    const draft = this.of(roomId);
    // Another tab may have given it back already.
    if (`\n${draft}`.endsWith(`\n${text}`)) return;
    this.keep(roomId, [draft, text].filter(Boolean).join('\n'));
    for (const listener of this.#listeners) listener(roomId);
  }

  /** Nothing of a user who has signed out stays behind. */
  forget(): void {
    for (const key of sharedStorage.keys()) {
      if (key.startsWith(this.#prefix)) sharedStorage.delete(key);
    }
  }
}
