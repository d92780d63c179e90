import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller } from '../access/permissions.js';
import type { FairLimit } from './fair-limit.js';
import type { HistoryMessage } from './history.js';
import { messageColumns } from './message-columns.js';
import type { RoomType } from './models/room.js';
import type { NotifyLevel } from './read-markers.js';
import {
  ENTITY_COUNTS,
  MAY_READ,
  NOT_BANNED,
  READS_BY_ENTITY,
  READS_BY_OWN,
  READS_SINCE,
  RULES_OF_CALLER,
} from './readable.js';
import type { User } from './users.js';

/** A room as one caller sees it, at one moment. */
export interface RoomSummary {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly type: RoomType;
  /** A JSON object, as text. */
  readonly data: string | null;
  readonly head: number;
  readonly createdAt: Date;
  /** The uuid of the log. */
  readonly epoch: string;
  /** Those of `rwa` that the caller has. */
  readonly permissions: string;
  /** Whether the rule by which the caller enters is accepted. */
  readonly accepted: boolean;
  /** The caller's read marker. */
  readonly read: number;
  /** Messages of others above the marker, UNREAD_COUNTED at most; and those of them that mention the caller. */
  readonly unread: number;
  readonly mentions: number;
  /** Which messages the caller wants to be notified of. */
  readonly notify: NotifyLevel;
  /** The last one that is not deleted; null if there is none, or if the caller may not read. */
  readonly lastMessage: HistoryMessage | null;
  /** The other user of a user2user room; null if there is none. */
  readonly with: User | null;
  /** The date of the last message, or else that of the room. */
  readonly at: Date;
}

/** The place of a room in a list: rooms with later dates come first. */
export interface RoomPlace {
  readonly at: Date;
  readonly id: number;
}

export interface RoomFilter {
  /** A part of the room's name, or of that of its other user, in any case. */
  readonly text?: string | undefined;
  readonly type?: RoomType | undefined;
  /** Only rooms behind this place. */
  readonly behind?: RoomPlace | undefined;
  readonly limit: number;
}

/** The rooms that a caller may read or is invited to. */
export interface RoomList {
  /**
   * A page of them, the room with the newest message first.
   * @param gone aborted when the client is gone: then nothing more is read
   */
  page(caller: Caller, filter: RoomFilter, gone?: AbortSignal): Promise<RoomSummary[]>;
  /** One of them, to a server any; undefined if the room is none of them. */
  one(caller: Caller, roomId: number, gone?: AbortSignal): Promise<RoomSummary | undefined>;
}

/** "100" means 100 or more: nobody reads a larger number, and a count has to end. */
const UNREAD_COUNTED = 100;
/**
 * Entries of a room that a query passes at most, however few of them are messages of others, as one of the history. An
 * older message is not counted, and is no last message.
 */
const ENTRIES_PASSED = 10_000;
/** Rooms that a query sorts at most, the newest ones: each costs a look into its log. */
const ROOMS_SORTED = 10_000;

/** The other user of a user2user room `r`; null to a server that is none of the two. */
const OTHER_USER = `CASE WHEN r.type = 'user2user' AND own.permissions IS NOT NULL THEN coalesce(
    CASE $1::uuid WHEN r.first_user THEN r.second_user WHEN r.second_user THEN r.first_user END,
    (SELECT "entity_UUID" FROM room_permissions WHERE room_id = r.id AND "entity_UUID" <> $1 LIMIT 1)) END`;

/** Whether a rule that counts has the letter, or the caller is an admin by the room's entity. */
function has(letter: string): string {
  return `(coalesce(own.permissions LIKE '%${letter}%', false)
    OR (${ENTITY_COUNTS} AND entity.permissions LIKE '%${letter}%'))`;
}

const PERMISSIONS = `concat(CASE WHEN ${has('r')} THEN 'r' END, CASE WHEN ${has('w')} THEN 'w' END,
    CASE WHEN ${has('a')} OR (r.type = 'group' AND r.entity_owner = $2 AND r.level_admin <= $3::float8)
      THEN 'a' END)`;

/** The entries of `page` that may be looked at for a message of others, or for the last message. */
const MESSAGES = `room_id = room.id AND room.reads AND seq > room.head - ${ENTRIES_PASSED}
      AND kind = 'message' AND deleted_by IS NULL`;

/**
 * Of the candidates, rooms by id, those that the caller may read or is invited to, as far as they fulfil a condition on
 * `room`: $4 at most, the newest first. Everything beyond the rooms of the page is looked up by a key or the log's
 * end. LATERAL with LIMIT has each looked up by its key, whatever the planner thinks of how many there are.
 * @param isServer the SQL of whether the caller has every right
 */
