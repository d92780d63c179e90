import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import {
  isInvitation,
  type Caller,
  type CountedAccess,
  type RoomAccess,
  type Rule,
} from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import { appendLocked, type CheckedDraft } from './append.js';
import { roomContent, type Entry, type RoomSettings } from './entry.js';
import { loadRoom, lockRoom, type LoadedRoom } from './lock-room.js';
import type { Room } from './models/room.js';
import { isUnavailable } from './pg-errors.js';
import { plain } from './prepared.js';
import { RoomBatches, type Refused } from './room-batches.js';
import {
  decideRule,
  memberDraft,
  membersDraft,
  writeRules,
  type AskedRule,
  type RuleChange,
} from './rules.js';

/** What one room alone has, and may have before it exists: a uuid, or the users of a direct room, the smaller UUID first. */
export type UniqueKey = { readonly uuid: string } | { readonly pair: readonly [string, string] };

/** A change of a room: of its settings, of which those that are left out stay, and then of rules. */
export interface RoomChange {
  readonly settings: Partial<RoomSettings>;
  readonly rules: readonly Omit<AskedRule, 'caller'>[];
  /** Whether all changes of rules are one `members` entry, not a `member` entry each. */
  readonly inOneEntry?: boolean;
  /** Throws if the caller may not. */
  readonly authorize: (room: RoomAccess) => void;
}

export interface ChangedRoom {
  readonly room: Room;
  /** What has changed, as entries of the room's log. */
  readonly entries: readonly Entry[];
  /** Those of the rules that invite. */
  readonly inviting: readonly Rule[];
}

interface AskedChange {
  readonly caller: Caller;
  readonly change: RoomChange;
}

/** A change that was decided. */
interface Decided {
  /** With the rules as they are to be. */
  readonly access: LoadedRoom;
  readonly room: Room;
  readonly hasNewSettings: boolean;
  /** UUIDs of rules that change. */
  readonly rules: ReadonlySet<string>;
  readonly inviting: readonly Rule[];
  readonly drafts: readonly CheckedDraft[];
}

/** Finds a room; undefined if there is none. */
export async function findRoom(
  sequelize: Sequelize,
  key: UniqueKey | { readonly id: number },
  transaction?: Transaction,
): Promise<Room | undefined> {
  const [condition, bind] = conditionOf(key);
  const [room] = await sequelize.query<Room>(
    `SELECT id, uuid, name, type, entity_owner AS "entityOwner", level_admin AS "levelAdmin",
       max_entity_rules AS "maxEntityRules", data, "createdAt", "updatedAt"
     FROM rooms WHERE ${condition}`,
    { bind: [...bind], type: QueryTypes.SELECT, ...(transaction && { transaction }) },
  );
  return room;
}

function conditionOf(
  key: Parameters<typeof findRoom>[1],
): [condition: string, bind: readonly unknown[]] {
  if ('id' in key) return ['id = $1', [key.id]];
  if ('uuid' in key) return ['uuid = $1', [key.uuid]];
  return ['first_user = $1 AND second_user = $2', key.pair];
}

/**
 * Changes a room and appends the change to its log, all of it or nothing. It is decided twice: before the room is
 * locked, so that a refusal, or a change that changes nothing, locks nothing, and under the lock.
 * @throws {ChatError} NOT_FOUND if there is no such room; UNAVAILABLE if it is locked for too long; errors of
 * `authorize` and of the decisions
 */
type ChangeRoom = (roomId: number, caller: Caller, change: RoomChange) => Promise<ChangedRoom>;

