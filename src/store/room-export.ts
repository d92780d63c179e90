import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Rule } from '../access/permissions.js';
import type { Entry } from './entry.js';
import type { Room } from './models/room.js';
import { findRoom } from './room-settings.js';

/** Numbers of a page of the log: two megabytes, if each is a message of 10,000 letters. */
const PAGE = 200;

/** An entry about messages. A text is that of now, in the row of its message. */
export type MessageEntry = Pick<
  Entry,
  'seq' | 'emitter' | 'content' | 'createdAt' | 'target' | 'data' | 'replyTo' | 'mentions'
> & {
  readonly kind: 'message' | 'edit' | 'delete' | 'reaction';
  /** Of a message: an entry that follows deletes it, and its text is gone. */
  readonly isDeleted?: boolean | undefined;
};

/** A room at one moment. */
export interface ExportedRoom {
  readonly room: Room;
  /** Seq of its last entry. */
  readonly head: number;
  /** Number of its entries about messages. */
  readonly count: number;
  readonly rules: readonly Rule[];
  /** The entries about messages, in order. */
  readonly pages: AsyncIterable<readonly MessageEntry[]>;
}

type Row = Pick<MessageEntry, 'seq' | 'kind' | 'emitter' | 'content'> & {
  readonly target: number | null;
  readonly data: string | null;
  readonly replyTo: number | null;
  readonly mentions: readonly string[] | null;
  readonly isDeleted: boolean | null;
  readonly createdAt: Date;
};

/** Numbers of which one statement counts the entries: in a large room, to count all would take longer than a statement may. */
const COUNTED_AT_ONCE = 100_000;

const KINDS = `('message', 'edit', 'delete', 'reaction')`;

const READ_PAGE = `SELECT seq, kind, emitter, content, target, data, reply_to AS "replyTo", mentions,
    nullif(deleted_by IS NOT NULL, false) AS "isDeleted", "createdAt"
  FROM messages WHERE room_id = $1 AND seq > $2 AND seq <= $3 AND kind IN ${KINDS} ORDER BY seq`;

/**
 * Reads a room page by page, all of it as of one moment.
 * @param use gets undefined if there is no such room; the room can be read until its promise is settled
 */
export function exportRoom<T>(
  sequelize: Sequelize,
  roomId: number,
  use: (room: ExportedRoom | undefined) => Promise<T>,
): Promise<T> {
  return sequelize.transaction(async (transaction) => {
    await sequelize.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY', {
      transaction,
    });
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
  const rules = await sequelize.query<Rule>(
    `SELECT "entity_UUID" AS "entityUUID", level, permissions, accepted
     FROM room_permissions WHERE room_id = $1 ORDER BY "entity_UUID"`,
    { ...options, bind: [roomId] },
  );
  const [place] = await sequelize.query<{ head: number }>('SELECT head FROM rooms WHERE id = $1', {
    ...options,
    bind: [roomId],
  });
  const head = place?.head ?? 0;
  let count = 0;
  for (let after = 0; after < head; after += COUNTED_AT_ONCE) {
    const [counted] = await sequelize.query<{ count: number }>(
      `SELECT count(*) FROM messages WHERE room_id = $1 AND seq > $2 AND seq <= $3 AND kind IN ${KINDS}`,
      { ...options, bind: [roomId, after, Math.min(after + COUNTED_AT_ONCE, head)] },
    );
    count += counted?.count ?? 0;
  }

  async function* pages(): AsyncGenerator<readonly MessageEntry[]> {
    for (let after = 0; after < head; after += PAGE) {
      const bind = [roomId, after, Math.min(after + PAGE, head)];
      const rows = await sequelize.query<Row>(READ_PAGE, { ...options, bind });
      yield rows.map(entryOf);
    }
  }
  return { room, head, count, rules, pages: pages() };
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
