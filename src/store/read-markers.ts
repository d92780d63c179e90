import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller } from '../access/permissions.js';
import { isForeignKeyViolation } from './pg-errors.js';
import { MAY_READ, ofAsked, READS_SINCE, RULES_OF_CALLER } from './readable.js';
import { StatementBatches } from './statement-batches.js';

/** Markers of one statement, as many as entries of one (group-commit.ts): a room of thousands may open or be read at once. */
const MAX_BATCH = 1_000;
/** Attempts at a statement during which a room is deleted; the next one does not find the room. */
const MAX_ATTEMPTS = 3;

/** Which messages of a room a user wants to be notified of. */
export const NOTIFY_LEVELS = ['all', 'mentions', 'none'] as const;

export type NotifyLevel = (typeof NOTIFY_LEVELS)[number];

/** How far a caller has read a room. */
export interface ReadMarker {
  /** Whether the caller may read the room. */
  readonly mayRead: boolean;
  /** Seq of the last entry that counts as read: never below the entry since which the caller may read. */
  readonly upto: number;
}

/** Where a caller may begin to read a room on. */
export interface ReadPlace extends ReadMarker {
  /** Seq up to which the room's log is gone. */
  readonly horizon: number;
}

/** A marker after a move. */
export interface MovedMarker extends ReadMarker {
  /** False if it stayed where it was. */
  readonly isMoved: boolean;
}

/** Callers whose markers are asked for in the same moment share a statement. */
export interface ReadMarkers {
  /** The marker of a caller in a room; undefined if there is no such room. */
  find(caller: Caller, roomId: number): Promise<ReadPlace | undefined>;
  /**
   * Moves the marker of a caller who may read to `upto`, at most to the head: forwards only, unless `isBack`. In the
   * answer it is further on if it was, or if another device has moved it meanwhile.
   * @returns undefined if there is no such room
   */
  move(
    caller: Caller,
    roomId: number,
    upto: number,
    isBack: boolean,
  ): Promise<MovedMarker | undefined>;
  /**
   * Sets what a caller who may read wants to be notified of.
   * @returns whether they may; undefined if there is no such room
   */
  notify(caller: Caller, roomId: number, level: NotifyLevel): Promise<boolean | undefined>;
}

interface Asked {
  readonly caller: Caller;
  readonly roomId: number;
}

interface AskedMove extends Asked {
  readonly upto: number;
  readonly isBack: boolean;
}

interface FoundRow extends ReadPlace {
  /** The place in the list, from 1 on. */
  readonly n: number;
}

interface MovedRow {
  readonly n: number;
  readonly mayRead: boolean;
  /** Null if the marker stays. */
  readonly upto: number | null;
}

/**
 * The rooms $1 of the callers $2 to $5 (users, entities, levels, whether it is a server), each at the place `n`; without
 * rooms that don't exist.
 */
const ASKED = `SELECT asked.n::integer AS n, asked.user_uuid, r.id AS room_id, r.head, r.horizon,
      asked.is_server OR ${ofAsked(MAY_READ)} AS "mayRead", greatest(${ofAsked(READS_SINCE)}, 0) AS since
    FROM unnest($1::integer[], $2::uuid[], $3::uuid[], $4::float8[], $5::boolean[])
      WITH ORDINALITY AS asked (room_id, user_uuid, entity_uuid, level, is_server, n)
    CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = asked.room_id LIMIT 1) AS r
    ${ofAsked(RULES_OF_CALLER)}`;

const FIND = `WITH found AS MATERIALIZED (${ASKED})
  SELECT n, "mayRead", horizon, greatest(since, (
    SELECT upto FROM read_markers WHERE room_id = found.room_id AND user_uuid = found.user_uuid LIMIT 1
  )) AS upto FROM found`;

/**
 * Moves to $6, also backwards if $7. In the order of the keys, so that two statements never wait for each other.
 * @param tellsWebhooks whether to note that it is to be told
 */
const moveOf = (
  tellsWebhooks: boolean,
): string => `WITH found AS MATERIALIZED (${ASKED}), moved AS (
    INSERT INTO read_markers (room_id, user_uuid, upto)
    SELECT room_id, user_uuid, greatest(since, least(head, ($6::bigint[])[n])) FROM found
    WHERE "mayRead" ORDER BY room_id, user_uuid
    ON CONFLICT (room_id, user_uuid) DO UPDATE SET upto = excluded.upto
    WHERE read_markers.upto < excluded.upto OR ($7 AND read_markers.upto <> excluded.upto)
    RETURNING room_id, user_uuid, upto
  )${
    tellsWebhooks
      ? `, told AS (
    INSERT INTO webhook_reads (room_id, user_uuid, upto, "movedAt")
    SELECT room_id, user_uuid, upto, now() FROM moved ORDER BY room_id, user_uuid
    ON CONFLICT (room_id, user_uuid) DO UPDATE SET upto = excluded.upto, "movedAt" = excluded."movedAt"
  )`
      : ''
  }
  SELECT n, "mayRead", moved.upto FROM found LEFT JOIN moved USING (room_id, user_uuid)`;

