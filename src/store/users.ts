import { QueryTypes, type Sequelize } from 'sequelize';
import type { Profile } from '../access/token.js';

/** A user as others see them; null: not known. */
export interface User {
  readonly userUUID: string;
  readonly name: string | null;
  readonly picture: string | null;
}

export interface Users {
  /**
   * Stores what tokens tell of their users, by UUID, unless a token that was signed later has told something else. One that
   * tells neither a name nor a picture changes nothing of a user who is known.
   */
  remember(profiles: ReadonlyMap<string, Profile>): Promise<void>;
  /** Those of the users that some token has told of, by UUID. */
  find(uuids: readonly string[]): Promise<User[]>;
}

export function createUsers({ sequelize }: { sequelize: Sequelize }): Users {
  return {
    async remember(profiles) {
      const told = [...profiles];
      await sequelize.query(
        // In the order of UUIDs, so that two nodes never wait for each other. A date to come would keep later tokens
        // from telling anything, and any would if there is nothing that it could bring back.
        `INSERT INTO user_profiles (uuid, name, picture, "updatedAt")
         SELECT uuid, name, picture,
           CASE WHEN num_nonnulls(name, picture) > 0 THEN least(signed, now()) ELSE to_timestamp(0) END
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS t (uuid, name, picture, signed)
         -- Most tokens tell what is stored: a row that conflicts would be locked, which is a write.
         WHERE NOT EXISTS (
           SELECT FROM user_profiles AS u
           WHERE u.uuid = t.uuid
             AND ((u.name, u.picture) IS NOT DISTINCT FROM (t.name, t.picture) OR num_nonnulls(t.name, t.picture) = 0))
         ORDER BY uuid
         ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, picture = excluded.picture,
           "updatedAt" = excluded."updatedAt"
         WHERE user_profiles."updatedAt" <= excluded."updatedAt" AND num_nonnulls(excluded.name, excluded.picture) > 0
           AND (user_profiles.name, user_profiles.picture) IS DISTINCT FROM (excluded.name, excluded.picture)`,
        {
          bind: [
            told.map(([uuid]) => uuid),
            told.map(([, { name }]) => name ?? null),
            told.map(([, { picture }]) => picture ?? null),
            told.map(([, { signedAt }]) => signedAt?.toISOString() ?? null),
          ],
        },
      );
    },

    find: (uuids) =>
      sequelize.query<User>(
        `SELECT uuid AS "userUUID", name, picture FROM user_profiles
         WHERE uuid = ANY ($1::uuid[]) AND num_nonnulls(name, picture) > 0 ORDER BY uuid`,
        { bind: [uuids], type: QueryTypes.SELECT },
      ),
  };
}
