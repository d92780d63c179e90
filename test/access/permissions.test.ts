import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  enteringRule,
  invitedRule,
  isAdmin,
  isBanned,
  isInvitation,
  may,
  rankOf,
  requireAdmin,
  requireLevel,
  requireMayEdit,
  requireMayPutRule,
  requireMayRemoveRule,
  requireOwnEntity,
  requirePermission,
  requireServer,
  type Caller,
  type CountedAccess,
  type RoomAccess,
  type Rule,
} from '../../src/access/permissions.js';

const USER = 'user';
const ENTITY = 'entity';
const OTHER = 'other';

describe('a caller’s permissions', () => {
  it('are none without a rule', () => {
    expect(lettersOf(caller(), room())).toBe('');
  });

  it('are not granted by the rules of others', () => {
    expect(lettersOf(caller(), room([rule(OTHER, 'rwa')]))).toBe('');
  });

  it.each(['r', 'w', 'a', 'rw', 'rwa', ''])('are those of their own rule: %j', (permissions) => {
    expect(lettersOf(caller(), room([rule(USER, permissions)]))).toBe(permissions);
  });

  it('are those of their own rule, at any level, accepted or not', () => {
    const own = rule(USER, 'rw', { level: 999, accepted: false });

    expect(lettersOf(caller({ levelOnEntity: -1 }), room([own]))).toBe('rw');
  });

  it.each([
    ['nothing below its level', 99, ''],
    ['all at its level', 100, 'rw'],
    ['all above its level', 101, 'rw'],
    ['nothing just below', 99.999, ''],
  ])('are those of their entity’s rule: %s', (_, levelOnEntity, letters) => {
    const byEntity = rule(ENTITY, 'rw', { level: 100 });

    expect(lettersOf(caller({ levelOnEntity }), room([byEntity]))).toBe(letters);
  });

  it('are the union of their own rule and their entity’s', () => {
    const rules = [rule(USER, 'r'), rule(ENTITY, 'wa')];

    expect(lettersOf(caller(), room(rules))).toBe('rwa');
  });

  it('are none if they are banned, whatever other rules say', () => {
    for (const permissions of ['b', 'rwba', 'br']) {
      const banned = room([rule(USER, permissions), rule(ENTITY, 'rwa')]);

      expect(lettersOf(caller(), banned)).toBe('');
      expect(isBanned(caller(), banned)).toBe(true);
    }
  });

  it('are none by the rule of a banned entity, but all by their own', () => {
    const byEntity = rule(ENTITY, 'rwba');

    expect(lettersOf(caller(), room([byEntity]))).toBe('');
    expect(lettersOf(caller(), room([rule(USER, 'rw'), byEntity]))).toBe('rw');
    expect(isBanned(caller(), room([byEntity]))).toBe(false);
  });

  it('are none by the entity’s rule in a user2user room', () => {
    const access = room([rule(ENTITY, 'rwa')], { type: 'user2user' });

    expect(lettersOf(caller(), access)).toBe('');
    expect(lettersOf(caller(), room([rule(USER, 'rw')], { type: 'user2user' }))).toBe('rw');
  });

  it('are those of the single rule if the caller is their own entity', () => {
    const alone = caller({ entityUUID: USER, levelOnEntity: 0 });

    expect(lettersOf(alone, room([rule(USER, 'rw', { level: 100 })]))).toBe('rw');
    expect(lettersOf(alone, room([rule(USER, 'rwb')]))).toBe('');
  });

  it('cause FORBIDDEN if one is missing', () => {
    const access = room([rule(USER, 'r')]);

    expect(() => requirePermission(caller(), access, 'r')).not.toThrow();
    expect(codeOf(() => requirePermission(caller(), access, 'w'))).toBe('FORBIDDEN');
    expect(codeOf(() => requireAdmin(caller(), access))).toBe('FORBIDDEN');
  });
});

