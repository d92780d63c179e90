import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Logger } from '../logger.js';
import { lockKey } from './advisory-locks.js';
import { isUnavailable } from './pg-errors.js';

/** Entries of one statement, as of one query of the history: short enough that others have their turn in between. */
const CHUNK_ENTRIES = 10_000;
/** How often a node checks for logs whose deletion was interrupted; nobody waits for it. */
const CHECK_INTERVAL_MS = 10_000;

interface DeletedRoom {
  readonly roomId: number;
  readonly head: number;
}

/** Deletes a room, in the given transaction, and records that its log has to be deleted. */
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
 * Deletes the log of a deleted room, the newest entries first, so that sessions that are catching up see no gap. Each
 * chunk is committed with its progress, from which any node can go on.
 */
export async function purgeLog(sequelize: Sequelize, roomId: number): Promise<void> {
  let isDone = false;
  while (!isDone) {
    isDone = await sequelize.transaction(async (transaction) => {
      const [room] = await sequelize.query<DeletedRoom>(
        'SELECT room_id AS "roomId", head FROM deleted_rooms WHERE room_id = $1 FOR UPDATE',
        { bind: [roomId], type: QueryTypes.SELECT, transaction },
      );
      return room === undefined || purgeChunk(sequelize, room, transaction);
    });
  }
}

/**
 * Goes on with deletions that were interrupted: by the end of a node, or an outage of the database. All nodes check;
 * one at a time deletes.
 * @returns stops it; resolves when nothing of it is running
 */
export function startPurging({
  sequelize,
  logger,
}: {
  sequelize: Sequelize;
  logger: Logger;
}): () => Promise<void> {
  let isEnded = false;
  let checking: Promise<void> | undefined;
  const timer = setInterval(check, CHECK_INTERVAL_MS);
  check();

  function check(): void {
    checking ??= purgeAll()
      .catch((error: unknown) => {
        const level = isUnavailable(error) ? 'debug' : 'warn';
        logger[level]({ err: error }, 'purging deleted rooms failed, will retry');
      })
      .finally(() => {
        checking = undefined;
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
        { bind: [lockKey('purge')], type: QueryTypes.SELECT, transaction },
      );
      if (lock?.is_ours !== true) return false;
      // Locked rows are those of deletions under way.
      const [room] = await sequelize.query<DeletedRoom>(
        'SELECT room_id AS "roomId", head FROM deleted_rooms ORDER BY room_id LIMIT 1 FOR UPDATE SKIP LOCKED',
        { type: QueryTypes.SELECT, transaction },
      );
      if (room === undefined) return false;
      if (await purgeChunk(sequelize, room, transaction)) {
        logger.info({ room: room.roomId }, 'purged the log of a deleted room');
      }
      return true;
    });
  }

  return async () => {
    isEnded = true;
    clearInterval(timer);
    await checking;
  };
}

/** Deletes CHUNK_ENTRIES reactions to the entries of the room $1 beyond $2, up to $3: one of them may have a million. */
const PURGE_REACTIONS = `WITH gone AS (
    DELETE FROM reactions WHERE room_id = $1 AND ctid = ANY (ARRAY(
      SELECT ctid FROM reactions WHERE room_id = $1 AND target > $2 AND target <= $3 LIMIT ${CHUNK_ENTRIES}
    )) RETURNING 1
  )
  SELECT count(*) AS rows FROM gone`;

/**
 * Deletes a range of seqs, which have no gaps, so that any plan of it is cheap.
 * @returns whether the log is empty now
 */
async function purgeChunk(
  sequelize: Sequelize,
  { roomId, head }: DeletedRoom,
  transaction: Transaction,
): Promise<boolean> {
  const rest = head - CHUNK_ENTRIES;
  const bind = [roomId, rest, head];
  for (const statement of [
    // First: its locks are why the words of no entry are stored after the next statement (message-words.ts).
    'DELETE FROM messages WHERE room_id = $1 AND seq > $2 AND seq <= $3',
    'DELETE FROM message_words WHERE room_id = $1 AND seq > $2 AND seq <= $3',
  ]) {
    await sequelize.query(statement, { bind, transaction });
  }
  const [reactions] = await sequelize.query<{ rows: number }>(PURGE_REACTIONS, {
    bind,
    type: QueryTypes.SELECT,
    transaction,
  });
  if ((reactions?.rows ?? 0) >= CHUNK_ENTRIES) return false;
  await sequelize.query(
    rest > 0
      ? 'UPDATE deleted_rooms SET head = $2 WHERE room_id = $1'
      : `WITH moved AS (DELETE FROM search_positions WHERE room_id = $1)
         DELETE FROM deleted_rooms WHERE room_id = $1 AND $2::bigint <= 0`,
    { bind: [roomId, rest], transaction },
  );
  return rest <= 0;
}
