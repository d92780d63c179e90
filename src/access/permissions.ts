import { ChatError } from '../errors.js';
import type { Identity } from './token.js';

/** A rule of a room: what a user, or the members of an entity, may do there. */
export interface Rule {
  /** UUID of a user or of an entity, in lower case. */
  readonly entity_UUID: string;
  /** With `a`, the rank that it gives; of an entity, also the least levelOnEntity of the members it counts for. */
  readonly level: number;
  /** Letters of `rwba`, each once. */
  readonly permissions: string;
  /** The invited side's consent, no permission. */
  readonly accepted: boolean;
}

/** What permissions in one room depend on: its rules, and some of its own fields. */
export interface RoomAccess {
  readonly type: 'group' | 'user2user';
  readonly entity_owner: string;
  readonly level_admin: number;
  readonly max_entity_rules: number;
  /** By entity_UUID: all of them, or those that a question is about. */
  readonly rules: Pick<ReadonlyMap<string, Rule>, 'get'>;
}

/** A room that a rule may be added to. */
export interface CountedAccess extends RoomAccess {
  /** How many rules it has, of all of which `rules` may hold a few. */
  readonly ruleCount: number;
}

/** Who asks: a verified token, or the part of it that permissions depend on. */
export type Caller = Pick<Identity, 'userUUID' | 'entityUUID' | 'levelOnEntity'>;

/** A user2user room has two ends. */
const MAX_USERS_OF_A_PAIR = 2;

/** The caller's own rule, and their entity's where it counts for them. */
export function countingRules(
  caller: Caller,
  room: RoomAccess,
): { own: Rule | undefined; entity: Rule | undefined } {
  const own = room.rules.get(caller.userUUID);
  const byEntity =
    room.type === 'group' && caller.entityUUID !== caller.userUUID
      ? room.rules.get(caller.entityUUID)
      : undefined;
  const counts =
    byEntity !== undefined &&
    caller.levelOnEntity >= byEntity.level &&
    !byEntity.permissions.includes('b');
  return { own, entity: counts ? byEntity : undefined };
}

/** Whether the caller's own rule bans them: then nothing is allowed, whatever else holds. */
export function isBanned(caller: Caller, room: RoomAccess): boolean {
  return room.rules.get(caller.userUUID)?.permissions.includes('b') ?? false;
}

/** Whether the caller has `letter`: the union of the rules that count, nothing when banned. */
export function may(caller: Caller, room: RoomAccess, letter: 'r' | 'w' | 'a'): boolean {
  if (isBanned(caller, room)) return false;
  const { own, entity } = countingRules(caller, room);
  return (
    (own?.permissions.includes(letter) ?? false) || (entity?.permissions.includes(letter) ?? false)
  );
}

/** Whether the caller may change the room and its rules. */
export function isAdmin(caller: Caller, room: RoomAccess): boolean {
  return may(caller, room, 'a') || (ownsRoom(caller, room) && !isBanned(caller, room));
}

/** Admin by the entity that the room belongs to, whatever the rules say. */
function ownsRoom(caller: Caller, room: RoomAccess): boolean {
  return (
    room.type === 'group' &&
    caller.entityUUID === room.entity_owner &&
    caller.levelOnEntity >= room.level_admin
  );
}

/** Nobody grants `a` at a level above their rank, nor touches a rule with `a` whose level is above it. */
export function rankOf(caller: Caller, room: RoomAccess): number {
  const { own, entity } = countingRules(caller, room);
  return Math.max(
    0,
    rankOfRule(own),
    rankOfRule(entity),
    ownsRoom(caller, room) ? caller.levelOnEntity : 0,
  );
}

/** A rule ranks by its level only if it holds `a`: without, any admin gives, changes and removes it. */
function rankOfRule(rule: Pick<Rule, 'permissions' | 'level'> | undefined): number {
  return rule?.permissions.includes('a') ? rule.level : 0;
}

/** @throws {ChatError} FORBIDDEN where the caller lacks `letter` */
export function requirePermission(caller: Caller, room: RoomAccess, letter: 'r' | 'w' | 'a'): void {
  if (!may(caller, room, letter)) {
    throw new ChatError('FORBIDDEN', { detail: `this needs the permission ${letter} in the room` });
  }
}

/** @throws {ChatError} FORBIDDEN */
export function requireAdmin(caller: Caller, room: RoomAccess): void {
  if (!isAdmin(caller, room)) {
    throw new ChatError('FORBIDDEN', { detail: 'this needs an admin of the room' });
  }
}

/**
 * The caller adds `wanted`, or changes the rule of the same UUID to it.
 * @throws {ChatError} FORBIDDEN, OUTRANKED, TOO_MANY_RULES, ROOM_FULL
 */
export function requireMayPutRule(
  caller: Caller,
  room: CountedAccess,
  wanted: Pick<Rule, 'entity_UUID' | 'level' | 'permissions'>,
): void {
  requireAdmin(caller, room);
  const rank = rankOf(caller, room);
  const before = room.rules.get(wanted.entity_UUID);
  if (rankOfRule(wanted) > rank || rankOfRule(before) > rank) {
    throw new ChatError('OUTRANKED', { detail: `the caller's rank in the room is ${rank}` });
  }
  if (before !== undefined) return;
  if (room.type === 'user2user' && room.ruleCount >= MAX_USERS_OF_A_PAIR) {
    throw new ChatError('ROOM_FULL', { detail: 'a user2user room has two members' });
  }
  if (room.ruleCount >= room.max_entity_rules) {
    throw new ChatError('TOO_MANY_RULES', {
      detail: `the room has ${room.max_entity_rules} rules already`,
    });
  }
}

/**
 * The caller removes the rule of `uuid`: as an admin, or as the member itself unless banned.
 * @throws {ChatError} FORBIDDEN, NOT_FOUND, OUTRANKED
 */
export function requireMayRemoveRule(caller: Caller, room: RoomAccess, uuid: string): void {
  const isSelf = uuid === caller.userUUID && !isBanned(caller, room);
  if (!isSelf) requireAdmin(caller, room);
  const rule = room.rules.get(uuid);
  if (rule === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such rule' });
  if (!isSelf && rankOfRule(rule) > rankOf(caller, room)) {
    throw new ChatError('OUTRANKED', { detail: 'the rule outranks the caller' });
  }
}

/**
 * The rule that an invitation's answer is about: the caller's own, or their entity's.
 * @throws {ChatError} NOT_FOUND where there is none, FORBIDDEN where it does not count for the caller
 */
export function invitedRule(caller: Caller, room: RoomAccess, byEntity: boolean): Rule {
  const rule = room.rules.get(byEntity ? caller.entityUUID : caller.userUUID);
  if (rule === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such rule' });
  const counts =
    !isBanned(caller, room) &&
    (rule.entity_UUID === caller.userUUID || countingRules(caller, room).entity === rule);
  if (!counts) {
    throw new ChatError('FORBIDDEN', { detail: 'the rule does not count for the caller' });
  }
  return rule;
}

/** The rule by which the caller reads the room: their own where it grants that, else the entity's. */
export function enteringRule(caller: Caller, room: RoomAccess): Rule | undefined {
  if (isBanned(caller, room)) return undefined;
  const { own, entity } = countingRules(caller, room);
  return [own, entity].find((rule) => rule?.permissions.includes('r'));
}