describe('a room admin', () => {
  it('is a user with the letter a, by their own rule or their entity’s', () => {
    expect(isAdmin(caller(), room([rule(USER, 'a')]))).toBe(true);
    expect(isAdmin(caller(), room([rule(ENTITY, 'a')]))).toBe(true);
    expect(isAdmin(caller(), room([rule(USER, 'rw')]))).toBe(false);
  });

  it.each([
    ['from level_admin on', 50, true],
    ['not below it', 49, false],
  ])('is a member of the entity that owns the room: %s', (_, levelOnEntity, expected) => {
    const owned = room([], { entityOwner: ENTITY, levelAdmin: 50 });

    expect(isAdmin(caller({ levelOnEntity }), owned)).toBe(expected);
    // That alone grants neither reading nor writing.
    expect(lettersOf(caller({ levelOnEntity }), owned)).toBe('');
  });

  it('is not a member of the entity that owns a user2user room', () => {
    const owned = room([], { entityOwner: ENTITY, levelAdmin: 0, type: 'user2user' });

    expect(isAdmin(caller({ levelOnEntity: 999 }), owned)).toBe(false);
  });

  it('is never a banned user', () => {
    const owned = room([rule(USER, 'ba')], { entityOwner: ENTITY, levelAdmin: 0 });

    expect(isAdmin(caller({ levelOnEntity: 999 }), owned)).toBe(false);
  });
});

describe('the rank of an admin', () => {
  it.each([
    ['the level of the own rule with a', [rule(USER, 'a', { level: 7 })], 7],
    ['not that of the own rule without a', [rule(USER, 'rw', { level: 7 })], 0],
    ['the level of an entity’s rule with a', [rule(ENTITY, 'a', { level: 5 })], 5],
    ['not that of an entity’s rule without a', [rule(ENTITY, 'rw', { level: 5 })], 0],
    ['the higher of both', [rule(USER, 'a', { level: 3 }), rule(ENTITY, 'a', { level: 5 })], 5],
    [
      'that of the one with a',
      [rule(USER, 'rw', { level: 9 }), rule(ENTITY, 'a', { level: 5 })],
      5,
    ],
    ['0 without a rule', [], 0],
  ])('is %s', (_, rules, expected) => {
    expect(rankOf(caller({ levelOnEntity: 10 }), room(rules))).toBe(expected);
  });

  it('is levelOnEntity for an admin through the owning entity', () => {
    const owned = room([rule(USER, 'r', { level: 99 })], { entityOwner: ENTITY, levelAdmin: 50 });

    expect(rankOf(caller({ levelOnEntity: 60 }), owned)).toBe(60);
    expect(rankOf(caller({ levelOnEntity: 49 }), owned)).toBe(0);
  });
});

describe('adding or changing a rule', () => {
  const admin = rule(USER, 'rwa', { level: 100 });
  const put = (access: Room, level: number, uuid = OTHER, permissions = 'rwa') =>
    codeOf(() => requireMayPutRule(caller(), access, { entityUUID: uuid, level, permissions }));

  it('needs an admin', () => {
    expect(put(room([admin]), 0)).toBeUndefined();
    expect(put(room([rule(USER, 'rw')]), 0)).toBe('FORBIDDEN');
    expect(put(room([rule(USER, 'rwab')]), 0)).toBe('FORBIDDEN');
  });

  it.each(['a', 'rwa', 'ab'])('never grants %s above the admin’s rank', (permissions) => {
    expect(put(room([admin]), 100, OTHER, permissions)).toBeUndefined();
    expect(put(room([admin]), 101, OTHER, permissions)).toBe('OUTRANKED');
    expect(put(room([admin]), 101, ENTITY, permissions)).toBe('OUTRANKED');
  });

  it.each(['r', 'rw', 'b', 'rwb'])('may grant %s at any level', (permissions) => {
    expect(put(room([admin]), 999, OTHER, permissions)).toBeUndefined();
    expect(put(room([admin]), 2_147_483_647, ENTITY, permissions)).toBeUndefined();
  });

  it.each(['a', 'rwa', 'ab'])('never changes a higher rule with %s', (permissions) => {
    const above = rule(OTHER, permissions, { level: 101 });
    const level = rule(OTHER, permissions, { level: 100 });

    for (const wanted of ['r', 'b', 'a', 'ab']) {
      expect(put(room([admin, above]), 0, OTHER, wanted)).toBe('OUTRANKED');
      expect(put(room([admin, level]), 0, OTHER, wanted)).toBeUndefined();
    }
  });

  it.each(['r', 'rw', 'b'])('changes a rule with %s of any level', (permissions) => {
    const above = rule(OTHER, permissions, { level: 999 });

    expect(put(room([admin, above]), 999, OTHER, 'b')).toBeUndefined();
    // Also to a rule with `a`, but at no level above the admin's own rank.
    expect(put(room([admin, above]), 100, OTHER, 'rwa')).toBeUndefined();
    expect(put(room([admin, above]), 999, OTHER, 'rwa')).toBe('OUTRANKED');
  });

  it('never raises an admin, oneself included', () => {
    expect(put(room([admin]), 101, USER)).toBe('OUTRANKED');
    expect(put(room([admin]), 100, USER)).toBeUndefined();
  });

  it('never adds more rules than the room allows, and does not count a change', () => {
    const full = room([admin, rule(OTHER, 'r')], { maxEntityRules: 2 });

    expect(put(full, 0, 'third')).toBe('TOO_MANY_RULES');
    expect(put(full, 0, OTHER)).toBeUndefined();
    expect(put(room([admin], { maxEntityRules: 2 }), 0, 'second')).toBeUndefined();
  });

  it('may change a rule of a room that has more than it allows', () => {
    const over = room([admin, rule(OTHER, 'r'), rule('third', 'r')], { maxEntityRules: 2 });

    expect(put(over, 0, OTHER)).toBeUndefined();
  });

  it('never adds a third user to a user2user room', () => {
    const pair = { type: 'user2user' as const };

    expect(put(room([admin], pair), 0)).toBeUndefined();
    expect(put(room([admin, rule(OTHER, 'rw')], pair), 0, 'third')).toBe('ROOM_FULL');
    expect(put(room([admin, rule(OTHER, 'rw')], pair), 0, OTHER)).toBeUndefined();
  });

  it('answers FORBIDDEN before it answers that a room is full', () => {
    const full = room([rule(USER, 'rw')], { maxEntityRules: 1 });

    expect(put(full, 0)).toBe('FORBIDDEN');
  });
});

