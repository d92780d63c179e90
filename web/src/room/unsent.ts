import {
  localStorageOf,
  type ChatClient,
  type Room,
  type UnsentCommand,
  type UnsentStorage,
} from '../../../src/client/index.js';
import { isOpen } from './open-rooms.js';

type Draft = Exclude<Parameters<Room['send']>[0], string>;

/** What a user has sent and the server has not got yet, in the order in which it was sent. It outlives the page. */
export class Unsent implements UnsentStorage {
  readonly #kept: UnsentStorage;
  readonly #commands = new Map<string, UnsentCommand>();
  readonly #listeners = new Set<() => void>();

  constructor(userUUID: string) {
    this.#kept = localStorageOf(userUUID);
  }

  /** Calls a listener when there are more or fewer. @returns what ends that */
  on(_name: 'change', listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get commands(): readonly UnsentCommand[] {
    return [...this.#commands.values()];
  }

  async load(): Promise<readonly UnsentCommand[]> {
    const commands = await this.#loadKept();
    for (const command of commands) this.#commands.set(command.ref, command);
    this.#changed();
    return commands;
  }

  put(command: UnsentCommand): void {
    this.#commands.set(command.ref, command);
    this.#changed();
    this.#kept.put(command);
  }

  delete(ref: string): void {
    this.#commands.delete(ref);
    this.#changed();
    try {
      this.#kept.delete(ref);
    } catch {
      // The browser allows no storage, and so keeps nothing.
    }
  }

  /** Nothing that they wrote stays in the browser, in another tab either. */
  async forget(): Promise<void> {
    for (const { ref } of [...this.commands, ...(await this.#loadKept())]) this.delete(ref);
  }

  /** Nothing if the browser allows no storage. */
  async #loadKept(): Promise<readonly UnsentCommand[]> {
    try {
      return await this.#kept.load();
    } catch {
      return [];
    }
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Sends the messages that an earlier page has left with their own refs, as the client does by itself: so their outcome
 * is known.
 * @param refused is told of those that the server does not take
 */
export async function sendAgain(
  chat: ChatClient,
  unsent: Unsent,
  refused: (command: UnsentCommand, error: unknown) => void,
): Promise<void> {
  for (const command of await unsent.load()) {
    if (command.type !== 'message') continue;
    const { room_id: roomId, type: _type, reply_to: replyTo, ...fields } = command;
    const room = chat.room(roomId);
    // What a message has not is not kept, either.
    const draft = { ...fields, ...(replyTo !== undefined && { replyTo }) } as Draft;
    room.send(draft).catch((error: unknown) => {
      refused(command, error);
    });
    // It is sent all the same, and nobody looks at the room.
    if (!isOpen(chat, room)) room.leave();
  }
}
