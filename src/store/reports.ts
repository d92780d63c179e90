import { QueryTypes, type Sequelize } from 'sequelize';
import type { HistoryMessage } from './history.js';
import { messageColumns } from './message-columns.js';

/** A message that a user has reported. */
export interface Report {
  readonly id: number;
  readonly roomId: number;
  /** Of the message. */
  readonly seq: number;
  readonly reporter: string;
  readonly reason: string | null;
  readonly createdAt: Date;
}

/** A report with its message as it is now; null if that was deleted. */
export interface ReportedMessage extends Report {
  readonly roomUUID: string;
  readonly message: HistoryMessage | null;
}

export interface Reports {
  /**
   * Stores a report; if the user has reported the message before, that one stays. Undefined if there is no such room.
   */
  put(
    report: Omit<Report, 'id' | 'createdAt'>,
  ): Promise<{ report: Report; isNew: boolean } | undefined>;
  /**
   * The oldest reports with ids above `after`.
   * @param reader the UUID of who reads: which reactions are their own
   */
  page(reader: string, part: { after: number; limit: number }): Promise<ReportedMessage[]>;
  /** Removes a report; undefined if there is none. */
  remove(id: number): Promise<Report | undefined>;
}

const COLUMNS = `id, room_id AS "roomId", seq, reporter, reason, "createdAt"`;

/**
 * The update changes nothing, but returns the report that there is; `xmax` is 0 in a row that was inserted. Nothing is
 * stored once the room is deleted.
 */
const PUT = `INSERT INTO reports (room_id, seq, reporter, reason, "createdAt")
  SELECT id, $2, $3, $4, now() FROM rooms WHERE id = $1 FOR KEY SHARE
  ON CONFLICT (room_id, seq, reporter) DO UPDATE SET seq = excluded.seq
  RETURNING ${COLUMNS}, xmax = 0 AS "isNew"`;

/** By LIMIT, so that each is looked up by its key. */
const PAGE = `SELECT p.*, (SELECT uuid FROM rooms WHERE id = p."roomId") AS "roomUUID", to_json(found) AS message
  FROM (SELECT ${COLUMNS} FROM reports WHERE id > $1 ORDER BY id LIMIT $2) AS p
  LEFT JOIN LATERAL (
    SELECT ${messageColumns('$3::uuid')} FROM messages AS m
    WHERE room_id = p."roomId" AND seq = p.seq AND deleted_by IS NULL LIMIT 1
  ) AS found ON true
  ORDER BY p.id`;

/** In JSON, dates are text. */
type PageRow = Omit<ReportedMessage, 'message'> & {
  readonly message:
    | (Omit<HistoryMessage, 'createdAt' | 'updatedAt'> & {
        readonly createdAt: string;
        readonly updatedAt: string;
      })
    | null;
};

export function createReports({ sequelize }: { sequelize: Sequelize }): Reports {
  return {
    async put({ roomId, seq, reporter, reason }) {
      const [row] = await sequelize.query<Report & { readonly isNew: boolean }>(PUT, {
        bind: [roomId, seq, reporter, reason],
        type: QueryTypes.SELECT,
      });
      if (row === undefined) return undefined;
      const { isNew, ...report } = row;
      return { report, isNew };
    },

    async page(reader, { after, limit }) {
      const rows = await sequelize.query<PageRow>(PAGE, {
        bind: [after, limit, reader],
        type: QueryTypes.SELECT,
      });
      return rows.map(({ message, ...report }) => ({
        ...report,
        message: message && {
          ...message,
          createdAt: new Date(message.createdAt),
          updatedAt: new Date(message.updatedAt),
        },
      }));
    },

    async remove(id) {
      const [removed] = await sequelize.query<Report>(
        `DELETE FROM reports WHERE id = $1 RETURNING ${COLUMNS}`,
        { bind: [id], type: QueryTypes.SELECT },
      );
      return removed;
    },
  };
}
