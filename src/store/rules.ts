import type { Sequelize, Transaction } from 'sequelize';
import {
  withoutWriting,
  type Caller,
  type CountedAccess,
  type Rule,
} from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import { loadRoom, lockRoom, type LoadedRoom } from './lock-room.js';
import { appendLocked, type CheckedDraft } from './append.js';
import { ruleContent, rulesContent, type Entry } from './entry.js';
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

/** A change of a rule, as an entry tells it. */
export interface RuleChange {
  /** As it is now, with empty permissions if it was removed. */
  readonly rule: Rule;
  /** Undefined if it is new. */
  readonly before: Rule | undefined;
}

/** A change that was decided. */
interface Decided {
  /** As it is stored now, or as it was before it was removed; undefined if there was none to remove. */
  readonly rule: RuleRow | undefined;
  readonly before: Rule | undefined;
  /** Undefined if nothing has changed. */
  readonly change: RuleChange | undefined;
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
    const drafts: CheckedDraft[] = [];
    const changed = new Set<string>();
    const decided = batch.map((asked) => {
      try {
        const next = { seq: room.head + drafts.length + 1, moment };
        const one = existing(decideRule(room, roomId, asked, next));
        if (one.change !== undefined) {
          drafts.push(memberDraft(roomId, asked.caller, one.change));
          changed.add(asked.target);
        }
        return one;
      } catch (error) {
        return { error };
      }
    });
    if (drafts.length > 0) await writeRules(sequelize, roomId, changed, room, transaction);
    const entries = await appendLocked(plain(sequelize, transaction), drafts);
    return decided.map((one) => {
      if ('error' in one) return one;
      const { rule, before, change } = one;
      return { rule, before, entry: change && entries.shift() };
    });
  }

  return {
    async change(roomId, caller, target, decide) {
      const room = await loadRoom(sequelize, roomId, [caller], [target]);
      if (room === undefined) throw noSuchRoom();
      const asked = { caller, target, decide };
      const next = { seq: room.head + 1, moment: new Date() };
      const { rule, before, change } = existing(decideRule(room, roomId, asked, next));
      if (change === undefined) return { rule, before, entry: undefined };
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

/** @throws {ChatError} NOT_FOUND if the rule to be removed does not exist */
function existing(decided: Decided): Decided & { readonly rule: RuleRow } {
  const { rule } = decided;
  if (rule === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such rule' });
  return { ...decided, rule };
}

/**
 * Decides a change and applies it to `room`, with what blocks leave of it.
 * @throws {ChatError} errors of `decide`
 */
export function decideRule(
  room: LoadedRoom,
  roomId: number,
  { target, decide }: Omit<AskedRule, 'caller'>,
  next: NextEntry,
): Decided {
  const before = room.rules.get(target);
  const wanted = underBlock(room, decide(room));
  if (wanted === undefined) {
    if (before === undefined) return { rule: undefined, before, change: undefined };
    room.rules.delete(target);
    room.ruleCount -= 1;
    return { rule: before, before, change: { rule: { ...before, permissions: '' }, before } };
  }
  if (before !== undefined && isSame(before, wanted)) {
    return { rule: before, before, change: undefined };
  }
  const rule = rowOf(roomId, wanted, before, next);
  room.rules.set(target, rule);
  if (before === undefined) room.ruleCount += 1;
  return { rule, before, change: { rule, before } };
}

/** The `member` entry of a change. */
export function memberDraft(roomId: number, caller: Caller, change: RuleChange): CheckedDraft {
  return draftOf(roomId, caller, 'member', ruleContent(change.rule), [change]);
}

/** The `members` entry of several changes. */
export function membersDraft(
  roomId: number,
  caller: Caller,
  changes: readonly RuleChange[],
): CheckedDraft {
  const content = rulesContent(changes.map(({ rule }) => rule));
  return draftOf(roomId, caller, 'members', content, changes);
}

function draftOf(
  roomId: number,
  { userUUID: emitter }: Caller,
  kind: 'member' | 'members',
  content: string,
  changes: readonly RuleChange[],
): CheckedDraft {
  const keepsRights = changes.every(
    ({ rule, before }) => before?.level === rule.level && before.permissions === rule.permissions,
  );
  return { draft: { roomId, kind, emitter, content, ref: null }, rulesHead: null, keepsRights };
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
