import { QueryTypes, type Sequelize } from 'sequelize';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { LogPlace } from './lock-room.js';
import { isConflictWithRecovery } from './pg-errors.js';

/** A replica that has failed is asked again after this time: readers are to notice little of an outage. */
const RETRY_MS = 5_000;

/** A query about the room $1. */
export interface RoomQuery {
  readonly sql: string;
  readonly bind: readonly unknown[];
  /** The order of its rows, again. */
  readonly orderBy: string;
}

/**
 * A streaming replica of the database. It is behind it, by milliseconds or by hours, so each query asks in the same
 * statement how far the replica is.
 */
export interface Replica {
  /**
   * The rows of a query; undefined if the replica lacks entries of the room that the caller has seen, is of another log,
   * or does not answer. A replica that does not answer is left alone for RETRY_MS.
   * @param seen the end of the room's log: the rows are of this moment, or of a later one
   */
  read<Row extends object>(query: RoomQuery, seen: LogPlace): Promise<Row[] | undefined>;
}

/** @param sequelize its queries reject with UNAVAILABLE if the replica does not answer, which is logged once */
export function createReplica(sequelize: Sequelize, logger: Logger): Replica {
  let downUntil = -Infinity;

  return {
    async read<Row extends object>({ sql, bind, orderBy }: RoomQuery, seen: LogPlace) {
      if (performance.now() < downUntil) return undefined;
      try {
        const [head, epoch] = [bind.length + 1, bind.length + 2];
        const rows = await sequelize.query<Row & { isCurrent: boolean; isRow: true | null }>(
          `SELECT place."isCurrent", found.*
           FROM (
             SELECT EXISTS (
               SELECT FROM rooms, log_epoch WHERE rooms.id = $1 AND rooms.head >= $${head} AND log_epoch.uuid = $${epoch}
             ) AS "isCurrent"
           ) AS place
           LEFT JOIN (SELECT *, true AS "isRow" FROM (${sql}) AS asked) AS found ON place."isCurrent"
           ORDER BY found.${orderBy}`,
          { bind: [...bind, seen.head, seen.epoch], type: QueryTypes.SELECT },
        );
        if (rows[0]?.isCurrent !== true) return undefined;
        return rows.filter(({ isRow }) => isRow);
      } catch (error) {
        if (isConflictWithRecovery(error)) return undefined;
        downUntil = performance.now() + RETRY_MS;
        if (!(error instanceof ChatError))
          logger.warn({ err: error }, 'query of the replica failed');
        return undefined;
      }
    },
  };
}