/** In a room without a marker, the level has one at 0, which counts as none. */
const NOTIFY = `WITH found AS MATERIALIZED (${ASKED}), stored AS (
    INSERT INTO read_markers (room_id, user_uuid, upto, notify)
    SELECT room_id, user_uuid, 0, $6 FROM found WHERE "mayRead"
    ON CONFLICT (room_id, user_uuid) DO UPDATE SET notify = excluded.notify
  )
  SELECT n, "mayRead" FROM found`;

/** @param tellsWebhooks whether moved markers are posted to WEBHOOK_URL */
export function createReadMarkers({
  sequelize,
  tellsWebhooks = false,
}: {
  sequelize: Sequelize;
  tellsWebhooks?: boolean | undefined;
}): ReadMarkers {
  const moveSql = moveOf(tellsWebhooks);
  const finds = new StatementBatches(find, (waiting) => Math.min(waiting.length, MAX_BATCH));
  const moves = new StatementBatches(move, countFirstMoves);

  async function query<Row extends { readonly n: number }>(
    sql: string,
    asked: readonly Asked[],
    ...more: unknown[]
  ): Promise<Map<number, Row>> {
    const bind = [
      asked.map(({ roomId }) => roomId),
      asked.map(({ caller }) => caller.userUUID),
      asked.map(({ caller }) => caller.entityUUID),
      asked.map(({ caller }) => caller.levelOnEntity),
      asked.map(({ caller }) => caller.isServer),
      ...more,
    ];
    const rows = await sequelize.query<Row>(sql, { bind, type: QueryTypes.SELECT });
    return new Map(rows.map((row) => [row.n, row]));
  }

  async function find(asked: readonly Asked[]): Promise<(ReadPlace | undefined)[]> {
    const rows = await query<FoundRow>(FIND, asked);
    return asked.map((_, index) => rows.get(index + 1));
  }

  async function move(asked: readonly AskedMove[]): Promise<(MovedMarker | undefined)[]> {
    const rows = await storeMoves(asked);
    const stayed = asked.filter((_, index) => rows.get(index + 1)?.upto === null);
    // A statement of its own, which sees what the first one has compared with.
    const others = new Map(
      stayed.length === 0 ? [] : (await find(stayed)).map((at, index) => [stayed[index], at]),
    );
    return asked.map((one, index) => {
      const row = rows.get(index + 1);
      if (row === undefined) return undefined;
      if (row.upto !== null) return { mayRead: true, upto: row.upto, isMoved: true };
      return { mayRead: row.mayRead, upto: others.get(one)?.upto ?? one.upto, isMoved: false };
    });
  }

  function storeMoves(asked: readonly AskedMove[]): Promise<Map<number, MovedRow>> {
    const uptos = asked.map(({ upto }) => upto);
    return persistently(() => query(moveSql, asked, uptos, asked[0]?.isBack ?? false));
  }

  /** Stores again if a room was deleted meanwhile. */
  async function persistently<T>(store: () => Promise<T>, attempt = 1): Promise<T> {
    try {
      return await store();
    } catch (error) {
      if (!isForeignKeyViolation(error) || attempt === MAX_ATTEMPTS) throw error;
      return persistently(store, attempt + 1);
    }
  }

  return {
    find: (caller, roomId) => finds.add({ caller, roomId }),
    move: (caller, roomId, upto, isBack) => moves.add({ caller, roomId, upto, isBack }),

    async notify(caller, roomId, level) {
      const rows = await persistently(() => query<FoundRow>(NOTIFY, [{ caller, roomId }], level));
      return rows.get(1)?.mayRead;
    },
  };
}

/** A statement moves each marker once, and all forwards or all also backwards. */
function countFirstMoves(waiting: readonly AskedMove[]): number {
  const keys = new Set<string>();
  for (const { caller, roomId, isBack } of waiting) {
    const key = `${roomId} ${caller.userUUID}`;
    const fits = isBack === waiting[0]?.isBack && !keys.has(key) && keys.size < MAX_BATCH;
    if (!fits) break;
    keys.add(key);
  }
  return keys.size;
}
