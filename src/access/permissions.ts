import { ChatError } from '../errors.js';
import type { Identity } from './token.js';

/** A rule of a room: the permissions of a user, or of an entity's members, in it. */
export interface Rule {
  /** UUID of a user or of an entity, in lower case. */
  readonly entityUUID: string;
  /** The rank that a rule with `a` gives. An entity's rule counts only for members whose levelOnEntity is not below it. */
  readonly level: number;
  /** Some letters of `rwba`, each once: read, write, banned, administer. */
  readonly permissions: string;
  /** Whether the invited user or entity consents. It has no effect on permissions. */
  readonly accepted: boolean;
}

/** A room as far as permissions depend on it; its rules may have more than permissions need. */
export interface RoomAccess<RoomRule extends Rule = Rule> {
  readonly type: 'group' | 'user2user';
  readonly entityOwner: string;
  readonly levelAdmin: number;
  readonly maxEntityRules: number;
  /** By entityUUID: all rules of the room, or at least those of the caller, the caller's entity and the target. */
  readonly rules: Pick<ReadonlyMap<string, RoomRule>, 'get'>;
}

/** A room with the number of its rules, which bounds how many may be added. */
export interface CountedAccess extends RoomAccess {
  /** Counts all rules of the room, of which `rules` may hold only a few. */
  readonly ruleCount: number;
  /** Of a direct room: its two users, who alone may have rules. */
  readonly pair?: readonly string[] | null;
  /**
   * Of a user2user room: the users whom another one blocks, among its members and those whose rules are to change;
   * undefined if that is not known yet.
   */
  readonly blocked?: ReadonlySet<string>;
}

/** The part of an identity that permissions depend on. The application's server has every right in every room. */
export type Caller = Pick<Identity, 'userUUID' | 'entityUUID' | 'levelOnEntity' | 'isServer'>;

/** The definition of a user2user room. */
const MAX_USERS_OF_A_PAIR = 2;

