import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { requireMayPutRule, type Rule } from '../../src/access/permissions.js';
import { ChatError } from '../../src/errors.js';
import { ruleOf } from '../../src/store/entries.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, readAll, roomDraft, say, TestWriter } from '../harness/writers.js';

const NO_ROOM = 2_147_483_647;

describe.each(storeHosts)('the rules of a room over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  /** Of a second node. */
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

    const added = await store.rules.change(room, admin.userUUID, () => ({ set: rule }));

    expect(added).toMatchObject({ created: true, rule: { ...rule, room_id: room } });
    expect(added.rule.createdAt).toBeInstanceOf(Date);
    expect(added.entry).toMatchObject({
      room_id: room,
      seq: 2,
      kind: 'rule',
      emitter: admin.userUUID,
      ref: null,
    });
    expect(ruleOf(added.entry)).toEqual(rule);
    expect((await readAll(store.log, room))[1]).toEqual(added.entry);
    const state = await store.log.state(room);
    expect(state).toMatchObject({ head: 2, rulesHead: 2 });
    expect(state?.access.rules).toEqual(new Map([[rule.entity_UUID, rule]]));
  });

  it('are changed: the same rule, told from an added one', async () => {
    const rule = newRule();
    const changedRule = { ...rule, permissions: 'r', level: 3, accepted: true };
    const added = await store.rules.change(room, admin.userUUID, () => ({ set: rule }));

    const changed = await store.rules.change(room, admin.userUUID, () => ({ set: changedRule }));

    expect(changed).toMatchObject({ created: false, rule: changedRule });
    expect(changed.rule.createdAt).toEqual(added.rule.createdAt);
    expect(ruleOf(changed.entry)).toEqual(changedRule);
    expect(await store.log.state(room)).toMatchObject({ head: 2, rulesHead: 2 });
    expect(await rulesOf(room)).toEqual([changedRule]);
  });

  it('are removed: the entry is a rule without permissions', async () => {
    const rule = newRule();
    const other = newRule();
    await store.rules.change(room, admin.userUUID, () => ({ set: rule }));
    await store.rules.change(room, admin.userUUID, () => ({ set: other }));

    const removed = await store.rules.change(room, admin.userUUID, () => ({
      remove: rule.entity_UUID,
    }));

    expect(removed).toMatchObject({ created: false, rule });
    expect(ruleOf(removed.entry)).toEqual({ ...rule, permissions: '' });
    expect(await store.log.state(room)).toMatchObject({ head: 3, rulesHead: 3 });
    expect(await rulesOf(room)).toEqual([other]);
  });

  it('stay as they are where decide throws', async () => {
    const rule = newRule();
    await store.rules.change(room, admin.userUUID, () => ({ set: rule }));
    const refusal = new ChatError('OUTRANKED');

    const change = store.rules.change(room, admin.userUUID, () => {
      throw refusal;
    });

    await expect(change).rejects.toBe(refusal);
    expect(await store.log.state(room)).toMatchObject({ head: 1, rulesHead: 1 });
    expect(await rulesOf(room)).toEqual([rule]);
  });

  it('stay as they are where the entry can not be appended', async () => {
    const change = store.rules.change(room, 'no UUID', () => ({ set: newRule() }));

    await expect(change).rejects.toThrow(/uuid/);
    expect(await store.log.state(room)).toMatchObject({ head: 0, rulesHead: 0 });
    expect(await rulesOf(room)).toEqual([]);
  });

  it('are NOT_FOUND where the room or the rule is not there', async () => {
    const decide = (): { remove: string } => ({ remove: admin.userUUID });

    await expect(store.rules.change(room, admin.userUUID, decide)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(store.rules.change(NO_ROOM, admin.userUUID, decide)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(await store.log.state(room)).toMatchObject({ head: 0 });
  });

  it('tell decide what permissions depend on', async () => {
    const draft = roomDraft();
    const rule = newRule();
    const { id } = await store.rooms.create(draft, [rule], admin.userUUID);
    let seen: unknown;

    await store.rules.change(id, admin.userUUID, (access) => {
      seen = access;
      return { remove: rule.entity_UUID };
    });

    const { type, entity_owner, level_admin, max_entity_rules } = draft;
    expect(seen).toMatchObject({ type, entity_owner, level_admin, max_entity_rules });
    expect((seen as { rules: Map<string, Rule> }).rules.get(rule.entity_UUID)).toMatchObject(rule);
  });

  it('are changed one after the other: never more than the room takes', async () => {
    const owner = newCaller({ levelOnEntity: 999 });
    const { id } = await store.rooms.create(
      { ...roomDraft(), entity_owner: owner.entityUUID, max_entity_rules: 7 },
      [],
      owner.userUUID,
    );

    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) => {
        const { rules } = index % 2 === 0 ? store : elsewhere;
        const rule = newRule();
        return rules.change(id, owner.userUUID, (access) => {
          requireMayPutRule(owner, access, rule);
          return { set: rule };
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

  it('take their place among the messages that come at the same time', async () => {
    const writer = new TestWriter(room);
    const rule = newRule();

    await Promise.all(
      Array.from({ length: 15 }, (_, n) => [
        say(store.log, writer, `${n}`),
        (n % 2 === 0 ? store : elsewhere).rules.change(room, admin.userUUID, () => ({
          set: { ...rule, level: n },
        })),
      ]).flat(),
    );

    const entries = await readAll(store.log, room);
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
    const rules = entries.filter(({ kind }) => kind === 'rule');
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
});

function newRule(): Rule {
  return { entity_UUID: randomUUID(), level: 1, permissions: 'rw', accepted: false };
}
