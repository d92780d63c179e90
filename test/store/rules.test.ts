import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { QueryTypes, UniqueConstraintError } from 'sequelize';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { requireMayPutRule, type CountedAccess, type Rule } from '../../src/access/permissions.js';
import { ChatError } from '../../src/errors.js';
import { ruleOf } from '../../src/store/entry.js';
import type { RuleRow } from '../../src/store/models/rule.js';
import type { Store } from '../../src/store/store.js';
import { openPostgres, storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import {
  emptyRoom,
  entryOf,
  newCaller,
  readAll,
  removeRule,
  roomDraft,
  say,
  setRule,
  TestWriter,
  writerOver,
} from '../harness/writers.js';

const NO_ROOM = 2_147_483_647;

describe.each(storeHosts)('the rules of a room over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  /** The store of a second node. */
  let elsewhere: Store;
  let room: number;
  const admin = newCaller();

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    elsewhere = storeOver(await host.another());
  });
  beforeEach(async () => {
    room = await emptyRoom(store);
  });
  afterAll(() => host.close());

  it('are added: the entry has the next number, and raises the rules head', async () => {
    await say(store.log, new TestWriter(room), 'hi');
    const rule = newRule();

    const added = await setRule(store, room, rule, admin);

    expect(added).toMatchObject({ before: undefined, rule: { ...rule, roomId: room } });
    expect(added.rule.createdAt).toBeInstanceOf(Date);
    const entry = entryOf(added);
    expect(entry).toMatchObject({
      roomId: room,
      seq: 2,
      kind: 'member',
      emitter: admin.userUUID,
      ref: null,
    });
    expect(ruleOf(entry)).toEqual(rule);
    expect((await readAll(store.log, room))[1]).toEqual(entry);
    const state = await store.log.state(room);
    expect(state).toMatchObject({ head: 2, rulesHead: 2 });
    expect(state?.access.rules).toEqual(new Map([[rule.entityUUID, rule]]));
  });

  it('are changed: the same rule, told from an added one', async () => {
    const rule = newRule();
    const changedRule = { ...rule, permissions: 'r', level: 3, accepted: true };
    const added = await setRule(store, room, rule);

    const changed = await setRule(store, room, changedRule);

    expect(changed).toMatchObject({ before: rule, rule: changedRule });
    expect(changed.rule.createdAt).toEqual(added.rule.createdAt);
    expect(ruleOf(entryOf(changed))).toEqual(changedRule);
    expect(await store.log.state(room)).toMatchObject({ head: 2, rulesHead: 2 });
    expect(await rulesOf(room)).toEqual([changedRule]);
    expect(await storedRow(room, rule.entityUUID)).toEqual(changed.rule);
  });

  it('keep the number of the entry that added them until they are removed', async () => {
    const rule = newRule();
    const other = newRule();
    await say(store.log, new TestWriter(room), 'hi');
    // Two changes of one transaction, behind one that holds the room's turn.
    const [, added, another] = await Promise.all([
      setRule(store, room, newRule()),
      setRule(store, room, rule),
      setRule(store, room, other),
    ]);
    expect([added.rule.since, another.rule.since]).toEqual([3, 4]);

    await setRule(store, room, { ...rule, permissions: 'r', accepted: true });
    expect(await storedRow(room, rule.entityUUID)).toMatchObject({ since: 3, accepted: true });

    await removeRule(store, room, rule.entityUUID);
    const { seq } = entryOf(await setRule(store, room, rule));
    expect(await storedRow(room, rule.entityUUID)).toMatchObject({ since: seq });
    expect(await storedRow(room, other.entityUUID)).toMatchObject({ since: 4 });
  });

  it('are removed: the entry is a rule without permissions', async () => {
    const rule = newRule();
    const other = newRule();
    await setRule(store, room, rule);
    await setRule(store, room, other);

    const removed = await removeRule(store, room, rule.entityUUID);

    expect(removed).toMatchObject({ before: rule, rule });
    expect(ruleOf(entryOf(removed))).toEqual({ ...rule, permissions: '' });
    expect(await store.log.state(room)).toMatchObject({ head: 3, rulesHead: 3 });
    expect(await rulesOf(room)).toEqual([other]);
  });

  it('that are set as they are stay untouched, and have no entry', async () => {
    const rule = newRule();
    const added = await setRule(store, room, rule);

    const again = await setRule(elsewhere, room, { ...rule });

    expect(again).toEqual({ rule: added.rule, before: added.rule, entry: undefined });
    expect(await store.log.state(room)).toMatchObject({ head: 1, rulesHead: 1 });
    expect(await storedRow(room, rule.entityUUID)).toEqual(added.rule);
  });

  it.each(['level', 'permissions', 'accepted'])(
    'have an entry if %s alone changes',
    async (key) => {
      const rule = newRule();
      await setRule(store, room, rule);

      const other = { level: 2, permissions: 'r', accepted: true };
      const changed = await setRule(store, room, { ...rule, ...pick(other, key) });

      expect(ruleOf(entryOf(changed))).toEqual({ ...rule, ...pick(other, key) });
      // Consent alone changes no right: a sender who was checked under the rule before may write.
      const rulesHead = key === 'accepted' ? 1 : 2;
      expect(await store.log.state(room)).toMatchObject({ head: 2, rulesHead });
    },
  );

  it('make no message stale that comes with their consent', async () => {
    const rule = newRule();
    await setRule(store, room, rule);
    const writer = new TestWriter(room, { rulesHead: 1 });

    await setRule(elsewhere, room, { ...rule, accepted: true });

    expect(await say(store.log, writer, 'hi')).toEqual({ seq: 3, known: false });
  });

  it('stay as they are if decide throws', async () => {
    const rule = newRule();
    await setRule(store, room, rule);
    const refusal = new ChatError('OUTRANKED');

    const change = store.rules.change(room, admin, rule.entityUUID, () => {
      throw refusal;
    });

    await expect(change).rejects.toBe(refusal);
    expect(await store.log.state(room)).toMatchObject({ head: 1, rulesHead: 1 });
    expect(await rulesOf(room)).toEqual([rule]);
  });

  it('stay as they are if the entry cannot be appended', async () => {
    const { sequelize } = host.database;
    await sequelize.query(
      `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       VALUES ($1, 1, 'message', $2, 'in the way', now(), now())`,
      { bind: [room, admin.userUUID] },
    );

    await expect(setRule(store, room, newRule())).rejects.toBeInstanceOf(UniqueConstraintError);

    expect(await store.log.state(room)).toMatchObject({ head: 0, rulesHead: 0 });
    expect(await rulesOf(room)).toEqual([]);
  });

  it('are NOT_FOUND if the room or the rule does not exist', async () => {
    for (const id of [room, NO_ROOM]) {
      const removal = removeRule(store, id, admin.userUUID);
      await expect(removal).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
    await expect(setRule(store, NO_ROOM, newRule())).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await store.log.state(room)).toMatchObject({ head: 0 });
  });

  it('give decide the rules that permissions depend on, and no others', async () => {
    const draft = { ...roomDraft(), maxEntityRules: 100 };
    const [own, byEntity, target, ...others] = Array.from({ length: 50 }, newRule);
    if (own === undefined || byEntity === undefined || target === undefined) throw new Error();
    const { id } = await store.rooms.create(
      draft,
      [own, byEntity, target, ...others],
      admin.userUUID,
    );
    const caller = newCaller({ userUUID: own.entityUUID, entityUUID: byEntity.entityUUID });
    const seen: CountedAccess[] = [];

    await removeRule(store, id, target.entityUUID);
    await store.rules.change(id, caller, target.entityUUID, (access) => {
      seen.push({ ...access });
      return target;
    });

    const { type, entityOwner, levelAdmin, maxEntityRules } = draft;
    expect(seen).toHaveLength(2);
    for (const access of seen) {
      expect(access).toMatchObject({ type, entityOwner, levelAdmin, maxEntityRules });
      expect(access.ruleCount).toBe(49);
      expect(access.rules.get(own.entityUUID)).toMatchObject(own);
      expect(access.rules.get(byEntity.entityUUID)).toMatchObject(byEntity);
      for (const { entityUUID } of others) expect(access.rules.get(entityUUID)).toBeUndefined();
    }
  });

  it('are changed one after the other: never more than the room takes', async () => {
    const owner = newCaller({ levelOnEntity: 999 });
    const { id } = await store.rooms.create(
      { ...roomDraft(), entityOwner: owner.entityUUID, maxEntityRules: 7 },
      [],
      owner.userUUID,
    );

    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) => {
        const { rules } = index % 2 === 0 ? store : elsewhere;
        const rule = newRule();
        return rules.change(id, owner, rule.entityUUID, (access) => {
          requireMayPutRule(owner, access, rule);
          return rule;
        });
      }),
    );

    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused).toHaveLength(13);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'TOO_MANY_RULES' });
    expect(await rulesOf(id)).toHaveLength(7);
    const entries = await readAll(store.log, id);
    expect(entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('are counted as they are added, changed and removed, also several at once', async () => {
    const [first, ...others] = Array.from({ length: 8 }, newRule);
    if (first === undefined) throw new Error();
    const { id } = await store.rooms.create(roomDraft(), [first, newRule()], admin.userUUID);
    expect(await countsOf(id)).toEqual({ kept: 2, counted: 2 });

    await Promise.all([
      ...others.map((rule, n) => setRule(n % 2 === 0 ? store : elsewhere, id, rule)),
      setRule(store, id, { ...first, level: 7 }),
    ]);
    expect(await countsOf(id)).toEqual({ kept: 9, counted: 9 });

    await Promise.allSettled([
      ...others.slice(3).map((rule) => removeRule(store, id, rule.entityUUID)),
      removeRule(elsewhere, id, randomUUID()),
      setRule(store, id, { ...newRule(), level: 2 ** 31 }),
    ]);
    expect(await countsOf(id)).toEqual({ kept: 5, counted: 5 });
  });

  it('that are changed concurrently are as the last change left them', async () => {
    const rule = newRule();
    const changes = Array.from({ length: 30 }, (_, n) =>
      n % 3 === 2
        ? removeRule(store, room, rule.entityUUID)
        : setRule(store, room, { ...rule, level: n }),
    );

    const answers = await Promise.allSettled(changes);

    const changed = answers.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const entries = await readAll(store.log, room);
    expect(changed.map(entryOf).toSorted((a, b) => a.seq - b.seq)).toEqual(entries);
    const state = new Map<string, Rule>();
    for (const entry of entries) {
      const { entityUUID, ...set } = ruleOf(entry);
      if (set.permissions === '') state.delete(entityUUID);
      else state.set(entityUUID, { entityUUID, ...set });
    }
    expect(await rulesOf(room)).toEqual([...state.values()]);
  });

  it('are changed in few transactions by many concurrent changes', async () => {
    const rules = Array.from({ length: 100 }, newRule);
    const transaction = vi.spyOn(host.database.sequelize, 'transaction');

    await Promise.all(rules.map((rule) => setRule(store, room, rule)));

    expect(transaction.mock.calls.length).toBeLessThan(20);
    transaction.mockRestore();
    expect(new Set((await rulesOf(room)).map(({ entityUUID }) => entityUUID))).toEqual(
      new Set(rules.map(({ entityUUID }) => entityUUID)),
    );
  });

  it('that cannot be stored fail alone', async () => {
    const rules = Array.from({ length: 10 }, newRule);
    const poisoned = { ...newRule(), level: 2 ** 31 };

    const answers = await Promise.allSettled(
      [...rules.slice(0, 5), poisoned, ...rules.slice(5)].map((rule) => setRule(store, room, rule)),
    );

    expect(answers.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(answers[5]).toMatchObject({ status: 'rejected' });
    expect(new Set(await rulesOf(room))).toEqual(new Set(rules));
  });

  it('get their numbers among those of messages that are sent at the same time', async () => {
    const writer = writerOver(store.log, room);
    const rule = newRule();

    await Promise.all(
      Array.from({ length: 15 }, (_, n) => [
        say(store.log, writer, `${n}`),
        setRule(n % 2 === 0 ? store : elsewhere, room, { ...rule, level: n }),
      ]).flat(),
    );

    const entries = await readAll(store.log, room);
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
    const rules = entries.filter(({ kind }) => kind === 'member');
    expect(rules).toHaveLength(15);
    expect(entries).toHaveLength(30);
    const last = rules.at(-1);
    expect(await store.log.state(room)).toMatchObject({ head: 30, rulesHead: last?.seq });
    expect(await rulesOf(room)).toEqual(last === undefined ? [] : [ruleOf(last)]);
  });

  async function rulesOf(roomId: number): Promise<Rule[]> {
    const state = await store.log.state(roomId);
    return [...(state?.access.rules.values() ?? [])];
  }

  /** The number of a room's rules: by the counter in its row, and counted. */
  async function countsOf(roomId: number): Promise<{ kept: number; counted: number } | undefined> {
    const [counts] = await host.database.sequelize.query<{ kept: number; counted: number }>(
      `SELECT rule_count AS kept, (SELECT count(*) FROM room_permissions WHERE room_id = $1) AS counted
       FROM rooms WHERE id = $1`,
      { bind: [roomId], type: QueryTypes.SELECT },
    );
    return counts;
  }

  async function storedRow(roomId: number, uuid: string): Promise<RuleRow | undefined> {
    const [row] = await host.database.sequelize.query<RuleRow>(
      `SELECT room_id AS "roomId", "entity_UUID" AS "entityUUID", level, permissions, accepted, unblocked,
         since, "createdAt", "updatedAt"
       FROM room_permissions WHERE room_id = $1 AND "entity_UUID" = $2`,
      { bind: [roomId, uuid], type: QueryTypes.SELECT },
    );
    return row;
  }
});

describe('changes of a room that stays locked', () => {
  it('are refused together, instead of each after its own wait', async () => {
    const host = await openPostgres();
    const holder = new Client({ connectionString: host.url });
    try {
      const store = storeOver(host.database);
      const room = await emptyRoom(store);
      await holder.connect();
      await holder.query('BEGIN');
      await holder.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', [room]);
      const transaction = vi.spyOn(host.database.sequelize, 'transaction');

      const answers = await Promise.allSettled(
        Array.from({ length: 20 }, () => setRule(store, room, newRule())),
      );

      for (const answer of answers) {
        expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'UNAVAILABLE' } });
      }
      expect(transaction).toHaveBeenCalledTimes(1);
      await holder.query('ROLLBACK');
      expect(await setRule(store, room, newRule())).toMatchObject({ before: undefined });
    } finally {
      await holder.end();
      await host.close();
    }
  });
});

function newRule(): Rule {
  return { entityUUID: randomUUID(), level: 1, permissions: 'rw', accepted: false };
}

function pick<T extends object>(from: T, key: string): Partial<T> {
  return Object.fromEntries(Object.entries(from).filter(([name]) => name === key)) as Partial<T>;
}
