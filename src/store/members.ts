import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller } from '../access/permissions.js';
import type { FairLimit } from './fair-limit.js';
import type { RuleRow } from './models/rule.js';
import { MAY_READ, RULES_OF_CALLER } from './readable.js';

/** A rule, and what is known of its user; null: nothing, as of an entity. */
export type Member = Omit<RuleRow, 'since' | 'unblocked' | 'createdAt' | 'updatedAt'> & {
  readonly name: string | null;
  readonly picture: string | null;
  /** ISO 8601, as Postgres writes it. */
  readonly createdAt: string;
  readonly updatedAt: string;
};

export interface MembersPage {
  /** Whether the caller may read the room, as of the same moment. */
  readonly mayRead: boolean;
  readonly members: readonly Member[];
}

export interface Members {
  /**
   * The rules of a room in the order of their UUIDs: those behind the UUID `behind`; undefined if there is no such room.
   * @param gone aborted when the client is gone: then nothing more is read
   */
  page(
    caller: Caller,
    roomId: number,
    part: { behind?: string | undefined; limit: number },
    gone?: AbortSignal,
  ): Promise<MembersPage | undefined>;
}

/** Whether the caller may read the room, as a server ($7) any. */
const MAY_LIST = `($7::boolean OR ${MAY_READ})`;

/** The members of room $4, none if the caller may not read it. */
const MEMBERS = `SELECT ${MAY_LIST} AS "mayRead", (
    SELECT coalesce(json_agg(page ORDER BY page."entityUUID"), '[]') FROM (
      SELECT p.room_id AS "roomId", p."entity_UUID" AS "entityUUID", p.level, p.permissions, p.accepted,
        p."createdAt", p."updatedAt", u.name, u.picture
      FROM (
        SELECT * FROM room_permissions
        WHERE room_id = r.id AND ($5::uuid IS NULL OR "entity_UUID" > $5) AND ${MAY_LIST}
        ORDER BY "entity_UUID" LIMIT $6
      ) AS p
      -- By LIMIT, so that each is looked up by its key.
      LEFT JOIN LATERAL (SELECT * FROM user_profiles WHERE uuid = p."entity_UUID" LIMIT 1) AS u ON true
    ) AS page
  ) AS members
  FROM (SELECT * FROM rooms WHERE id = $4) AS r ${RULES_OF_CALLER}`;

/** @param readers bounds the queries of pages that run at a time; its keys are users */
export function createMembers({
  sequelize,
  readers,
}: {
  sequelize: Sequelize;
  readers: FairLimit<string>;
}): Members {
  return {
    async page(caller, roomId, { behind, limit }, gone) {
      const { userUUID, entityUUID, levelOnEntity, isServer } = caller;
      const bind = [userUUID, entityUUID, levelOnEntity, roomId, behind ?? null, limit, isServer];
      const [page] = await readers.run(
        userUUID,
        () => sequelize.query<MembersPage>(MEMBERS, { bind, type: QueryTypes.SELECT }),
        gone,
      );
      return page;
    },
  };
}