describe('removing a rule', () => {
  const admin = rule(USER, 'rwa', { level: 100 });
  const remove = (access: RoomAccess, uuid: string, who = caller()) =>
    codeOf(() => {
      requireMayRemoveRule(who, access, uuid);
    });

  it('needs an admin', () => {
    expect(remove(room([admin, rule(OTHER, 'r')]), OTHER)).toBeUndefined();
    expect(remove(room([rule(USER, 'rw'), rule(OTHER, 'r')]), OTHER)).toBe('FORBIDDEN');
  });

  it('is allowed to the member themselves, whatever the rule’s level', () => {
    expect(remove(room([rule(USER, '', { level: 999 })]), USER)).toBeUndefined();
  });

  it('is not allowed to a banned member', () => {
    expect(remove(room([rule(USER, 'b')]), USER)).toBe('FORBIDDEN');
    expect(remove(room([rule(USER, 'rwab')]), USER)).toBe('FORBIDDEN');
  });

  it('is not allowed to a member for their entity’s rule', () => {
    expect(remove(room([rule(USER, 'rw'), rule(ENTITY, 'rw')]), ENTITY)).toBe('FORBIDDEN');
  });

  it.each(['a', 'rwa', 'ab'])('is refused for a higher rule with %s', (permissions) => {
    expect(remove(room([admin, rule(OTHER, permissions, { level: 101 })]), OTHER)).toBe(
      'OUTRANKED',
    );
    expect(remove(room([admin, rule(OTHER, permissions, { level: 100 })]), OTHER)).toBeUndefined();
  });

  it.each(['r', 'rw', 'b'])('is allowed to any admin if the rule has %s', (permissions) => {
    const above = rule(OTHER, permissions, { level: 999 });

    expect(remove(room([admin, above]), OTHER)).toBeUndefined();
  });

  it('is NOT_FOUND without a rule, if the caller may know', () => {
    expect(remove(room([admin]), OTHER)).toBe('NOT_FOUND');
    expect(remove(room([rule(ENTITY, 'rw')]), USER)).toBe('NOT_FOUND');
    expect(remove(room([rule(USER, 'rw')]), OTHER)).toBe('FORBIDDEN');
  });
});

