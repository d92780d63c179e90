import { setTimeout as delay } from 'node:timers/promises';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Logger } from '../logger.js';
import { ENTRY_KIND_NAMES, ENTRY_KINDS } from '../protocol/entry-kinds.js';
import { forgetAbout } from './about-messages.js';
import { lockKey } from './advisory-locks.js';
import { isUnavailable } from './pg-errors.js';

/**
 * Entries of one transaction, which has the lock of their room meanwhile, beside as much of what is said about them
 * (about-messages.ts): as many as an append stores at most.
 */
const CHUNK_ENTRIES = 1_000;
/** Rooms of which one statement looks at the oldest entry: a page of the list of all rooms. */
const ROOMS_A_QUERY = 1_000;
/**
 * After a statement a node rests for this many times as long as it took. Then it deletes some thousand entries a second,
 * more than most installations store, and takes a quarter of a core of Postgres at most.
 */
const REST_FACTOR = 3;
/** From one pass over all rooms to the next: short against a day. */
const PASS_INTERVAL_MS = 600_000;

interface DueRooms {
  /** Ids of rooms that have entries to be deleted. */
  readonly due: readonly number[];
  /** Of the last room that was looked at; null: there are no more. */
  readonly last: number | null;
}

/** The oldest message of the room `id`, by the index of dates: an import may have put it behind younger entries. */
function oldestMessage(id: string): string {
  return `SELECT seq, "createdAt" FROM messages WHERE room_id = ${id} AND kind = 'message' ORDER BY "createdAt", seq LIMIT 1`;
}

/** Rooms by id, beyond $1, with an entry that is older than $2 days, among the next ROOMS_A_QUERY ones. */
const FIND_DUE = `WITH part AS MATERIALIZED (
    SELECT id, horizon FROM rooms WHERE id > $1 ORDER BY id LIMIT ${ROOMS_A_QUERY}
  )
  SELECT (SELECT max(id) FROM part) AS last,
    (SELECT coalesce(json_agg(part.id ORDER BY part.id), '[]') FROM part
     LEFT JOIN LATERAL (
       SELECT "createdAt" FROM messages WHERE room_id = part.id AND seq > part.horizon ORDER BY seq LIMIT 1
     ) AS first ON true
     LEFT JOIN LATERAL (${oldestMessage('part.id')}) AS oldest ON true
     WHERE least(first."createdAt", oldest."createdAt") < now() - make_interval(days => $2)) AS due`;

const KINDS_OF_RULES = ENTRY_KIND_NAMES.filter((kind) => ENTRY_KINDS[kind].changesRights).map(
  (kind) => `'${kind}'`,
);

/**
 * Of the next CHUNK_ENTRIES entries of the room $1 beyond $2, the number up to which all are older than $3 days, or give
 * rules before an older message: an import puts it behind them. These are left for a day, in which webhooks may be late
 * and clients away. Otherwise dates follow the numbers, unless a clock was set back, or a file was not in the order of its
 * dates: then an old entry waits for the younger one before it.
 */
const FIND_HORIZON = `WITH oldest AS MATERIALIZED (
    SELECT seq FROM (${oldestMessage('$1')}) AS message WHERE "createdAt" < now() - make_interval(days => $3)
  ), next AS MATERIALIZED (
    SELECT seq, kind, "createdAt" FROM messages
    WHERE room_id = $1 AND seq > $2 AND seq <= $2::bigint + ${CHUNK_ENTRIES} ORDER BY seq
  )
  SELECT coalesce(min(seq) FILTER (WHERE "createdAt" >= now() - make_interval(days => $3) AND NOT (
      kind IN (${KINDS_OF_RULES.join(', ')}) AND "createdAt" < now() - interval '1 day'
        AND coalesce(seq < (SELECT seq FROM oldest), false)
    )) - 1, max(seq), $2) AS horizon
  FROM next`;

/** Delete the entries of the room $1 beyond $2, up to $3. */
const PURGE = [
  // First: its locks are why the words of no message are stored after the next statement (message-words.ts).
  'DELETE FROM messages WHERE room_id = $1 AND seq > $2 AND seq <= $3',
  'DELETE FROM message_words WHERE room_id = $1 AND seq > $2 AND seq <= $3',
] as const;

const MOVE_HORIZON = `WITH moved AS (UPDATE rooms SET horizon = $2 WHERE id = $1)
  INSERT INTO search_positions AS p (room_id, upto) VALUES ($1, $2)
  ON CONFLICT (room_id) DO UPDATE SET upto = greatest(p.upto, excluded.upto)`;

