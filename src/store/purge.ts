import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Logger } from '../logger.js';
import { isUnavailable } from './pg-errors.js';

/** Entries that one statement deletes. */
const CHUNK_ENTRIES = 10_000;
/** How often a node looks for logs that nobody deletes any more. */
const LOOK_INTERVAL_MS = 10_000;
/** Any number, the same in every process: it stands for the right to delete what others have left. */
const LOCK_KEY = 7_777_002;

interface DeletedRoom {
  readonly room_id: number;
  readonly head: number;
}

/** Within the transaction that it is given: deletes a room, and notes that its log is to follow. */
export async function deleteRoom(
  sequelize: Sequelize,
  roomId: number,
  transaction: Transaction,
): Promise<void> {
  await sequelize.query(
    `WITH deleted AS (DELETE FROM rooms WHERE id = $1 RETURNING id, head)
     INSERT INTO deleted_rooms (room_id, head) SELECT id, head FROM deleted`,
    { bind: [roomId], type: QueryTypes.INSERT, transaction },
  );
}

/**
 * Deletes the log of a deleted room, the newest entries first: who is being paged up sees no gap. How far it came is
 * committed with each chunk, so that anybody can go on.
 */
export async function purgeLog(sequelize: Sequelize, roomId: number): Promise<void> {
  let isDone = false;
  while (!isDone) {
    isDone = await sequelize.transaction(async (transaction) => {
      const [room] = await sequelize.query<DeletedRoom>(
        'SELECT room_id, head FROM deleted_rooms WHERE room_id = $1 FOR UPDATE',
        { bind: [roomId], type: QueryTypes.SELECT, transaction },
      );
      return room === undefined || purgeChunk(sequelize, room, transaction);
    });
  }
}

/**
 * Goes on with the logs that were left: by a node that was killed, or while the database was away. One node at a time;
 * any number of them may look.
 * @returns ends it, and resolves when nothing of it is under way
 */
export function startPurging({
  sequelize,
  logger,
}: {
  sequelize: Sequelize;
  logger: Logger;
}): () => Promise<void> {
  let isEnded = false;
  let looking: Promise<void> | undefined;
  const timer = setInterval(look, LOOK_INTERVAL_MS);
  look();

  function look(): void {
    looking ??= purgeAll()
      .catch((error: unknown) => {
        const level = isUnavailable(error) ? 'debug' : 'warn';
        logger[level]({ err: error }, 'the logs of deleted rooms are deleted later');
      })
      .finally(() => {
        looking = undefined;
      });
  }

  async function purgeAll(): Promise<void> {
    const [left] = await sequelize.query('SELECT FROM deleted_rooms LIMIT 1', {
      type: QueryTypes.SELECT,
    });
    if (left === undefined) return;
    while (await purgeNext()) continue;
  }

  /** @returns whether there may be more to do */
  async function purgeNext(): Promise<boolean> {
    if (isEnded) return false;
    return sequelize.transaction(async (transaction) => {
      const [lock] = await sequelize.query<{ is_ours: boolean }>(
        'SELECT pg_try_advisory_xact_lock($1) AS is_ours',
        { bind: [LOCK_KEY], type: QueryTypes.SELECT, transaction },
      );
      if (lock?.is_ours !== true) return false;
      // Not those that are being deleted at the moment.
      const [room] = await sequelize.query<DeletedRoom>(
        'SELECT room_id, head FROM deleted_rooms ORDER BY room_id LIMIT 1 FOR UPDATE SKIP LOCKED',
        { type: QueryTypes.SELECT, transaction },
      );
      if (room === undefined) return false;
      if (await purgeChunk(sequelize, room, transaction)) {
        logger.info({ room: room.room_id }, 'the log of a deleted room is deleted to the end');
      }
      return true;
    });
  }

  return async () => {
    isEnded = true;
    clearInterval(timer);
    await looking;
  };
}

/**
 * In ranges of numbers, which have no gaps: a short one is found by its index under any plan.
 * @returns whether that was the last of the log
 */
async function purgeChunk(
  sequelize: Sequelize,
  { room_id, head }: DeletedRoom,
  transaction: Transaction,
): Promise<boolean> {
  const rest = head - CHUNK_ENTRIES;
  await sequelize.query('DELETE FROM messages WHERE room_id = $1 AND seq > $2 AND seq <= $3', {
    bind: [room_id, rest, head],
    transaction,
  });
  await sequelize.query(
    rest > 0
      ? 'UPDATE deleted_rooms SET head = $2 WHERE room_id = $1'
      : 'DELETE FROM deleted_rooms WHERE room_id = $1 AND $2::bigint <= 0',
    { bind: [room_id, rest], transaction },
  );
  return rest <= 0;
}