describe('the changes that an admin may make, in any number and order,', () => {
  const uuid = fc.constantFrom(USER, ENTITY, OTHER, 'third');
  const permissions = fc.constantFrom('r', 'rw', 'a', 'rwa', 'b', 'ab');
  const level = fc.nat(6);
  const anyRule = fc
    .record({ uuid, permissions, level })
    .map((one) => rule(one.uuid, one.permissions, { level: one.level }));
  const change = fc.oneof(anyRule, uuid);

  it('raise nobody above the admin’s rank, and leave every higher admin’s rule as it was', () => {
    fc.assert(
      fc.property(
        fc.array(anyRule, { maxLength: 4 }),
        fc.record({ levelAdmin: level, entityOwner: fc.constantFrom(ENTITY, 'owner') }),
        level,
        fc.array(change, { minLength: 1, maxLength: 12 }),
        (rules, given, levelOnEntity, changes) => {
          const who = caller({ levelOnEntity });
          let access = room(rules, given);
          const rank = rankOf(who, access);
          const adminsAbove = ({ rules: all }: Room) =>
            [...all.values()].filter((one) => one.permissions.includes('a') && one.level > rank);
          const above = adminsAbove(access);

          for (const one of changes) {
            const after = applied(who, access, one);
            if (after === undefined) continue;
            access = after;

            expect(adminsAbove(access)).toEqual(above);
            expect(rankOf(who, access)).toBeLessThanOrEqual(rank);
          }
        },
      ),
    );
  });

  it('include every change of a rule without a, whatever its level', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 4 }), anyRule, (rules, wanted) => {
        const access = room(rules);
        // Admins who ban themselves remove nothing afterwards.
        fc.pre(isAdmin(caller(), access) && wanted.entityUUID !== USER);
        const before = access.rules.get(wanted.entityUUID);
        fc.pre([before, wanted].every((one) => !one?.permissions.includes('a')));

        const put = applied(caller(), access, wanted) ?? access;
        expect(put.rules.get(wanted.entityUUID)).toBe(wanted);
        expect(applied(caller(), put, wanted.entityUUID)?.rules.size).toBe(put.rules.size - 1);
      }),
    );
  });

  /** The room after the caller put a rule, or removed that of a UUID; undefined if that is refused. */
  function applied(who: Caller, access: Room, one: Rule | string): Room | undefined {
    const rules = new Map(access.rules);
    const refused = codeOf(() => {
      if (typeof one === 'string') {
        requireMayRemoveRule(who, access, one);
        rules.delete(one);
      } else {
        requireMayPutRule(who, access, one);
        rules.set(one.entityUUID, one);
      }
    });
    return refused === undefined ? { ...access, rules, ruleCount: rules.size } : undefined;
  }
});

describe('an invitation', () => {
  it('is the caller’s own rule', () => {
    const own = rule(USER, 'rw');

    expect(invitedRule(caller(), room([own, rule(ENTITY, 'rw')]), false)).toBe(own);
  });

  it('is NOT_FOUND without a rule', () => {
    expect(codeOf(() => invitedRule(caller(), room([rule(ENTITY, 'rw')]), false))).toBe(
      'NOT_FOUND',
    );
    expect(codeOf(() => invitedRule(caller(), room([rule(USER, 'rw')]), true))).toBe('NOT_FOUND');
  });

  it('is the entity’s rule, for members of its level', () => {
    const byEntity = rule(ENTITY, 'rw', { level: 5 });
    const access = room([byEntity]);

    expect(invitedRule(caller({ levelOnEntity: 5 }), access, true)).toBe(byEntity);
    expect(codeOf(() => invitedRule(caller({ levelOnEntity: 4 }), access, true))).toBe('FORBIDDEN');
  });

  it('cannot be answered by a banned user', () => {
    const access = room([rule(USER, 'rb'), rule(ENTITY, 'rw')]);

    expect(codeOf(() => invitedRule(caller(), access, false))).toBe('FORBIDDEN');
    expect(codeOf(() => invitedRule(caller(), access, true))).toBe('FORBIDDEN');
  });

  it('is the same rule if the caller is their own entity', () => {
    const own = rule(USER, 'rw', { level: 100 });
    const alone = caller({ entityUUID: USER });

    expect(invitedRule(alone, room([own]), true)).toBe(own);
  });
});