/** The caller's own rule, and their entity's rule if it counts for them. */
export function countingRules<RoomRule extends Rule>(
  caller: Caller,
  room: RoomAccess<RoomRule>,
): { own: RoomRule | undefined; entity: RoomRule | undefined } {
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

/** Whether the caller's own rule has `b`, which takes all permissions, even those of an owner. No ban binds a server. */
export function isBanned(caller: Caller, room: RoomAccess): boolean {
  if (caller.isServer) return false;
  return room.rules.get(caller.userUUID)?.permissions.includes('b') ?? false;
}

/** Whether the caller has a permission: as a server, or by any rule that counts for them, and never if banned. */
export function may(caller: Caller, room: RoomAccess, letter: 'r' | 'w' | 'a'): boolean {
  if (caller.isServer) return true;
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

/** The letters of `rwa` that the caller has in a room, `a` also as an owner. */
export function permissionsOf(caller: Caller, room: RoomAccess): string {
  const has = { r: may(caller, room, 'r'), w: may(caller, room, 'w'), a: isAdmin(caller, room) };
  return `${has.r ? 'r' : ''}${has.w ? 'w' : ''}${has.a ? 'a' : ''}`;
}

/** Whether the room belongs to the caller's entity and the caller's level makes them an admin of it. */
function ownsRoom(caller: Caller, room: RoomAccess): boolean {
  return (
    room.type === 'group' &&
    caller.entityUUID === room.entityOwner &&
    caller.levelOnEntity >= room.levelAdmin
  );
}

/** The highest level at which the caller may grant `a`, and up to which they may change or remove a rule with `a`. */
export function rankOf(caller: Caller, room: RoomAccess): number {
  if (caller.isServer) return Infinity;
  const { own, entity } = countingRules(caller, room);
  return Math.max(
    0,
    rankOfRule(own),
    rankOfRule(entity),
    ownsRoom(caller, room) ? caller.levelOnEntity : 0,
  );
}

/** A rule without `a` has rank 0: any admin may put or remove it, whatever its level. */
function rankOfRule(rule: Pick<Rule, 'permissions' | 'level'> | undefined): number {
  return rule?.permissions.includes('a') ? rule.level : 0;
}

/** @throws {ChatError} FORBIDDEN if the caller lacks the permission */
export function requirePermission(caller: Caller, room: RoomAccess, letter: 'r' | 'w' | 'a'): void {
  if (!may(caller, room, letter)) throw forbidden(letter);
}

/** The error if the caller lacks a permission. */
export function forbidden(letter: 'r' | 'w' | 'a'): ChatError {
  return new ChatError('FORBIDDEN', { detail: `this needs the permission ${letter} in the room` });
}

/**
 * Checks that the caller may delete a message of `emitter`: their own as a reader, others' as an admin.
 * @throws {ChatError} FORBIDDEN
 */
export function requireMayDelete(caller: Caller, room: RoomAccess, emitter: string): void {
  if (isAdmin(caller, room)) return;
  requirePermission(caller, room, emitter === caller.userUUID ? 'r' : 'a');
}

/**
 * Checks that the caller may edit a message of `emitter`: their own, a server anybody's.
 * @throws {ChatError} FORBIDDEN
 */
export function requireMayEdit(caller: Caller, emitter: string): void {
  if (caller.isServer || emitter === caller.userUUID) return;
  throw new ChatError('FORBIDDEN', { detail: 'only its sender may edit a message' });
}

/** @throws {ChatError} FORBIDDEN if the caller's token is not one of the application's server */
export function requireServer({ isServer }: Pick<Caller, 'isServer'>): void {
  if (!isServer) throw new ChatError('FORBIDDEN', { detail: 'this needs a server token' });
}

/** @throws {ChatError} FORBIDDEN if the caller's level in their entity is lower; a server needs none */
export function requireLevel({ levelOnEntity, isServer }: Caller, level: number): void {
  if (isServer || levelOnEntity >= level) return;
  throw new ChatError('FORBIDDEN', { detail: `this needs a level of ${level}` });
}

/** @throws {ChatError} FORBIDDEN if the room belongs to another entity than the caller's; to a server, all belong */
export function requireOwnEntity({ entityUUID, isServer }: Caller, room: RoomAccess): void {
  if (isServer || room.entityOwner === entityUUID) return;
  throw new ChatError('FORBIDDEN', { detail: 'the room belongs to another entity' });
}

/** @throws {ChatError} FORBIDDEN if the caller is no admin of the room */
export function requireAdmin(caller: Caller, room: RoomAccess): void {
  if (!isAdmin(caller, room)) {
    throw new ChatError('FORBIDDEN', { detail: 'this needs an admin of the room' });
  }
}

/**
 * Checks that the caller may add `wanted`, or replace the rule of the same UUID by it.
 * @throws {ChatError} FORBIDDEN, OUTRANKED, TOO_MANY_RULES, ROOM_FULL
 */
export function requireMayPutRule(
  caller: Caller,
  room: CountedAccess,
  wanted: Pick<Rule, 'entityUUID' | 'level' | 'permissions'>,
): void {
  requireAdmin(caller, room);
  const rank = rankOf(caller, room);
  const before = room.rules.get(wanted.entityUUID);
  if (rankOfRule(wanted) > rank || rankOfRule(before) > rank) {
    throw new ChatError('OUTRANKED', { detail: `the caller's rank in the room is ${rank}` });
  }
  if (before !== undefined) return;
  const isOfOthers = room.pair?.includes(wanted.entityUUID) === false;
  if (isOfOthers || (room.type === 'user2user' && room.ruleCount >= MAX_USERS_OF_A_PAIR)) {
    throw new ChatError('ROOM_FULL', { detail: 'a user2user room has two members' });
  }
  if (room.ruleCount >= room.maxEntityRules) {
    throw new ChatError('TOO_MANY_RULES', {
      detail: `the room has ${room.maxEntityRules} rules already`,
    });
  }
  requireNoBlock(room);
}

/**
 * Checks that no user of a direct room blocks the other. The answer is the same for both, whoever blocked whom.
 * @throws {ChatError} FORBIDDEN
 */
export function requireNoBlock({ blocked }: Pick<CountedAccess, 'blocked'>): void {
  if (blocked === undefined || blocked.size === 0) return;
  throw new ChatError('FORBIDDEN', { detail: 'these users can have no direct room' });
}

/**
 * What is left of a rule's permissions while another user of the direct room blocks its user: all but `w`. A rule that
 * has nothing else bans meanwhile, since one without permissions is none.
 */
export function withoutWriting(permissions: string): string {
  return permissions.replace('w', '') || 'b';
}

/**
 * Checks that the caller may remove the rule of `uuid`: as an admin, or as the member that leaves unless banned.
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
 * The rule whose invitation the caller answers: their own, or their entity's.
 * @throws {ChatError} NOT_FOUND if there is none, FORBIDDEN if it does not count for the caller
 */
export function invitedRule(caller: Caller, room: RoomAccess, byEntity: boolean): Rule {
  const rule = room.rules.get(byEntity ? caller.entityUUID : caller.userUUID);
  if (rule === undefined) throw new ChatError('NOT_FOUND', { detail: 'there is no such rule' });
  const counts =
    !isBanned(caller, room) &&
    (rule.entityUUID === caller.userUUID || countingRules(caller, room).entity === rule);
  if (!counts) {
    throw new ChatError('FORBIDDEN', { detail: 'the rule does not count for the caller' });
  }
  return rule;
}

/**
 * Whether a rule that was put invites: a new one, also if the application knows of the consent of its user, or one that
 * lifts a ban. One without permissions was removed, and does not.
 * @param before undefined if it is new
 */
export function isInvitation({ permissions }: Rule, before?: Rule): boolean {
  if (permissions === '' || permissions.includes('b')) return false;
  return before === undefined || before.permissions.includes('b');
}

/**
 * The rule that lets the caller read the room: their own if it grants `r`, else their entity's. A server needs none, and
 * consents to none.
 */
export function enteringRule(caller: Caller, room: RoomAccess): Rule | undefined {
  if (caller.isServer || isBanned(caller, room)) return undefined;
  const { own, entity } = countingRules(caller, room);
  return [own, entity].find((rule) => rule?.permissions.includes('r'));
}