export function createRoomChange({ sequelize }: { sequelize: Sequelize }): ChangeRoom {
  const batches = new RoomBatches<AskedChange, ChangedRoom>(sequelize, changeAll);

  /** Each change finds the room as the changes before it leave it. */
  async function changeAll(
    roomId: number,
    batch: readonly AskedChange[],
    transaction: Transaction,
  ): Promise<(ChangedRoom | Refused)[]> {
    const outcomes: (ChangedRoom | Refused)[] = [];
    for (const asked of batch) {
      const outcome = await changeLocked(roomId, asked, transaction).catch((error: unknown) => {
        // A refusal; any other error has undone what was written for the others.
        if (error instanceof ChatError && !isUnavailable(error)) return { error };
        throw error;
      });
      outcomes.push(outcome);
    }
    return outcomes;
  }

  async function changeLocked(
    roomId: number,
    asked: AskedChange,
    transaction: Transaction,
  ): Promise<ChangedRoom> {
    const { caller, change } = asked;
    const access = await lockRoom(sequelize, roomId, [caller], targetsOf(change), transaction);
    const room = await findRoom(sequelize, { id: roomId }, transaction);
    const decided = decide(access, room, asked);
    if (decided.hasNewSettings) await writeSettings(sequelize, decided.room, transaction);
    if (decided.rules.size > 0) {
      await writeRules(sequelize, roomId, decided.rules, decided.access, transaction);
    }
    const entries = await appendLocked(plain(sequelize, transaction), decided.drafts);
    return { room: decided.room, entries, inviting: decided.inviting };
  }

  return async (roomId, caller, change) => {
    const access = await loadRoom(sequelize, roomId, [caller], targetsOf(change));
    const asked = { caller, change };
    const decided = decide(access, await findRoom(sequelize, { id: roomId }), asked);
    if (decided.drafts.length === 0) return { room: decided.room, entries: [], inviting: [] };
    return batches.make(roomId, asked);
  };
}

function targetsOf({ rules }: RoomChange): string[] {
  return rules.map(({ target }) => target);
}

/**
 * Decides a change, and applies that of the rules to `access`.
 * @throws {ChatError} NOT_FOUND if there is no such room; errors of `authorize` and of the decisions
 */
function decide(
  access: LoadedRoom | undefined,
  room: Room | undefined,
  { caller, change: { settings, rules, inOneEntry = false, authorize } }: AskedChange,
): Decided {
  if (access === undefined || room === undefined) {
    throw noSuchRoom();
  }
  authorize(access);
  const moment = new Date();
  const drafts: CheckedDraft[] = [];
  const changed = { ...room, ...settings, updatedAt: moment };
  const content = roomContent(changed);
  const hasNewSettings = content !== roomContent(room);
  if (hasNewSettings) {
    const draft = {
      roomId: room.id,
      kind: 'room',
      emitter: caller.userUUID,
      content,
      ref: null,
    } as const;
    const keepsRights = changed.levelAdmin === room.levelAdmin;
    drafts.push({ draft, rulesHead: null, keepsRights });
  }
  // The caller's rights are those that they had before; the room's size is the new one.
  const { maxEntityRules } = changed;
  const first = access.head + drafts.length + 1;
  const changes: RuleChange[] = [];
  for (const { target, decide: decideOne } of rules) {
    const next = { seq: inOneEntry ? first : first + changes.length, moment };
    const asked = {
      target,
      decide: (room: CountedAccess) => decideOne({ ...room, maxEntityRules }),
    };
    const { change } = decideRule(access, room.id, asked, next);
    if (change !== undefined) changes.push(change);
  }
  if (!inOneEntry) drafts.push(...changes.map((change) => memberDraft(room.id, caller, change)));
  else if (changes.length > 0) drafts.push(membersDraft(room.id, caller, changes));
  return {
    access,
    room: hasNewSettings ? changed : room,
    hasNewSettings,
    rules: new Set(changes.map(({ rule }) => rule.entityUUID)),
    inviting: changes.flatMap(({ rule, before }) => (isInvitation(rule, before) ? [rule] : [])),
    drafts,
  };
}

async function writeSettings(
  sequelize: Sequelize,
  { id, name, data, levelAdmin, maxEntityRules, updatedAt }: Room,
  transaction: Transaction,
): Promise<void> {
  await sequelize.query(
    `UPDATE rooms SET name = $2, data = $3, level_admin = $4, max_entity_rules = $5, "updatedAt" = $6
     WHERE id = $1`,
    {
      bind: [id, name, data, levelAdmin, maxEntityRules, updatedAt.toISOString()],
      transaction,
    },
  );
}
