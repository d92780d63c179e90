import { QueryTypes, type Sequelize } from 'sequelize';
import type { RoomType } from './models/room.js';
import type { NotifyLevel } from './read-markers.js';

/** Rules of a room that are told at most, as many as the issue of a push may concern at once. */
export const MAX_RECIPIENTS = 200;
/** As in the list of rooms (room-list.ts). */
const UNREAD_COUNTED = 100;
const ENTRIES_PASSED = 10_000;
/** Newest messages that unread ones are counted among: enough unless a user has sent four fifths of them. */
const MESSAGES_COUNTED = 500;

/** A user or an entity whose rule lets them read a room. */
interface Reader {
  readonly uuid: string;
  /** Whether the UUID is known to be that of a user. */
  readonly isUser: boolean;
  /** Seq of the last entry that counts as read. */
  readonly read: number;
  readonly level: NotifyLevel;
}

/** A room as those who tell of it need it, as of one moment. */
export interface ToldRoom {
  readonly uuid: string;
  readonly name: string;
  readonly type: RoomType;
  /** Seq of its last entry. */
  readonly head: number;
  /** The uuid of the log. */
  readonly epoch: string;
  /**
   * Who may read it by a rule of their own, and those who were asked for. The former are MAX_RECIPIENTS and two more at
   * most: the sender may be among them, and one is left over if there are too many.
   */
  readonly readers: readonly Reader[];
  /** The newest messages, the newest first, with their emitters; those that everybody has read may be missing. */
  readonly newest: readonly (readonly [seq: number, emitter: string])[];
}

/** Reads rooms for those who tell of messages. */
export interface Recipients {
  /**
   * @param mentioned UUIDs that are among the readers however many there are, if they may read; undefined: nobody is
   * asked for, and there are no readers
   * @returns undefined if there is no such room
   */
  find(roomId: number, mentioned: readonly string[] | undefined): Promise<ToldRoom | undefined>;
}

const READS = `permissions LIKE '%r%' AND permissions NOT LIKE '%b%'`;

/** The room $1; with readers if $2 is not null. Each part is bounded, and found by a key. */
const FIND = `WITH rule AS MATERIALIZED (
    (SELECT "entity_UUID" AS uuid, since FROM room_permissions
     WHERE room_id = $1 AND "entity_UUID" = ANY ($2::uuid[]) AND ${READS})
    UNION
    (SELECT "entity_UUID", since FROM room_permissions
     WHERE room_id = $1 AND $2::uuid[] IS NOT NULL AND ${READS} ORDER BY "entity_UUID" LIMIT ${MAX_RECIPIENTS + 2})
  ), reader AS MATERIALIZED (
    SELECT rule.uuid, marker.upto IS NOT NULL OR EXISTS (SELECT FROM user_profiles WHERE uuid = rule.uuid) AS "isUser",
      greatest(rule.since, marker.upto) AS read, coalesce(marker.notify, 'all') AS level
    FROM rule LEFT JOIN LATERAL (
      SELECT upto, notify FROM read_markers WHERE room_id = $1 AND user_uuid = rule.uuid LIMIT 1
    ) AS marker ON true
  ), newest AS MATERIALIZED (
    SELECT seq, emitter FROM messages
    WHERE room_id = $1 AND kind = 'message' AND deleted_by IS NULL AND seq > (SELECT min(read) FROM reader)
      AND seq > (SELECT head FROM rooms WHERE id = $1) - ${ENTRIES_PASSED}
    ORDER BY seq DESC LIMIT ${MESSAGES_COUNTED}
  )
  SELECT r.uuid, r.name, r.type, r.head, (SELECT uuid FROM log_epoch) AS epoch,
    (SELECT coalesce(json_agg(reader ORDER BY uuid), '[]') FROM reader) AS readers,
    (SELECT coalesce(json_agg(json_build_array(seq, emitter) ORDER BY seq DESC), '[]') FROM newest) AS newest
  FROM rooms AS r WHERE r.id = $1`;

export function createRecipients({ sequelize }: { sequelize: Sequelize }): Recipients {
  return {
    async find(roomId, mentioned) {
      const [room] = await sequelize.query<ToldRoom>(FIND, {
        bind: [roomId, mentioned ?? null],
        type: QueryTypes.SELECT,
      });
      if (room?.type !== 'user2user') return room;
      // A direct room has users alone, whether they have ever signed in or not.
      return { ...room, readers: room.readers.map((reader) => ({ ...reader, isUser: true })) };
    },
  };
}

/** Messages of others above a reader's marker, UNREAD_COUNTED at most. */
export function countUnread(
  { uuid, read }: Pick<Reader, 'uuid' | 'read'>,
  newest: ToldRoom['newest'],
): number {
  let unread = 0;
  for (const [seq, emitter] of newest) {
    if (seq <= read || unread === UNREAD_COUNTED) break;
    if (emitter !== uuid) unread += 1;
  }
  return unread;
}