function summaries(candidates: string, condition: string, isServer = 'false'): string {
  return `WITH mine AS MATERIALIZED (
    SELECT r.id, r.uuid, r.name, r.type, r.data, r.head, r."createdAt", ${isServer} OR ${MAY_READ} AS reads,
      CASE WHEN ${isServer} THEN 'rwa' ELSE ${PERMISSIONS} END AS permissions, ${OTHER_USER} AS other,
      CASE WHEN ${READS_BY_OWN} THEN own.accepted WHEN ${READS_BY_ENTITY} THEN entity.accepted
        ELSE coalesce(own.accepted, entity.accepted, true) END AS accepted,
      ${READS_SINCE} AS since
    FROM (${candidates}) AS candidate
    CROSS JOIN LATERAL (SELECT * FROM rooms WHERE id = candidate.id LIMIT 1) AS r
    ${RULES_OF_CALLER}
    WHERE ${isServer} OR ${NOT_BANNED} AND (${READS_BY_OWN} OR ${READS_BY_ENTITY}
      OR own.accepted = false OR (${ENTITY_COUNTS} AND entity.accepted = false))
  ), page AS MATERIALIZED (
    SELECT room.*, last.seq AS last_seq, coalesce(last."createdAt", room."createdAt") AS at
    FROM mine AS room
    LEFT JOIN LATERAL (
      SELECT seq, "createdAt" FROM messages WHERE ${MESSAGES} ORDER BY seq DESC LIMIT 1
    ) AS last ON true
    WHERE ${condition}
    ORDER BY at DESC, id DESC LIMIT $4
  )
  SELECT room.id, room.uuid, room.name, room.type, room.data, room.head, room.permissions, room.accepted, room.at,
    room."createdAt",
    marker.read, counted.unread, counted.mentions, marker.notify, to_json(last) AS "lastMessage",
    CASE WHEN room.other IS NOT NULL
      THEN json_build_object('userUUID', room.other, 'name', u.name, 'picture', u.picture) END AS "with",
    (SELECT uuid FROM log_epoch) AS epoch
  FROM page AS room
  LEFT JOIN LATERAL (
    SELECT upto, notify FROM read_markers WHERE room_id = room.id AND user_uuid = $1 LIMIT 1
  ) AS stored ON true
  CROSS JOIN LATERAL (
    SELECT greatest(room.since, 0, stored.upto) AS read, coalesce(stored.notify, 'all') AS notify
  ) AS marker
  CROSS JOIN LATERAL (
    SELECT count(*) AS unread, count(*) FILTER (WHERE mentions && ARRAY[$1, $2]::uuid[]) AS mentions
    FROM (
      SELECT mentions FROM messages WHERE ${MESSAGES} AND seq > marker.read AND emitter <> $1
      ORDER BY seq DESC LIMIT ${UNREAD_COUNTED}
    ) AS newest
  ) AS counted
  LEFT JOIN LATERAL (
    SELECT ${messageColumns('$1::uuid')} FROM messages AS m WHERE room_id = room.id AND seq = room.last_seq LIMIT 1
  ) AS last ON true
  LEFT JOIN LATERAL (SELECT name, picture FROM user_profiles WHERE uuid = room.other LIMIT 1) AS u ON true
  ORDER BY room.at DESC, room.id DESC`;
}

/** The rooms with a rule of the caller or their entity, as far as they fulfil a filter: $5 to $8. */
const PAGE = summaries(
  `(SELECT room_id AS id FROM room_permissions WHERE "entity_UUID" = $1 ORDER BY room_id DESC LIMIT ${ROOMS_SORTED})
    UNION
    (SELECT room_id FROM room_permissions WHERE "entity_UUID" = $2 ORDER BY room_id DESC LIMIT ${ROOMS_SORTED})
    ORDER BY id DESC LIMIT ${ROOMS_SORTED}`,
  `($5::text IS NULL OR room.type = $5)
    AND ($6::text IS NULL OR strpos(lower(room.name), lower($6)) > 0
      OR strpos(lower((SELECT name FROM user_profiles WHERE uuid = room.other)), lower($6)) > 0)
    AND ($7::timestamptz IS NULL
      OR (coalesce(last."createdAt", room."createdAt"), room.id) < ($7::timestamptz, $8::integer))`,
);

/** The room $5, for a server if $6. */
const ONE = summaries('SELECT $5::integer AS id', 'true', '$6::boolean');

/** A room as Postgres has it: in JSON, dates are text. */
type SummaryRow = Omit<RoomSummary, 'lastMessage'> & {
  readonly lastMessage:
    | (Omit<HistoryMessage, 'createdAt' | 'updatedAt'> & {
        readonly createdAt: string;
        readonly updatedAt: string;
      })
    | null;
};

/** @param readers bounds the queries that run at a time; its keys are users */
export function createRoomList({
  sequelize,
  readers,
}: {
  sequelize: Sequelize;
  readers: FairLimit<string>;
}): RoomList {
  async function query(
    sql: string,
    { userUUID, entityUUID, levelOnEntity }: Caller,
    bind: readonly unknown[],
    gone: AbortSignal | undefined,
  ): Promise<RoomSummary[]> {
    const all = [userUUID, entityUUID, levelOnEntity, ...bind];
    const rows = await readers.run(
      userUUID,
      () => sequelize.query<SummaryRow>(sql, { bind: all, type: QueryTypes.SELECT }),
      gone,
    );
    return rows.map(({ lastMessage: last, ...room }) => ({
      ...room,
      lastMessage: last && {
        ...last,
        createdAt: new Date(last.createdAt),
        updatedAt: new Date(last.updatedAt),
      },
    }));
  }

  return {
    page: (caller, { text, type, behind, limit }, gone) =>
      query(
        PAGE,
        caller,
        [limit, type ?? null, text ?? null, behind?.at.toISOString() ?? null, behind?.id ?? null],
        gone,
      ),

    async one(caller, roomId, gone) {
      const [room] = await query(ONE, caller, [1, roomId, caller.isServer], gone);
      return room;
    },
  };
}
