import { QueryTypes, type Sequelize } from 'sequelize';
import { lockKey } from './advisory-locks.js';

/**
 * For how long a room is a node's own: longer than the turn of a room may take (TURN_MS of jobs/webhook-turn.ts, whose
 * last request may need its whole time, and a statement).
 */
const LEASE_SECONDS = 40;
/** Rooms that one statement compares with their cursors: some milliseconds. */
const SWEPT_ROOMS = 5_000;
/** Read markers of one statement. */
const READS_PAGE = 20;
/** Rooms of which the backlog is told at most: a scrape must not cost more, the less is posted. */
const BACKLOG_ROOMS = 1_000;
/** The largest id of a room. */
const MAX_ROOM = 2_147_483_647;

/** A room whose events this node alone may post, for a while. */
export interface LeasedRoom {
  readonly roomId: number;
  readonly uuid: string;
  /** Seq of the last entry that was posted, or given up. */
  readonly upto: number;
  /** Failed attempts at the next event. */
  readonly attempts: number;
  /** Seq of the first entry that was given up since an event was posted; null: none. */
  readonly holeFrom: number | null;
  /** The number of the lease. */
  readonly lease: number;
}

/** Where a lease leaves the cursor of a room. */
export type CursorState = Pick<LeasedRoom, 'upto' | 'attempts' | 'holeFrom'>;

/** A read marker that was moved. */
export interface MovedRead {
  readonly userUUID: string;
  readonly upto: number;
  readonly movedAt: Date;
}

/** Rooms that were compared with their cursors. */
export interface Swept {
  /** The id behind which to go on; null: these were the last. */
  readonly last: number | null;
}

/** What is left to be posted. */
export interface WebhookBacklog {
  /** Rooms with events to be posted, BACKLOG_ROOMS at most. */
  readonly rooms: number;
  /** The date of the oldest entry that is left; null: none is. */
  readonly oldest: Date | null;
}

/** How far the events of each room were posted. A room without a cursor gets one that begins where webhooks began. */
export interface WebhookCursors {
  /**
   * Notes when webhooks began, unless that is noted already: older entries are not posted.
   * @returns when they did
   */
  begin(): Promise<Date>;
  /**
   * Leases rooms of which somebody has said that they have something, and rooms that are due.
   * @param except rooms whose turn has not ended on this node
   */
  lease(
    roomIds: readonly number[],
    limit: number,
    except: readonly number[],
  ): Promise<LeasedRoom[]>;
  /**
   * Leases one room, to find out whether the receiver is up: `roomId`, or one that is due. Rooms whose next event has failed
   * before have it only if there are no others: they tell less.
   */
  leaseOne(roomId: number | undefined): Promise<LeasedRoom[]>;
  /**
   * Moves the cursor of a leased room, and ends the lease, unless it has passed to another node.
   * @param retryMs when to try again; undefined: at once if something is left
   * @returns whether something is left to be done at once
   */
  release(room: LeasedRoom, state: CursorState, retryMs: number | undefined): Promise<boolean>;
  /** Deletes the cursor of a leased room that is deleted. */
  remove(room: LeasedRoom): Promise<void>;
  /** Seq of the first entry of a room behind `upto` that the log has; undefined: it has none. */
  nextSeq(roomId: number, upto: number): Promise<number | undefined>;
  /** Read markers of a room that are at or below `upto`. */
  reads(roomId: number, upto: number): Promise<MovedRead[]>;
  /** Forgets a read marker, unless it was moved again. */
  removeRead(roomId: number, read: MovedRead): Promise<void>;
  /**
   * Makes rooms due that have something, a number of them behind an id, as whoever said so may have been killed. One node
   * at a time compares.
   * @returns undefined if another node is at it
   */
  sweep(afterRoomId: number): Promise<Swept | undefined>;
  backlog(): Promise<WebhookBacklog>;
}

const BEGIN = `INSERT INTO webhook_start (id, "begunAt") VALUES (1, now()) ON CONFLICT (id) DO NOTHING`;

const BEGUN_AT = 'SELECT "begunAt" FROM webhook_start';

/**
 * Seq of the last entry of the room `r` before webhooks began: one look at the end of the log, or a few. What was deleted by
 * age is no hole, either.
 */
const BEGINNING = `greatest(r.horizon, coalesce((SELECT seq FROM messages
    WHERE room_id = r.id AND "createdAt" < (SELECT "begunAt" FROM webhook_start) ORDER BY seq DESC LIMIT 1), 0))`;