/**
 * Deletes the oldest entries of a room, those that are older than so many days: CHUNK_ENTRIES at most, one node at a time.
 * The room's horizon is then the seq up to which its log is gone.
 * @returns 'more' if there may be more of them, 'busy' if another node is at it
 */
export function purgeOldest(
  sequelize: Sequelize,
  roomId: number,
  days: number,
): Promise<'more' | 'done' | 'busy'> {
  return sequelize.transaction(async (transaction) => {
    const options = { type: QueryTypes.SELECT, transaction } as const;
    const [lock] = await sequelize.query<{ is_ours: boolean }>(
      'SELECT pg_try_advisory_xact_lock($1) AS is_ours',
      { bind: [lockKey('retain')], ...options },
    );
    if (lock?.is_ours !== true) return 'busy';
    // As a change of a message: the room first, then its entries.
    const [room] = await sequelize.query<{ horizon: number }>(
      'SELECT horizon FROM rooms WHERE id = $1 FOR NO KEY UPDATE',
      { bind: [roomId], ...options },
    );
    if (room === undefined) return 'done';
    const before = room.horizon;
    const [found] = await sequelize.query<{ horizon: number }>(FIND_HORIZON, {
      bind: [roomId, before, days],
      ...options,
    });
    const horizon = found?.horizon ?? before;
    if (horizon === before) return 'done';
    // Entries that are left say nothing of a message that is gone.
    const seqs = Array.from({ length: horizon - before }, (_, index) => before + 1 + index);
    const isForgotten = await forgetAbout(
      sequelize,
      roomId,
      { seqs, beyond: horizon },
      transaction,
    );
    if (!isForgotten) return 'more';
    await purge(sequelize, roomId, { before, horizon }, transaction);
    return horizon === before + CHUNK_ENTRIES ? 'more' : 'done';
  });
}

async function purge(
  sequelize: Sequelize,
  roomId: number,
  { before, horizon }: { before: number; horizon: number },
  transaction: Transaction,
): Promise<void> {
  const bind = [roomId, before, horizon];
  for (const statement of PURGE) await sequelize.query(statement, { bind, transaction });
  await sequelize.query(MOVE_HORIZON, { bind: [roomId, horizon], transaction });
}

/**
 * Deletes entries that are older than so many days, room by room, with rests. Every node does; one that meets another leaves
 * the rest of its pass to that one, as otherwise each would delete while the others rest.
 * @returns stops it; resolves when nothing of it is running
 */
export function startRetention({
  sequelize,
  days,
  logger,
}: {
  sequelize: Sequelize;
  days: number;
  logger: Logger;
}): () => Promise<void> {
  const stop = new AbortController();
  const { signal } = stop;

  /** @throws AbortError when it is stopped */
  async function rested<T>(work: Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work;
    } finally {
      await delay(REST_FACTOR * (performance.now() - start), undefined, { signal });
    }
  }

  async function findDue(after: number): Promise<DueRooms> {
    const bind = [after, days];
    const [part] = await sequelize.query<DueRooms>(FIND_DUE, { bind, type: QueryTypes.SELECT });
    return part ?? { due: [], last: null };
  }

  /** @returns whether another node is at it. What fails in one room leaves that one to the next pass. */
  async function purgeRoom(roomId: number): Promise<boolean> {
    try {
      for (;;) {
        const outcome = await rested(purgeOldest(sequelize, roomId, days));
        if (outcome !== 'more') return outcome === 'busy';
      }
    } catch (error) {
      if (signal.aborted) throw error;
      logFailure(error, { roomId });
      return false;
    }
  }

  async function purgeAll(): Promise<void> {
    for (let part = await rested(findDue(0)); part.last !== null;) {
      for (const roomId of part.due) {
        if (await purgeRoom(roomId)) return;
      }
      part = await rested(findDue(part.last));
    }
  }

  function logFailure(error: unknown, where: { readonly roomId?: number } = {}): void {
    const level = isUnavailable(error) ? 'debug' : 'warn';
    logger[level]({ err: error, ...where }, 'deleting old entries failed, will retry');
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await purgeAll();
      } catch (error) {
        if (signal.aborted) return;
        logFailure(error);
      }
      await delay(PASS_INTERVAL_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  const running = run();
  return async () => {
    stop.abort();
    await running;
  };
}
