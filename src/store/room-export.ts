import { QueryTypes, Transaction, type Sequelize } from 'sequelize';
import type { Rule } from '../access/permissions.js';
import type { Entry } from './entry.js';
import type { Room } from './models/room.js';
import type { RuleRow } from './models/rule.js';
import type { NotifyLevel } from './read-markers.js';
import { findRoom } from './room-settings.js';

/** Numbers of a page of the log: two megabytes, if each is a message of 10,000 letters. */
const PAGE = 200;

/** An entry about messages. A text is that of now, in the row of its message; the content of an `erase` entry is as in the log. */
export type MessageEntry = Pick<
  Entry,
  'seq' | 'emitter' | 'content' | 'ref' | 'createdAt' | 'target' | 'data' | 'replyTo' | 'mentions'
> & {
  readonly kind: 'message' | 'edit' | 'delete' | 'reaction' | 'erase';
  /** Of a message: an entry that follows deletes or erases it, and its text is gone. */
  readonly isDeleted?: boolean | undefined;
};

/** A rule, and the seq of the entry that added it: older messages do not count as unread. */
export type DatedRule = Rule & Pick<RuleRow, 'since'>;

/** A user of a room: a member, a sender or a reader of whom something is known. */
export interface RoomUser {
  readonly userUUID: string;
  readonly name: string | null;
  readonly picture: string | null;
  /** Seq up to which they have read the room; null: they have no marker. */
  readonly upto: number | null;
  /** Which messages they want to be notified of; null: they have not said. */
  readonly notify: NotifyLevel | null;
}

/** A room at one moment. */
export interface ExportedRoom {
  readonly room: Room;
  /** Seq of its last entry. */
  readonly head: number;
  /** Number of its entries about messages. */
  readonly count: number;
  readonly rules: readonly DatedRule[];
  readonly users: readonly RoomUser[];
  /** The entries about messages, in order, without what refers to messages that were deleted by their age. */
  readonly pages: AsyncIterable<readonly MessageEntry[]>;
}

type Row = Pick<MessageEntry, 'seq' | 'kind' | 'emitter' | 'content' | 'ref'> & {
  readonly target: number | null;
  readonly data: string | null;
  readonly replyTo: number | null;
  readonly mentions: readonly string[] | null;
  readonly isDeleted: boolean | null;
  readonly createdAt: Date;
};

/** Numbers of which one statement looks at the entries: in a large room, all would take longer than a statement may. */
const LOOKED_AT_ONCE = 100_000;

/** The kinds of entries that are about messages, as a list of SQL. */
export const KINDS_ABOUT_MESSAGES = `('message', 'edit', 'delete', 'reaction', 'erase')`;

/**
 * The entries of the room $1 behind $2, up to $3, that are about messages. Changes of messages up to the horizon $4, which are
 * gone, are about none.
 */
const ABOUT_MESSAGES = `FROM messages WHERE room_id = $1 AND seq > $2 AND seq <= $3 AND kind IN ${KINDS_ABOUT_MESSAGES}
  AND (target IS NULL OR target > $4)`;

const READ_PAGE = `SELECT seq, kind, emitter, content, ref, target, data, mentions,
    CASE WHEN reply_to > $4 THEN reply_to END AS "replyTo",
    nullif(deleted_by IS NOT NULL, false) AS "isDeleted", "createdAt"
  ${ABOUT_MESSAGES} ORDER BY seq`;

/**
 * The users of the room $1 of whom there is a name, a picture, a marker or a level of notification; $2 are those who have
 * written. A marker at 0 counts as none.
 */
const READ_USERS = `SELECT uuid AS "userUUID", name, picture, nullif(upto, 0) AS upto, notify
  FROM (
    SELECT unnest($2::uuid[]) AS uuid
    UNION SELECT "entity_UUID" FROM room_permissions WHERE room_id = $1
    UNION SELECT user_uuid FROM read_markers WHERE room_id = $1
  ) AS known
  LEFT JOIN user_profiles USING (uuid)
  LEFT JOIN read_markers ON room_id = $1 AND user_uuid = uuid
  WHERE num_nonnulls(name, picture, nullif(upto, 0), notify) > 0 ORDER BY uuid`;

/**
 * Reads a room page by page, all of it as of one moment.
 * @param use gets undefined if there is no such room; the room can be read until its promise is settled
 */
export function exportRoom<T>(
  sequelize: Sequelize,
  roomId: number,
  use: (room: ExportedRoom | undefined) => Promise<T>,
): Promise<T> {
  const { REPEATABLE_READ: isolationLevel } = Transaction.ISOLATION_LEVELS;
  return sequelize.transaction({ isolationLevel }, async (transaction) => {
    await sequelize.query('SET TRANSACTION READ ONLY', { transaction });
    // Whoever takes the pages may be slow, and nobody waits for this transaction.
    await sequelize.query('SET LOCAL idle_in_transaction_session_timeout = 0', { transaction });
    return use(await readRoom(sequelize, roomId, transaction));
  });
}

async function readRoom(
  sequelize: Sequelize,
  roomId: number,
  transaction: Transaction,
): Promise<ExportedRoom | undefined> {
  const room = await findRoom(sequelize, { id: roomId }, transaction);
  if (room === undefined) return undefined;
  const options = { type: QueryTypes.SELECT, transaction } as const;
  const rules = await sequelize.query<DatedRule>(
    // Without what blocks take away, as these stay here.
    `SELECT "entity_UUID" AS "entityUUID", level, coalesce(unblocked, permissions) AS permissions, accepted, since
     FROM room_permissions WHERE room_id = $1 ORDER BY "entity_UUID"`,
    { ...options, bind: [roomId] },
  );
  const [place] = await sequelize.query<{ head: number; horizon: number }>(
    'SELECT head, horizon FROM rooms WHERE id = $1',
    { ...options, bind: [roomId] },
  );
  const { head = 0, horizon = 0 } = place ?? {};
  let count = 0;
  const emitters = new Set<string>();
  for (let after = horizon; after < head; after += LOOKED_AT_ONCE) {
    const rows = await sequelize.query<{ emitter: string; count: number }>(
      `SELECT emitter, count(*) ${ABOUT_MESSAGES} GROUP BY emitter`,
      { ...options, bind: [roomId, after, Math.min(after + LOOKED_AT_ONCE, head), horizon] },
    );
    for (const row of rows) {
      emitters.add(row.emitter);
      count += row.count;
    }
  }
  const users = await sequelize.query<RoomUser>(READ_USERS, {
    ...options,
    bind: [roomId, [...emitters]],
  });

  async function* pages(): AsyncGenerator<readonly MessageEntry[]> {
    for (let after = horizon; after < head; after += PAGE) {
      const bind = [roomId, after, Math.min(after + PAGE, head), horizon];
      const rows = await sequelize.query<Row>(READ_PAGE, { ...options, bind });
      yield rows.map(entryOf);
    }
  }
  return { room, head, count, rules, users, pages: pages() };
}

function entryOf({
  target,
  data,
  replyTo,
  mentions,
  isDeleted,
  createdAt,
  ...row
}: Row): MessageEntry {
  return {
    ...row,
    createdAt: createdAt.toISOString(),
    target: target ?? undefined,
    data: data ?? undefined,
    replyTo: replyTo ?? undefined,
    mentions: mentions ?? undefined,
    isDeleted: isDeleted ?? undefined,
  };
}
