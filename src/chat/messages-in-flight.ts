/** Messages of one room. */
interface OfRoom {
  size: number;
  /** Called when none is left. */
  waiting: (() => void)[] | undefined;
}

/**
 * The messages of one session on their way into the log, counted per room. In version 1 a message is done with when it is
 * answered; in version 2 when it is also known whether it is stored.
 */
export class MessagesInFlight {
  #size = 0;
  /** By room; a room without any has no entry. */
  readonly #rooms = new Map<number, OfRoom>();

  /** How many there are in all rooms. */
  get size(): number {
    return this.#size;
  }

  has(roomId: number): boolean {
    return this.#rooms.has(roomId);
  }

  add(roomId: number): void {
    this.#size += 1;
    const ofRoom = this.#rooms.get(roomId);
    if (ofRoom === undefined) this.#rooms.set(roomId, { size: 1, waiting: undefined });
    else ofRoom.size += 1;
  }

  /** A message is done with. */
  remove(roomId: number): void {
    const ofRoom = this.#rooms.get(roomId);
    if (ofRoom === undefined) throw new Error('a message was answered twice');
    this.#size -= 1;
    ofRoom.size -= 1;
    if (ofRoom.size > 0) return;
    this.#rooms.delete(roomId);
    for (const resolve of ofRoom.waiting ?? []) resolve();
  }

  /** Resolves once all messages of a room are done with. */
  settledIn(roomId: number): Promise<void> {
    const ofRoom = this.#rooms.get(roomId);
    if (ofRoom === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      ofRoom.waiting ??= [];
      ofRoom.waiting.push(resolve);
    });
  }

  /** Resolves once all messages are done with. */
  async settled(): Promise<void> {
    if (this.#size === 0) return;
    await Promise.all([...this.#rooms.keys()].map((roomId) => this.settledIn(roomId)));
  }
}
