import { randomUUID } from 'node:crypto';
import { QueryTypes } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Rule } from '../../src/access/permissions.js';
import { ChatError } from '../../src/errors.js';
import { ruleOf } from '../../src/store/entry.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { newCaller, readAll, removeRoom, roomDraft, say, TestWriter } from '../harness/writers.js';

describe.each(storeHosts)('rooms over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('are created with their first rules, as the first entries of their logs', async () => {
    const draft = { ...roomDraft(), name: 'La sala “ñ” 🎈', maxEntityRules: 3 };
    const creator = newCaller();
    const rules = [
      ruleFor(creator.userUUID, { permissions: 'rwa', level: 999, accepted: true }),
      ruleFor(creator.entityUUID, { level: 100 }),
    ];

    const room = await store.rooms.create(draft, rules, creator.userUUID);

    expect(room).toEqual({
      ...draft,
      data: null,
      id: expect.any(Number) as number,
      uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      createdAt: expect.any(Date) as Date,
      updatedAt: expect.any(Date) as Date,
    });
    const entries = await readAll(store.log, room.id);
    expect(entries.map(({ seq, kind, emitter }) => ({ seq, kind, emitter }))).toEqual([
      { seq: 1, kind: 'member', emitter: creator.userUUID },
      { seq: 2, kind: 'member', emitter: creator.userUUID },
    ]);
    expect(entries.map(ruleOf)).toEqual(rules);
    const access = await store.rooms.accessFor(creator, room.id);
    expect(rules.map(({ entityUUID }) => access?.rules.get(entityUUID))).toMatchObject([
      { since: 1 },
      { since: 2 },
    ]);
    const state = await store.log.state(room.id);
    expect(state).toMatchObject({ head: 2, rulesHead: 2 });
    expect(state?.access.rules).toEqual(new Map(rules.map((rule) => [rule.entityUUID, rule])));
  });

  it('are found by their uuids, many in one query', async () => {
    const creator = newCaller();
    const rooms = await Promise.all(
      [1, 2, 3].map(() => store.rooms.create(roomDraft(), [], creator.userUUID)),
    );
    const uuids = [...rooms.map(({ uuid }) => uuid), randomUUID()];
    const query = vi.spyOn(host.database.sequelize, 'query');

    const ids = await Promise.all([...uuids, ...uuids].map((uuid) => store.rooms.idOf(uuid)));

    expect(query).toHaveBeenCalledOnce();
    query.mockRestore();
    const expected = [...rooms.map(({ id }) => id), undefined];
    expect(ids).toEqual([...expected, ...expected]);
  });

  it('are created whole or not at all', async () => {
    const { userUUID } = newCaller();
    const twice = [ruleFor(userUUID), ruleFor(userUUID)];
    const before = await countRows('rooms');

    await expect(store.rooms.create(roomDraft(), twice, userUUID)).rejects.toBeInstanceOf(Error);

    expect(await countRows('rooms')).toBe(before);
  });

  it('are removed with their rules and their log, and no others', async () => {
    const { userUUID } = newCaller();
    const room = await store.rooms.create(roomDraft(), [ruleFor(userUUID)], userUUID);
    const other = await store.rooms.create(roomDraft(), [ruleFor(userUUID)], userUUID);
    await say(store.log, new TestWriter(room.id, { rulesHead: 1 }), 'hi');

    await removeRoom(store, room.id);

    expect(await store.log.state(room.id)).toBeUndefined();
    expect(await readAll(store.log, room.id)).toEqual([]);
    for (const table of ['room_permissions', 'messages']) {
      expect(await countRows(table, room.id)).toBe(0);
      expect(await countRows(table, other.id)).toBe(1);
    }
    await expect(removeRoom(store, room.id)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  it('stay if authorize, which gets the rules, throws', async () => {
    const { userUUID } = newCaller();
    const rule = ruleFor(userUUID);
    const room = await store.rooms.create(roomDraft(), [rule], userUUID);
    const refusal = new ChatError('FORBIDDEN');

    const removal = store.rooms.remove(room.id, newCaller({ userUUID }), ({ rules }) => {
      expect(rules.get(userUUID)).toMatchObject(rule);
      throw refusal;
    });

    await expect(removal).rejects.toBe(refusal);
    expect(await store.log.state(room.id)).toMatchObject({ head: 1 });
  });

  it('are removed once by many concurrent removals', async () => {
    const { id } = await store.rooms.create(roomDraft(), [], randomUUID());

    const outcomes = await Promise.allSettled(
      Array.from({ length: 5 }, () => removeRoom(store, id)),
    );

    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('keep no message that was appended during their removal', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { id } = await store.rooms.create(roomDraft(), [], randomUUID());
      const writer = new TestWriter(id);

      await Promise.allSettled([
        say(store.log, writer, 'before?'),
        removeRoom(store, id),
        say(store.log, writer, 'after?'),
      ]);

      expect(await countRows('messages', id)).toBe(0);
    }
  });

  describe('of a caller', () => {
    const caller = newCaller();
    const ids: number[] = [];

    beforeAll(async () => {
      // Rooms by a user's rule, an entity's, both, and none; then by an entity's rule that does not count.
      for (let n = 0; n < 11; n += 1) {
        const own = ruleFor(caller.userUUID, { accepted: n >= 4, level: n });
        const byEntity = ruleFor(caller.entityUUID, { accepted: true, permissions: 'r' });
        const rules = [
          [own],
          [byEntity],
          [own, byEntity],
          [],
          [own],
          [byEntity],
          [own, byEntity],
          [],
          [{ ...byEntity, permissions: 'rwb' }],
          [{ ...byEntity, level: 1 }],
          [byEntity],
        ][n];
        const room = await store.rooms.create(
          { ...roomDraft(), name: `${n}`, type: n === 10 ? 'user2user' : 'group' },
          [...(rules ?? []), ruleFor(randomUUID())],
          randomUUID(),
        );
        ids.push(room.id);
      }
    });

    it('are given once each, by the own rule or else the entity’s, the newest first', async () => {
      const rules = await store.rooms.rulesOf(caller, { limit: 100, offset: 0 });

      expect(rules.map(({ name, entityUUID }) => [name, entityUUID])).toEqual([
        ['6', caller.userUUID],
        ['5', caller.entityUUID],
        ['4', caller.userUUID],
        ['2', caller.userUUID],
        ['1', caller.entityUUID],
        ['0', caller.userUUID],
      ]);
      const newest = rules.find(({ name }) => name === '4');
      const room = await store.log.state(ids[4] ?? 0);
      expect(newest).toEqual({
        id: ids[4],
        uuid: expect.any(String) as string,
        name: '4',
        type: 'group',
        levelAdmin: 999,
        entityOwner: room?.access.entityOwner,
        roomId: ids[4],
        entityUUID: caller.userUUID,
        level: 4,
        permissions: 'rw',
        accepted: true,
        createdAt: expect.any(Date) as Date,
        updatedAt: expect.any(Date) as Date,
      });
    });

    it('are given by the rule of an entity from its level on', async () => {
      const chief = { ...caller, levelOnEntity: 1 };

      const rules = await store.rooms.rulesOf(chief, { limit: 100, offset: 0 });

      expect(rules.map(({ name }) => name)).toEqual(['9', '6', '5', '4', '2', '1', '0']);
    });

    it.each([
      // Room 2 has the caller's own rule, not accepted, and the entity's, accepted.
      ['accepted ones', { accepted: true }, ['6', '5', '4', '1']],
      ['those not accepted', { accepted: false }, ['2', '0']],
      ['both', { accepted: undefined }, ['6', '5', '4', '2', '1', '0']],
    ])('are filtered by the rule that is given: %s', async (_, filter, names) => {
      const rules = await store.rooms.rulesOf(caller, { ...filter, limit: 100, offset: 0 });

      expect(rules.map(({ name }) => name)).toEqual(names);
    });

    it('are given in pages, each room on one of them', async () => {
      const all = await store.rooms.rulesOf(caller, { limit: 100, offset: 0 });

      const pages = await Promise.all(
        [0, 4, 8].map((offset) => store.rooms.rulesOf(caller, { limit: 4, offset })),
      );

      expect(pages.map((page) => page.length)).toEqual([4, 2, 0]);
      expect(pages.flat()).toEqual(all);
    });

    it('are given to a caller who is their own entity', async () => {
      const { userUUID } = caller;

      const rules = await store.rooms.rulesOf(newCaller({ userUUID, entityUUID: userUUID }), {
        limit: 100,
        offset: 0,
      });

      expect(rules.map(({ name }) => name)).toEqual(['6', '4', '2', '0']);
    });
  });

  async function countRows(table: string, roomId?: number): Promise<number> {
    const where = roomId === undefined ? '' : `WHERE room_id = ${roomId}`;
    const [row] = await host.database.sequelize.query<{ count: number }>(
      `SELECT count(*) AS count FROM ${table} ${where}`,
      { type: QueryTypes.SELECT },
    );
    return row?.count ?? Number.NaN;
  }
});

function ruleFor(uuid: string, given: Partial<Rule> = {}): Rule {
  return { entityUUID: uuid, level: 0, permissions: 'rw', accepted: false, ...given };
}
