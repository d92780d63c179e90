import type { Sequelize, Transaction } from 'sequelize';
import {
  withoutWriting,
  type Caller,
  type CountedAccess,
  type Rule,
} from '../access/permissions.js';
import { ChatError } from '../errors.js';
import { loadRoom, lockRoom, type LoadedRoom } from './lock-room.js';
import { appendLocked, type CheckedDraft } from './append.js';
import { ruleContent, type Entry, type EntryDraft } from './entry.js';
import type { RuleRow } from './models/rule.js';
import { plain } from './prepared.js';
import { RoomBatches, type Refused } from './room-batches.js';

/**
 * Decides a change: returns the rule as it is to be, or undefined to remove it, or throws a refusal. Called twice:
 * before the room is locked, so that a refusal locks nothing, and under the lock.
 */
export type Decide = (room: CountedAccess) => Rule | undefined;

export interface ChangedRule {
  /** The rule as it is stored now, or as it was before it was removed. */
  readonly rule: RuleRow;
  /** The rule before the change; undefined if there was none. */
  readonly before: Rule | undefined;
  /** The change as an entry of the room's log; undefined if nothing has changed. */
  readonly entry: Entry | undefined;
}

export interface Rules {
  /**
   * Changes the rule of the UUID `target` and appends the change to the room's log, in one transaction. A decision that
   * changes nothing locks and writes nothing.
   * @throws {ChatError} NOT_FOUND if there is no such room or rule; UNAVAILABLE if the room is locked for too long;
   * errors of `decide`
   */
  change(roomId: number, caller: Caller, target: string, decide: Decide): Promise<ChangedRule>;
}

/** A change that is asked for. */
export interface AskedRule {
  readonly caller: Caller;
  readonly target: string;
  readonly decide: Decide;
}

/** A change that was decided, and its entry before it is appended. */
interface Decided {
  readonly rule: RuleRow;
  readonly before: Rule | undefined;
  /** Undefined if nothing has changed. */
  readonly entry: CheckedDraft | undefined;
}

/** A rule, and what it is without a block, if there is one. */
type BlockableRule = Rule & Partial<Pick<RuleRow, 'unblocked'>>;

/** The room's next entry, which a change appends. */
interface NextEntry {
  readonly seq: number;
  readonly moment: Date;
}

export function createRules({ sequelize }: { sequelize: Sequelize }): Rules {
  const batches = new RoomBatches<AskedRule, ChangedRule>(sequelize, changeAll);

  /** Decides each change by the rules that the changes before it leave. */
  async function changeAll(
    roomId: number,
    batch: readonly AskedRule[],
    transaction: Transaction,
  ): Promise<(ChangedRule | Refused)[]> {
    const callers = batch.map(({ caller }) => caller);
    const targets = batch.map(({ target }) => target);
    const room = await lockRoom(sequelize, roomId, callers, targets, transaction);
    if (room === undefined) throw noSuchRoom();
    const moment = new Date();
    let head = room.head;
    const decided = batch.map((asked): Decided | Refused => {
      try {
        const one = decideRule(room, roomId, asked, { seq: head + 1, moment });
        if (one.entry !== undefined) head += 1;
        return one;
      } catch (error) {
        return { error };
      }
    });
    const changes = decided.flatMap((one) =>
      'error' in one || one.entry === undefined ? [] : [{ rule: one.rule, entry: one.entry }],
    );
    if (changes.length > 0) {
      const uuids = new Set(changes.map(({ rule }) => rule.entityUUID));
      await writeRules(sequelize, roomId, uuids, room, transaction);
    }
    const entries = await appendLocked(
      plain(sequelize, transaction),
      changes.map(({ entry }) => entry),
    );
    return decided.map((one) =>
      'error' in one ? one : { ...one, entry: one.entry && entries.shift() },
    );
  }

  return {
    async change(roomId, caller, target, decide) {
      const room = await loadRoom(sequelize, roomId, [caller], [target]);
      if (room === undefined) throw noSuchRoom();
      const asked = { caller, target, decide };
      const next = { seq: room.head + 1, moment: new Date() };
      const { rule, before, entry } = decideRule(room, roomId, asked, next);
      if (entry === undefined) return { rule, before, entry };
      return batches.make(roomId, asked);
    },
  };
}

