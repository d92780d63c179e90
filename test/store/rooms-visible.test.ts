import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  countingRules,
  isBanned,
  may,
  type Caller,
  type RoomAccess,
  type Rule,
} from '../../src/access/permissions.js';
import type { Room } from '../../src/store/models/room.js';
import type { ListedRoom } from '../../src/store/rooms.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { newCaller } from '../harness/writers.js';

/** The number of UUIDs in the rules, rooms and callers of one run. */
const UUIDS = 4;

const ruleArbitrary = fc.record({
  uuid: fc.nat(UUIDS - 1),
  level: fc.constantFrom(0, 1, 100, 2_147_483_647),
  permissions: fc.subarray(['r', 'w', 'b', 'a']).map((letters) => letters.join('')),
  accepted: fc.boolean(),
});

const roomArbitrary = fc.record({
  type: fc.constantFrom('group' as const, 'user2user' as const),
  owner: fc.nat(UUIDS - 1),
  rules: fc.uniqueArray(ruleArbitrary, { selector: ({ uuid }) => uuid, maxLength: UUIDS }),
});

const callerArbitrary = fc.record({
  user: fc.nat(UUIDS - 1),
  entity: fc.nat(UUIDS - 1),
  // A token's levelOnEntity is any number, even one that a column of rules cannot hold.
  levelOnEntity: fc.oneof(
    fc.constantFrom(-1, 0, 0.5, 1, 99, 99.5, 100, 2_147_483_648, 1e21, -1e300, Number.MAX_VALUE),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
  ),
});

describe.each(storeHosts)('rooms that a caller sees over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('are those that their rules let them read, and their entity’s groups', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(roomArbitrary, { minLength: 1, maxLength: 4 }),
        fc.array(callerArbitrary, { minLength: 1, maxLength: 4 }),
        async (drafts, callers) => {
          const uuids = Array.from({ length: UUIDS }, () => randomUUID());
          const rooms: { room: Room; access: RoomAccess }[] = [];
          for (const { type, owner, rules: given } of drafts) {
            const rules = given.map(({ uuid, ...rule }): Rule => ({
              ...rule,
              entityUUID: uuids[uuid] ?? '',
            }));
            const draft = {
              name: 'a room',
              type,
              entityOwner: uuids[owner] ?? '',
              levelAdmin: 0,
              maxEntityRules: 10,
            };
            rooms.push({
              room: await store.rooms.create(draft, rules, randomUUID()),
              access: { ...draft, rules: new Map(rules.map((rule) => [rule.entityUUID, rule])) },
            });
          }
          for (const { user, entity, levelOnEntity } of callers) {
            const caller = {
              userUUID: uuids[user] ?? '',
              entityUUID: uuids[entity] ?? '',
              levelOnEntity,
              isServer: false,
            };
            expect(await visibleTo(caller)).toMatchObject(
              rooms.filter(({ access }) => sees(caller, access)).map(({ room }) => asJson(room)),
            );
            for (const accepted of [undefined, true, false]) {
              expect(await listed(caller, accepted)).toEqual(
                rooms
                  .map(({ room, access }) => ({ room, rule: ruleOf(caller, access) }))
                  .filter(({ rule }) => rule && (accepted ?? rule.accepted) === rule.accepted)
                  .map(({ room, rule }) => ({ id: room.id, ...rule }))
                  .toReversed(),
              );
            }
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it.each([0.5, 1e10, -1e300])('are found at the level %d too', async (levelOnEntity) => {
    const caller = newCaller({ levelOnEntity });
    const rule = { entityUUID: caller.userUUID, level: 0, permissions: 'r', accepted: false };
    const room = await store.rooms.create(
      {
        name: 'a room',
        type: 'group',
        entityOwner: randomUUID(),
        levelAdmin: 0,
        maxEntityRules: 10,
      },
      [rule],
      caller.userUUID,
    );

    expect(await visibleTo(caller)).toMatchObject([asJson(room)]);
  });

  /** The list of GET /rooms: each room with its rule. */
  async function listed(
    caller: Caller,
    accepted: boolean | undefined,
  ): Promise<(Rule & { id: number })[]> {
    const rules = await store.rooms.rulesOf(caller, { accepted, limit: 1_000, offset: 0 });
    return rules.map((rule) => ({
      id: rule.id,
      entityUUID: rule.entityUUID,
      level: rule.level,
      permissions: rule.permissions,
      accepted: rule.accepted,
    }));
  }

  async function visibleTo(caller: Caller): Promise<ListedRoom[]> {
    const rooms: ListedRoom[] = [];
    for await (const page of store.rooms.visibleTo(caller)) rooms.push(...page);
    return rooms;
  }
});

/** A room as the list has it: without its `data`. */
function asJson(room: Room): object {
  return JSON.parse(JSON.stringify({ ...room, data: undefined })) as object;
}

function ruleOf(caller: Caller, room: RoomAccess): Rule | undefined {
  const { own, entity } = countingRules(caller, room);
  return own ?? entity;
}

function sees(caller: Caller, room: RoomAccess): boolean {
  const ofTheirGroup = room.type === 'group' && room.entityOwner === caller.entityUUID;
  return may(caller, room, 'r') || (ofTheirGroup && !isBanned(caller, room));
}
