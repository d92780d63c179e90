import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import { requireNoBlock, type Caller } from '../access/permissions.js';
import { appendLocked } from './append.js';
import type { Entry } from './entry.js';
import { lockPair } from './lock-pair.js';
import { lockRoom } from './lock-room.js';
import { plain } from './prepared.js';
import { decideRule, memberDraft, writeRules } from './rules.js';

/** A user whom another one blocks. */
export interface Block {
  readonly userUUID: string;
  readonly createdAt: Date;
}

/** What has changed with a block. */
export interface ChangedBlock {
  /** As it is now, or was before it was removed; undefined if there was none to remove. */
  readonly block: Block | undefined;
  /** Whether it was put or removed now. */
  readonly isChanged: boolean;
  /** The changes of the blocked user's rules, in the logs of their direct rooms with the other. */
  readonly entries: readonly Entry[];
}

/**
 * The users whom users block. A block and what it does to the rules of direct rooms are one transaction: no message of a
 * blocked user has a number after it.
 */
export interface Blocks {
  /** @throws {ChatError} UNAVAILABLE if a room of the two is locked for too long */
  put(caller: Caller, userUUID: string): Promise<ChangedBlock>;
  /** @throws {ChatError} UNAVAILABLE likewise */
  remove(caller: Caller, userUUID: string): Promise<ChangedBlock>;
  /** Undefined if the caller does not block this user. */
  find(caller: Caller, userUUID: string): Promise<Block | undefined>;
  /** A page of those whom the caller blocks, in the order of their UUIDs, behind the UUID `behind`. */
  page(caller: Caller, part: { behind?: string | undefined; limit: number }): Promise<Block[]>;
}

/** The user2user rooms of the users $1 and $2, also those that one of them has left if no other may enter them. */
const ROOMS_OF_PAIR = `
  SELECT id FROM rooms WHERE first_user = least($1::uuid, $2::uuid) AND second_user = greatest($1::uuid, $2::uuid)
  UNION
  SELECT r.id FROM room_permissions AS one
  JOIN room_permissions AS other ON other.room_id = one.room_id AND other."entity_UUID" = $2
  JOIN rooms AS r ON r.id = one.room_id
  WHERE one."entity_UUID" = $1 AND r.type = 'user2user'
  ORDER BY id`;

const BLOCK = `SELECT blocked AS "userUUID", "createdAt" FROM blocks WHERE blocker = $1 AND blocked = $2`;

export function createBlocks({ sequelize }: { sequelize: Sequelize }): Blocks {
  /** @param statement writes the block of the users $1 and $2, and returns it if it has changed */
  function change(caller: Caller, userUUID: string, statement: string): Promise<ChangedBlock> {
    return sequelize.transaction(async (transaction) => {
      await lockPair(sequelize, caller.userUUID, userUUID, transaction);
      const [written] = await sequelize.query<Block>(statement, {
        bind: [caller.userUUID, userUUID],
        type: QueryTypes.SELECT,
        transaction,
      });
      if (written === undefined) {
        return { block: await find(caller, userUUID, transaction), isChanged: false, entries: [] };
      }
      const rooms = await sequelize.query<{ id: number }>(ROOMS_OF_PAIR, {
        bind: [caller.userUUID, userUUID],
        type: QueryTypes.SELECT,
        transaction,
      });
      const entries: Entry[] = [];
      for (const { id } of rooms) {
        entries.push(...(await applyBlock(id, caller, userUUID, transaction)));
      }
      return { block: written, isChanged: true, entries };
    });
  }

  /** Brings a user's rule in a room up to the blocks that there are. */
  async function applyBlock(
    roomId: number,
    caller: Caller,
    target: string,
    transaction: Transaction,
  ): Promise<Entry[]> {
    const room = await lockRoom(sequelize, roomId, [caller], [target], transaction);
    const rule = room?.rules.get(target);
    if (room === undefined || rule === undefined) return [];
    const next = { seq: room.head + 1, moment: new Date() };
    const { change } = decideRule(room, roomId, { target, decide: () => rule }, next);
    if (change === undefined) return [];
    await writeRules(sequelize, roomId, new Set([target]), room, transaction);
    return appendLocked(plain(sequelize, transaction), [memberDraft(roomId, caller, change)]);
  }

  async function find(
    { userUUID: blocker }: Caller,
    userUUID: string,
    transaction?: Transaction,
  ): Promise<Block | undefined> {
    const [block] = await sequelize.query<Block>(BLOCK, {
      bind: [blocker, userUUID],
      type: QueryTypes.SELECT,
      ...(transaction && { transaction }),
    });
    return block;
  }

  return {
    put: (caller, userUUID) =>
      change(
        caller,
        userUUID,
        `INSERT INTO blocks (blocker, blocked, "createdAt") VALUES ($1, $2, now())
         ON CONFLICT DO NOTHING RETURNING blocked AS "userUUID", "createdAt"`,
      ),

    remove: (caller, userUUID) =>
      change(
        caller,
        userUUID,
        `DELETE FROM blocks WHERE blocker = $1 AND blocked = $2 RETURNING blocked AS "userUUID", "createdAt"`,
      ),

    find,

    page: ({ userUUID: blocker }, { behind, limit }) =>
      sequelize.query<Block>(
        `SELECT blocked AS "userUUID", "createdAt" FROM blocks
         WHERE blocker = $1 AND ($2::uuid IS NULL OR blocked > $2) ORDER BY blocked LIMIT $3`,
        { bind: [blocker, behind ?? null, limit], type: QueryTypes.SELECT },
      ),
  };
}

/**
 * Checks that neither of two users blocks the other, and that no block comes before the transaction ends.
 * @throws {ChatError} FORBIDDEN
 */
export async function requireNoBlockBetween(
  sequelize: Sequelize,
  one: string,
  other: string,
  transaction: Transaction,
): Promise<void> {
  await lockPair(sequelize, one, other, transaction);
  const blocks = await sequelize.query<{ blocked: string }>(
    'SELECT blocked FROM blocks WHERE (blocker, blocked) IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))',
    { bind: [one, other], type: QueryTypes.SELECT, transaction },
  );
  requireNoBlock({ blocked: new Set(blocks.map(({ blocked }) => blocked)) });
}
