import type { Sequelize, Transaction } from 'sequelize';
import { isUnavailable } from './pg-errors.js';

/** Changes of one transaction: as many as entries of one statement (group-commit.ts). */
const MAX_BATCH = 1_000;

/** The outcome of a change that was refused, while others of its batch were made. */
export interface Refused {
  readonly error: unknown;
}

/** Makes the changes of a batch, in their order, in a transaction; returns one outcome a change. */
type MakeChanges<Change, Changed> = (
  roomId: number,
  batch: readonly Change[],
  transaction: Transaction,
) => Promise<readonly (Changed | Refused)[]>;

interface Waiting<Change, Changed> {
  readonly change: Change;
  resolve(changed: Changed): void;
  reject(error: unknown): void;
}

/**
 * Makes changes of rooms, one transaction a room at a time. Changes that wait for it to end make up the next one: so
 * hundreds of users who do the same in a room at once need one connection, and the room's lock a few times.
 */
export class RoomBatches<Change, Changed extends object> {
  readonly #sequelize: Sequelize;
  readonly #makeChanges: MakeChanges<Change, Changed>;
  /** By room; a room without an entry has no transaction. */
  readonly #waiting = new Map<number, Waiting<Change, Changed>[]>();

  constructor(sequelize: Sequelize, makeChanges: MakeChanges<Change, Changed>) {
    this.#sequelize = sequelize;
    this.#makeChanges = makeChanges;
  }

  /** Resolves when the change is committed. */
  make(roomId: number, change: Change): Promise<Changed> {
    return new Promise((resolve, reject) => {
      const waiting = { change, resolve, reject };
      const others = this.#waiting.get(roomId);
      if (others !== undefined) {
        others.push(waiting);
      } else {
        this.#waiting.set(roomId, [waiting]);
        void this.#work(roomId);
      }
    });
  }

  async #work(roomId: number): Promise<void> {
    for (;;) {
      const batch = this.#waiting.get(roomId)?.splice(0, MAX_BATCH) ?? [];
      if (batch.length === 0) break;
      await this.#commit(roomId, batch);
    }
    this.#waiting.delete(roomId);
  }

  async #commit(roomId: number, batch: readonly Waiting<Change, Changed>[]): Promise<void> {
    const changes = batch.map(({ change }) => change);
    try {
      const outcomes = await this.#sequelize.transaction((transaction) =>
        this.#makeChanges(roomId, changes, transaction),
      );
      for (const [index, outcome] of outcomes.entries()) {
        if ('error' in outcome) batch[index]?.reject(outcome.error);
        else batch[index]?.resolve(outcome);
      }
    } catch (error) {
      if (isUnavailable(error)) {
        // The changes that wait would have to wait as long again.
        const others = this.#waiting.get(roomId)?.splice(0) ?? [];
        for (const waiting of [...batch, ...others]) waiting.reject(error);
      } else if (batch.length === 1) {
        batch[0]?.reject(error);
      } else {
        // One of them can't be stored: the others can, each by itself.
        for (const waiting of batch) await this.#commit(roomId, [waiting]);
      }
    }
  }
}