/** Makes cursors of rooms $1 that have none. */
const CREATE = `INSERT INTO webhook_cursors (room_id, room_uuid, upto)
  SELECT r.id, r.uuid, ${BEGINNING} FROM rooms AS r
  WHERE r.id = ANY ($1::integer[]) AND NOT EXISTS (SELECT FROM webhook_cursors WHERE room_id = r.id)
  ORDER BY r.id ON CONFLICT (room_id) DO NOTHING RETURNING room_id`;

/**
 * Those of the rooms $1, and of those that are due and not among $3, that nobody has: $2 at most. If $4 is true, only those
 * whose next event has not failed, and the rooms $1 first.
 */
const LEASE = `WITH wanted AS MATERIALIZED (
    SELECT room_id FROM unnest($1::integer[]) AS room_id
    UNION
    (SELECT room_id FROM webhook_cursors
     WHERE "dueAt" <= now() AND room_id <> ALL ($3::integer[]) AND (attempts = 0 OR NOT $4::boolean)
     ORDER BY "dueAt" LIMIT $2)
  ), free AS MATERIALIZED (
    SELECT c.room_id FROM (
      SELECT room_id FROM wanted ORDER BY $4::boolean AND room_id <> ALL ($1::integer[])
    ) AS wanted CROSS JOIN LATERAL (
      SELECT room_id FROM webhook_cursors
      WHERE room_id = wanted.room_id AND ("dueAt" IS NULL OR "dueAt" <= now()) AND (attempts = 0 OR NOT $4::boolean)
      LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) AS c LIMIT $2
  )
  UPDATE webhook_cursors AS c SET "dueAt" = now() + interval '${LEASE_SECONDS} seconds', lease = lease + 1
  FROM free WHERE c.room_id = free.room_id
  RETURNING c.room_id AS "roomId", c.room_uuid AS uuid, c.upto, c.attempts, c.hole_from AS "holeFrom", c.lease`;

/** Whether the room of a cursor `c`, which is at $3, has something to be posted. */
const IS_LEFT = `(EXISTS (SELECT FROM webhook_reads WHERE room_id = c.room_id AND upto <= $3)
      OR (SELECT head > $3 FROM rooms WHERE id = c.room_id) IS NOT FALSE)`;

const RELEASE = `UPDATE webhook_cursors AS c SET upto = $3, attempts = $4, hole_from = $5,
    "dueAt" = CASE WHEN $6::integer IS NOT NULL THEN now() + $6 * interval '1 millisecond'
      WHEN ${IS_LEFT} THEN now() END
  WHERE room_id = $1 AND lease = $2
  RETURNING "dueAt" <= now() AS "isLeft"`;

const REMOVE = 'DELETE FROM webhook_cursors WHERE room_id = $1 AND lease = $2';

const NEXT_SEQ = 'SELECT seq FROM messages WHERE room_id = $1 AND seq > $2 ORDER BY seq LIMIT 1';

const READS = `SELECT user_uuid AS "userUUID", upto, "movedAt" FROM webhook_reads
  WHERE room_id = $1 AND upto <= $2 ORDER BY user_uuid LIMIT ${READS_PAGE}`;

const REMOVE_READ =
  'DELETE FROM webhook_reads WHERE room_id = $1 AND user_uuid = $2 AND "movedAt" = $3';

/**
 * Compares the rooms behind $2 with their cursors. Both are read by ranges of their keys, and cursors are changed by their
 * keys, whatever the planner thinks of how many there are.
 */
const SWEEP = `WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock($1) AS is_ours
  ), page AS MATERIALIZED (
    SELECT r.id, r.uuid, r.head, r.horizon FROM rooms AS r
    WHERE r.id > $2 AND (SELECT is_ours FROM turn) ORDER BY r.id LIMIT ${SWEPT_ROOMS}
  ), range AS MATERIALIZED (
    SELECT CASE WHEN count(*) = ${SWEPT_ROOMS} THEN max(id) END AS last FROM page
  ), cursor AS MATERIALIZED (
    SELECT room_id, upto, "dueAt" FROM webhook_cursors
    WHERE room_id > $2 AND room_id <= coalesce((SELECT last FROM range), ${MAX_ROOM})
      AND (SELECT is_ours FROM turn)
  ), read AS MATERIALIZED (
    SELECT DISTINCT room_id FROM webhook_reads
    WHERE room_id > $2 AND room_id <= coalesce((SELECT last FROM range), ${MAX_ROOM})
  ), created AS (
    INSERT INTO webhook_cursors (room_id, room_uuid, upto, "dueAt")
    SELECT r.id, r.uuid, beginning.upto, CASE WHEN r.head > beginning.upto THEN now() END
    FROM page AS r LEFT JOIN cursor ON cursor.room_id = r.id
    CROSS JOIN LATERAL (SELECT ${BEGINNING} AS upto) AS beginning
    WHERE cursor.room_id IS NULL
    ORDER BY r.id ON CONFLICT (room_id) DO NOTHING
  ), left_over AS MATERIALIZED (
    SELECT room_id FROM cursor LEFT JOIN page AS r ON r.id = room_id
    WHERE "dueAt" IS NULL AND (r.id IS NULL OR r.head > upto OR room_id IN (SELECT room_id FROM read))
  ), marked AS (
    UPDATE webhook_cursors SET "dueAt" = now()
    WHERE room_id = ANY (ARRAY(SELECT room_id FROM left_over)) AND "dueAt" IS NULL
  )
  SELECT last FROM range WHERE (SELECT is_ours FROM turn)`;