/** Stores the rules of these UUIDs as `room` has them, removes those that it lacks, and stores their number. */
export async function writeRules(
  sequelize: Sequelize,
  roomId: number,
  uuids: ReadonlySet<string>,
  { rules, ruleCount }: LoadedRoom,
  transaction: Transaction,
): Promise<void> {
  const rows = [...uuids].flatMap((uuid) => rules.get(uuid) ?? []);
  const removed = [...uuids].filter((uuid) => !rules.has(uuid));
  await sequelize.query(
    `WITH written AS (
       INSERT INTO room_permissions
         (room_id, "entity_UUID", level, permissions, accepted, unblocked, since, "createdAt", "updatedAt")
       SELECT $1::int, * FROM unnest($2::uuid[], $3::int[], $4::text[], $5::boolean[], $6::text[], $7::bigint[],
         $8::timestamptz[], $9::timestamptz[])
       ON CONFLICT (room_id, "entity_UUID") DO UPDATE SET level = excluded.level,
         permissions = excluded.permissions, accepted = excluded.accepted, unblocked = excluded.unblocked,
         since = excluded.since, "createdAt" = excluded."createdAt", "updatedAt" = excluded."updatedAt"
     ), removed AS (
       DELETE FROM room_permissions WHERE room_id = $1 AND "entity_UUID" = ANY ($10::uuid[])
     )
     UPDATE rooms SET rule_count = $11 WHERE id = $1 AND rule_count <> $11`,
    {
      bind: [
        roomId,
        rows.map(({ entityUUID }) => entityUUID),
        rows.map(({ level }) => level),
        rows.map(({ permissions }) => permissions),
        rows.map(({ accepted }) => accepted),
        rows.map(({ unblocked }) => unblocked ?? null),
        rows.map(({ since }) => since),
        rows.map(({ createdAt }) => createdAt.toISOString()),
        rows.map(({ updatedAt }) => updatedAt.toISOString()),
        removed,
        ruleCount,
      ],
      transaction,
    },
  );
}

/**
 * Decides a change and applies it to `room`, with what blocks leave of it.
 * @throws {ChatError} NOT_FOUND if the rule to be removed does not exist; errors of `decide`
 */
export function decideRule(
  room: LoadedRoom,
  roomId: number,
  { caller, target, decide }: AskedRule,
  next: NextEntry,
): Decided {
  const before = room.rules.get(target);
  const wanted = underBlock(room, decide(room));
  if (before !== undefined && wanted !== undefined && isSame(before, wanted)) {
    return { rule: before, before, entry: undefined };
  }
  const rule = wanted === undefined ? before : rowOf(roomId, wanted, before, next);
  if (rule === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such rule' });
  if (wanted === undefined) room.rules.delete(target);
  else room.rules.set(target, rule);
  room.ruleCount += Number(wanted !== undefined) - Number(before !== undefined);
  const draft: EntryDraft = {
    roomId,
    kind: 'member',
    emitter: caller.userUUID,
    content: ruleContent(wanted === undefined ? { ...rule, permissions: '' } : rule),
    ref: null,
  };
  const keepsRights =
    before !== undefined &&
    wanted !== undefined &&
    before.level === wanted.level &&
    before.permissions === wanted.permissions;
  return { rule, before, entry: { draft, rulesHead: null, keepsRights } };
}

/**
 * A rule as it holds while somebody in the room blocks its user, or as it is without: whatever its rule is changed to, a
 * blocked user does not write, and has all of it once unblocked.
 */
function underBlock(
  { blocked }: LoadedRoom,
  rule: BlockableRule | undefined,
): BlockableRule | undefined {
  if (rule === undefined) return undefined;
  const permissions = rule.unblocked ?? rule.permissions;
  return blocked.has(rule.entityUUID)
    ? { ...rule, permissions: withoutWriting(permissions), unblocked: permissions }
    : { ...rule, permissions, unblocked: null };
}

function rowOf(
  roomId: number,
  { entityUUID, level, permissions, accepted, unblocked }: BlockableRule,
  before: RuleRow | undefined,
  { seq, moment }: NextEntry,
): RuleRow {
  return {
    roomId,
    entityUUID,
    level,
    permissions,
    accepted,
    unblocked: unblocked ?? null,
    since: before?.since ?? seq,
    createdAt: before?.createdAt ?? moment,
    updatedAt: moment,
  };
}

function isSame(one: BlockableRule, other: BlockableRule): boolean {
  return (
    one.level === other.level &&
    one.permissions === other.permissions &&
    one.accepted === other.accepted &&
    (one.unblocked ?? null) === (other.unblocked ?? null)
  );
}

function noSuchRoom(): ChatError {
  return new ChatError('NOT_FOUND', { detail: 'there is no such room' });
}
