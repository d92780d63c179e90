import { QueryTypes, type Sequelize } from 'sequelize';
import { LEEWAY_S } from '../access/signature.js';
import type { Identity } from '../access/token.js';

/**
 * How far behind the newest one that it knows a node looks for revocations: one may become visible after a later one, by
 * as long as a statement takes, or as the clocks of two database hosts differ.
 */
const OVERLAP_S = 60;

/** The end of all tokens that a user has. */
export interface Revocation {
  readonly userUUID: string;
  /**
   * Tokens that were issued until then are refused: milliseconds since 1970, by the database's clock, or the
   * application's if that is ahead.
   */
  readonly revokedAt: number;
}

/**
 * The revocations of users' tokens. All are in memory, the newest of each user, so that to check a token asks nobody:
 * about 0.15 KB a user.
 */
export interface Revocations {
  /** Whether a token is revoked: one that does not say when it was issued is, too. */
  covers(token: Pick<Identity, 'userUUID' | 'issuedAt'>): boolean;
  /**
   * Revokes all tokens that a user has.
   * @param signedAt when the application has signed its own token for this, in milliseconds since 1970: its clock may be
   * ahead of the database's by LEEWAY_S, and so may the tokens that it has issued
   * @throws {ChatError} UNAVAILABLE
   */
  revoke(userUUID: string, signedAt: number | undefined): Promise<Revocation>;
  /** Takes a revocation that another node tells of. */
  take(revocation: Revocation): void;
  /**
   * Reads the revocations that no node has told of.
   * @throws {ChatError} UNAVAILABLE
   */
  refresh(): Promise<void>;
  /** The listener is called when tokens of a user are refused that were not before. */
  onRevoked(listener: (userUUID: string) => void): void;
}

/** Reads all revocations of a migrated database. */
export async function openRevocations({
  sequelize,
}: {
  sequelize: Sequelize;
}): Promise<Revocations> {
  const known = new Map<string, number>();
  const listeners: ((userUUID: string) => void)[] = [];
  let newest = 0;

  function take({ userUUID, revokedAt }: Revocation): void {
    if (revokedAt <= (known.get(userUUID) ?? 0)) return;
    known.set(userUUID, revokedAt);
    for (const listener of listeners) listener(userUUID);
  }

  async function refresh(): Promise<void> {
    const since = newest - OVERLAP_S * 1000;
    const found = await sequelize.query<{ userUUID: string; revokedAt: Date }>(
      `SELECT user_uuid AS "userUUID", "revokedAt" FROM revoked_users WHERE "revokedAt" >= $1`,
      { bind: [new Date(since).toISOString()], type: QueryTypes.SELECT },
    );
    for (const { userUUID, revokedAt } of found) {
      // Not those of `take`: what this node was told of may be newer than others that it was not told of.
      newest = Math.max(newest, revokedAt.getTime());
      take({ userUUID, revokedAt: revokedAt.getTime() });
    }
  }

  await refresh();
  return {
    covers({ userUUID, issuedAt }) {
      const revokedAt = known.get(userUUID);
      return revokedAt !== undefined && (issuedAt === undefined || issuedAt <= revokedAt);
    },

    async revoke(userUUID, signedAt) {
      const date = signedAt === undefined ? null : new Date(signedAt).toISOString();
      const [row] = await sequelize.query<{ revokedAt: Date }>(
        `INSERT INTO revoked_users (user_uuid, "revokedAt") VALUES ($1, greatest(clock_timestamp(),
           CASE WHEN $2::timestamptz <= clock_timestamp() + $3 * interval '1 second' THEN $2::timestamptz END))
         ON CONFLICT (user_uuid) DO UPDATE SET "revokedAt" = greatest(revoked_users."revokedAt", excluded."revokedAt")
         RETURNING "revokedAt"`,
        { bind: [userUUID, date, LEEWAY_S], type: QueryTypes.SELECT },
      );
      if (row === undefined) throw new Error('the database returned no revocation');
      const revocation = { userUUID, revokedAt: row.revokedAt.getTime() };
      take(revocation);
      return revocation;
    },

    take,
    refresh,

    onRevoked(listener) {
      listeners.push(listener);
    },
  };
}