/**
 * The rooms that are due, and the oldest of their entries. A room whose events were never attempted, since the receiver
 * has been down, is due by the sweep.
 */
const BACKLOG = `SELECT count(*)::integer AS rooms, min(next."createdAt") AS oldest
  FROM (
    SELECT room_id, upto FROM webhook_cursors WHERE "dueAt" IS NOT NULL ORDER BY "dueAt" LIMIT ${BACKLOG_ROOMS}
  ) AS c
  LEFT JOIN LATERAL (
    SELECT "createdAt" FROM messages WHERE room_id = c.room_id AND seq > c.upto ORDER BY seq LIMIT 1
  ) AS next ON true`;

export function createWebhookCursors({ sequelize }: { sequelize: Sequelize }): WebhookCursors {
  const select = <Row extends object>(sql: string, bind: readonly unknown[]): Promise<Row[]> =>
    sequelize.query<Row>(sql, { bind: [...bind], type: QueryTypes.SELECT });

  async function lease(
    roomIds: readonly number[],
    limit: number,
    except: readonly number[],
    isFresh: boolean,
  ): Promise<LeasedRoom[]> {
    const leased = await select<LeasedRoom>(LEASE, [roomIds, limit, except, isFresh]);
    const found = new Set(leased.map(({ roomId }) => roomId));
    const others = roomIds.filter((id) => !found.has(id));
    if (others.length === 0 || leased.length === limit) return leased;
    const created = await select<{ room_id: number }>(CREATE, [others]);
    if (created.length === 0) return leased;
    const ids = created.map(({ room_id }) => room_id);
    return [
      ...leased,
      ...(await select<LeasedRoom>(LEASE, [ids, limit - leased.length, except, isFresh])),
    ];
  }

  return {
    async begin() {
      await sequelize.query(BEGIN);
      const [row] = await select<{ begunAt: Date }>(BEGUN_AT, []);
      if (row === undefined) throw new Error('nothing says when webhooks began');
      return row.begunAt;
    },

    lease: (roomIds, limit, except) => lease(roomIds, limit, except, false),

    async leaseOne(roomId) {
      const fresh = await lease(roomId === undefined ? [] : [roomId], 1, [], true);
      return fresh.length > 0 ? fresh : lease([], 1, [], false);
    },

    async release({ roomId, lease }, { upto, attempts, holeFrom }, retryMs) {
      const bind = [roomId, lease, upto, attempts, holeFrom, retryMs ?? null];
      const [row] = await select<{ isLeft: boolean | null }>(RELEASE, bind);
      return row?.isLeft ?? false;
    },

    async remove({ roomId, lease }) {
      await sequelize.query(REMOVE, { bind: [roomId, lease] });
    },

    async nextSeq(roomId, upto) {
      const [row] = await select<{ seq: number }>(NEXT_SEQ, [roomId, upto]);
      return row?.seq;
    },

    reads: (roomId, upto) => select<MovedRead>(READS, [roomId, upto]),

    async removeRead(roomId, { userUUID, movedAt }) {
      await sequelize.query(REMOVE_READ, { bind: [roomId, userUUID, movedAt.toISOString()] });
    },

    async sweep(afterRoomId) {
      const [swept] = await select<Swept>(SWEEP, [lockKey('sweepWebhooks'), afterRoomId]);
      return swept;
    },

    async backlog() {
      const [row] = await select<WebhookBacklog>(BACKLOG, []);
      return row ?? { rooms: 0, oldest: null };
    },
  };
}
