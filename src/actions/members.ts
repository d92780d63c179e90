import {
  forbidden,
  invitedRule,
  isInvitation,
  requireAdmin,
  requireMayPutRule,
  requireMayRemoveRule,
  type Caller,
  type CountedAccess,
  type Rule,
} from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { Hub } from '../feeds/hub.js';
import type { Member, Members } from '../store/members.js';
import type { Rooms } from '../store/rooms.js';
import type { ChangedRule, Decide, Rules } from '../store/rules.js';

/** A rule as it is to be; its consent is not the admin's to give. */
export type WantedRule = Omit<Rule, 'accepted'>;

/** A rule as the application's server wants it; without permissions it is removed, if there is one. */
export type BulkRule = WantedRule & {
  /** Undefined: a new rule is not accepted, and a change leaves it as it is. */
  readonly accepted: boolean | undefined;
};

/** An answer to an invitation. */
export interface InvitationAnswer {
  readonly accepted: boolean;
  /** Whether it is about the rule of the caller's entity, not about their own. */
  readonly byEntity: boolean;
}

/** A member, and whether they are online in the room; an entity never is. */
export type PresentMember = Member & { readonly isOnline: boolean };

/** A page of members: those behind a UUID, the first ones if none is given. */
export interface MemberRange {
  readonly behind?: string | undefined;
  readonly limit: number;
}

export interface MemberActions {
  /**
   * The rules of a room in the order of their UUIDs, with the names and pictures of their users, and who is online in it.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `r`; UNAVAILABLE
   */
  list(
    caller: Caller,
    roomId: number,
    range: MemberRange,
    gone: AbortSignal,
  ): Promise<readonly PresentMember[]>;
  /**
   * Adds a rule, not accepted yet, or changes the one of the same UUID.
   * @throws {ChatError} NOT_FOUND, FORBIDDEN, OUTRANKED, TOO_MANY_RULES, ROOM_FULL, UNAVAILABLE
   */
  put(caller: Caller, roomId: number, wanted: WantedRule): Promise<ChangedRule>;
  /**
   * Puts and removes rules of different UUIDs, all or none, as one entry.
   * @returns the seq of the entry; undefined if nothing has changed
   * @throws {ChatError} NOT_FOUND, FORBIDDEN, OUTRANKED, TOO_MANY_RULES, ROOM_FULL, UNAVAILABLE
   */
  putAll(caller: Caller, roomId: number, wanted: readonly BulkRule[]): Promise<number | undefined>;
  /**
   * Removes the rule of a UUID.
   * @throws {ChatError} NOT_FOUND, FORBIDDEN, OUTRANKED, UNAVAILABLE
   */
  remove(caller: Caller, roomId: number, uuid: string): Promise<ChangedRule>;
  /**
   * Sets whether the caller's rule, or their entity's, is accepted.
   * @throws {ChatError} NOT_FOUND, FORBIDDEN, UNAVAILABLE
   */
  answerInvitation(caller: Caller, roomId: number, answer: InvitationAnswer): Promise<ChangedRule>;
  /**
   * Accepts the rule by which the caller enters a room: entering is consent.
   * @throws {ChatError} NOT_FOUND if there is no such room; FORBIDDEN, also if the rule was removed meanwhile; UNAVAILABLE
   */
  accept(caller: Caller, roomId: number, rule: Rule): Promise<ChangedRule>;
}

export function createMemberActions({
  members,
  rooms,
  rules,
  hub,
}: {
  members: Members;
  rooms: Pick<Rooms, 'change'>;
  rules: Rules;
  hub: Pick<Hub, 'invite' | 'online' | 'publish'>;
}): MemberActions {
  async function change(
    caller: Caller,
    roomId: number,
    target: string,
    decide: Decide,
  ): Promise<ChangedRule> {
    const changed = await rules.change(roomId, caller, target, decide);
    if (changed.entry !== undefined) void hub.publish(roomId, [changed.entry]);
    if (isInvitation(changed.rule, changed.before)) hub.invite(roomId, [changed.rule]);
    return changed;
  }

  return {
    async list(caller, roomId, range, gone) {
      const page = await members.page(caller, roomId, range, gone);
      if (page === undefined) throw noSuchRoom();
      if (!page.mayRead) throw forbidden('r');
      const online = await hub.online(roomId);
      return page.members.map((member) => ({ ...member, isOnline: online.has(member.entityUUID) }));
    },

    put(caller, roomId, wanted) {
      return change(caller, roomId, wanted.entityUUID, (room) => ruleToPut(caller, room, wanted));
    },

    async putAll(caller, roomId, wanted) {
      // The removed ones first: they leave places to others.
      const ordered = wanted.toSorted(
        (one, other) => Number(one.permissions !== '') - Number(other.permissions !== ''),
      );
      const { entries, inviting } = await rooms.change(roomId, caller, {
        settings: {},
        rules: ordered.map((rule) => ({
          target: rule.entityUUID,
          decide: (room) => bulkRuleToPut(caller, room, rule),
        })),
        inOneEntry: true,
        authorize(room) {
          requireAdmin(caller, room);
        },
      });
      if (entries.length > 0) void hub.publish(roomId, entries);
      hub.invite(roomId, inviting);
      return entries[0]?.seq;
    },

    remove(caller, roomId, uuid) {
      return change(caller, roomId, uuid, (room) => {
        requireMayRemoveRule(caller, room, uuid);
        return undefined;
      });
    },

    answerInvitation(caller, roomId, { accepted, byEntity }) {
      const target = byEntity ? caller.entityUUID : caller.userUUID;
      return change(caller, roomId, target, (room) => ({
        ...invitedRule(caller, room, byEntity),
        accepted,
      }));
    },

    accept(caller, roomId, { entityUUID }) {
      return change(caller, roomId, entityUUID, (room) => {
        // Else the caller would be told that there is no such room.
        if (room.rules.get(entityUUID) === undefined) throw new ChatError('FORBIDDEN');
        return { ...invitedRule(caller, room, entityUUID !== caller.userUUID), accepted: true };
      });
    },
  };
}

/** A rule as it is to be stored; undefined: it is to be removed. @throws {ChatError} as `ruleToPut` */
function bulkRuleToPut(
  caller: Caller,
  room: CountedAccess,
  { accepted, ...wanted }: BulkRule,
): Rule | undefined {
  if (wanted.permissions === '') return undefined;
  const rule = ruleToPut(caller, room, wanted);
  return { ...rule, accepted: accepted ?? rule.accepted };
}

/**
 * A rule as it is to be stored: a new one is not accepted yet.
 * @throws {ChatError} FORBIDDEN, OUTRANKED, TOO_MANY_RULES, ROOM_FULL
 */
export function ruleToPut(caller: Caller, room: CountedAccess, wanted: WantedRule): Rule {
  requireMayPutRule(caller, room, wanted);
  return { ...wanted, accepted: room.rules.get(wanted.entityUUID)?.accepted ?? false };
}