describe('the application’s server', () => {
  const server = caller({ isServer: true, levelOnEntity: 0 });

  it('has every permission and outranks every rule, whatever rules there are', () => {
    for (const type of ['group', 'user2user'] as const) {
      const rules = [rule(USER, 'b'), rule(OTHER, 'rwa', { level: 2_147_483_647 })];
      const access = room(rules, { type });

      expect(lettersOf(server, access)).toBe('rwa');
      expect(isBanned(server, access)).toBe(false);
      expect(isAdmin(server, access)).toBe(true);
      expect(codeOf(() => requireMayRemoveRule(server, access, OTHER))).toBeUndefined();
      expect(codeOf(() => requireMayPutRule(server, access, rule(OTHER, 'rw')))).toBeUndefined();
    }
  });

  it('adds no rule to a room that is full, and none of a stranger to a direct room', () => {
    const full = room([rule(USER, 'rw')], { maxEntityRules: 1 });
    const direct = { ...room([rule(USER, 'rw')], { type: 'user2user' }), pair: [USER, ENTITY] };

    expect(codeOf(() => requireMayPutRule(server, full, rule(OTHER, 'r')))).toBe('TOO_MANY_RULES');
    expect(codeOf(() => requireMayPutRule(server, direct, rule(OTHER, 'r')))).toBe('ROOM_FULL');
    expect(codeOf(() => requireMayPutRule(server, direct, rule(ENTITY, 'r')))).toBeUndefined();
  });

  it('invites by no rule that it removes, not even by a ban', () => {
    const removed = { ...rule(OTHER, ''), accepted: false };

    expect(isInvitation(removed, rule(OTHER, 'b'))).toBe(false);
    expect(isInvitation(removed, rule(OTHER, 'rw'))).toBe(false);
  });

  it('enters by no rule', () => {
    expect(enteringRule(server, room([rule(USER, 'rw')]))).toBeUndefined();
  });

  it('edits the messages of all, needs no level, and owns all rooms', () => {
    const others = [
      () => requireMayEdit(server, OTHER),
      () => requireLevel(server, 1_000),
      () => requireOwnEntity(server, room()),
      () => requireServer(server),
    ];
    expect(others.map(codeOf)).toEqual([undefined, undefined, undefined, undefined]);
    const nobody = caller({ levelOnEntity: 999 });
    const refused = [
      () => requireMayEdit(nobody, OTHER),
      () => requireLevel(nobody, 1_000),
      () => requireOwnEntity(nobody, room()),
      () => requireServer(nobody),
    ];
    expect(refused.map(codeOf)).toEqual(['FORBIDDEN', 'FORBIDDEN', 'FORBIDDEN', 'FORBIDDEN']);
  });
});

describe('the rule by which a caller enters', () => {
  it('is their own if it grants r, else their entity’s', () => {
    const byEntity = rule(ENTITY, 'rw');

    expect(enteringRule(caller(), room([rule(USER, 'r'), byEntity]))?.entityUUID).toBe(USER);
    expect(enteringRule(caller(), room([rule(USER, 'w'), byEntity]))).toBe(byEntity);
  });

  it('exists exactly if the caller may read', () => {
    const permissions = ['', 'r', 'w', 'rb', 'b', 'ra'];
    for (const own of [undefined, ...permissions]) {
      for (const byEntity of [undefined, ...permissions]) {
        for (const type of ['group', 'user2user'] as const) {
          const rules = [
            ...(own === undefined ? [] : [rule(USER, own)]),
            ...(byEntity === undefined ? [] : [rule(ENTITY, byEntity)]),
          ];
          const access = room(rules, { type });

          expect(enteringRule(caller(), access) !== undefined).toBe(may(caller(), access, 'r'));
        }
      }
    }
  });
});

function caller(given: Partial<Caller> = {}): Caller {
  return { userUUID: USER, entityUUID: ENTITY, levelOnEntity: 10, isServer: false, ...given };
}

/** A room with all of its rules. */
type Room = CountedAccess & { readonly rules: ReadonlyMap<string, Rule> };

function room(rules: readonly Rule[] = [], given: Partial<Omit<RoomAccess, 'rules'>> = {}): Room {
  return {
    type: 'group',
    entityOwner: 'owner',
    levelAdmin: 999,
    maxEntityRules: 10,
    ...given,
    ruleCount: rules.length,
    rules: new Map(rules.map((rule) => [rule.entityUUID, rule])),
  };
}

function rule(uuid: string, permissions: string, given: Partial<Rule> = {}): Rule {
  return { entityUUID: uuid, level: 0, permissions, accepted: false, ...given };
}

/** The letters that the caller has, in the order of `rwa`. */
function lettersOf(who: Caller, access: RoomAccess): string {
  return (['r', 'w', 'a'] as const).filter((letter) => may(who, access, letter)).join('');
}

/** The code of the thrown error, if any. */
function codeOf(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
}
