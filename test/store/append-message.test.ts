import { randomUUID } from 'node:crypto';
import { QueryTypes } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendEntries, type CheckedDraft, type Outcome } from '../../src/store/append.js';
import type { EntryDraft } from '../../src/store/entry.js';
import type { Store } from '../../src/store/store.js';
import { openPostgres, storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { addRule, emptyRoom, readAll, removeRoom } from '../harness/writers.js';

const emitter = randomUUID();

describe.each(storeHosts)('a message that is stored alone over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('returns the seq of the first message if its ref is known', async () => {
    const room = await emptyRoom(store);

    const first = await append(host, room, { ref: 'a' });
    const again = await append(host, room, { ref: 'a' });
    const changed = await append(host, room, { ref: 'a', content: 'changed' });
    const next = await append(host, room, { ref: 'b' });

    expect(first).toMatchObject({ outcome: 'stored', seq: 1 });
    expect(again).toEqual({ outcome: 'known', seq: 1 });
    expect(changed).toEqual({ outcome: 'used', seq: 1 });
    expect(next).toMatchObject({ outcome: 'stored', seq: 2 });
    expect(await store.log.heads([room])).toEqual(new Map([[room, 2]]));
    expect(await readAll(store.log, room)).toMatchObject([
      { seq: 1, content: 'hi', ref: 'a', emitter },
      { seq: 2, content: 'hi', ref: 'b', emitter },
    ]);
  });

  it('is stored with the date that is returned', async () => {
    const room = await emptyRoom(store);

    const stored = await append(host, room);

    const [entry] = await readAll(store.log, room);
    expect(stored).toEqual({ outcome: 'stored', seq: 1, createdAt: entry?.createdAt });
  });

  /** Without the rule, and with an entry of another date in its place. */
  it.each([0, 1])('is stale if the log of %i entries lacks the checked rule', async (head) => {
    const room = await emptyRoom(store);
    const first = await (head === 1 ? append(host, room, { ref: 'a' }) : undefined);
    const rule = { rulesHead: 1, rulesDate: '2026-01-01T00:00:00.000Z' };
    const wentBack = { outcome: 'stale' };
    expect(await append(host, room, {}, rule)).toEqual(wentBack);
    expect(await append(host, room, { ref: 'a' }, rule)).toEqual(wentBack);
    const draft = { roomId: room, kind: 'message', emitter, content: 'hi', ref: null } as const;
    const batch = [draft, draft].map((one) => ({ draft: one, ...rule }));
    expect(await appendEntries(host.database.runAppend, batch)).toEqual([wentBack, wentBack]);
    expect(await store.log.heads([room])).toEqual(new Map([[room, head]]));
    if (first?.outcome !== 'stored') return;
    // The same entry: neither alone nor in a batch are they stale.
    const kept = { rulesHead: 1, rulesDate: first.createdAt };
    expect(await append(host, room, {}, kept)).toMatchObject({ seq: 2 });
    expect(await append(host, room, { ref: 'a' }, kept)).toEqual({ outcome: 'known', seq: 1 });
    const again = [draft, draft].map((one) => ({ draft: one, ...kept }));
    expect(await appendEntries(host.database.runAppend, again)).toMatchObject([
      { seq: 3 },
      { seq: 4 },
    ]);
    // An operator may delete old entries.
    await host.database.sequelize.query(`DELETE FROM messages WHERE room_id = ${room} AND seq = 1`);
    expect(await append(host, room, {}, kept)).toMatchObject({ seq: 5 });
    expect(await appendEntries(host.database.runAppend, again)).toMatchObject([
      { seq: 6 },
      { seq: 7 },
    ]);
  });

  it('is stale under a newer rule, even if its ref is known, and takes no seq', async () => {
    const room = await emptyRoom(store);
    await append(host, room, { ref: 'a' });
    await addRule(store, room);

    expect(await append(host, room)).toEqual({ outcome: 'stale' });
    expect(await append(host, room, { ref: 'a' })).toEqual({ outcome: 'stale' });
    expect(await append(host, room, { ref: 'a' }, { rulesHead: 2 })).toEqual({
      outcome: 'known',
      seq: 1,
    });
    expect(await append(host, room, {}, { rulesHead: 2 })).toMatchObject({
      outcome: 'stored',
      seq: 3,
    });
  });

  it('is gone with its room', async () => {
    const room = await emptyRoom(store);
    await removeRoom(store, room);

    expect(await append(host, room)).toEqual({ outcome: 'gone' });
    expect(await append(host, room, { ref: 'a' })).toEqual({ outcome: 'gone' });
    expect(await readAll(store.log, room)).toEqual([]);
  });
});

describe('a message that waits for the lock of its room', () => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openPostgres();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('is gone if the room is deleted meanwhile', async () => {
    const room = await emptyRoom(store);

    const outcome = await whileLocked(room, 'DELETE FROM rooms WHERE id = $1');

    expect(outcome).toEqual({ outcome: 'gone' });
    expect(await readAll(store.log, room)).toEqual([]);
  });

  it('is stale if a rule is appended meanwhile', async () => {
    const room = await emptyRoom(store);

    const outcome = await whileLocked(
      room,
      'UPDATE rooms SET head = head + 1, rules_head = head + 1 WHERE id = $1',
    );

    expect(outcome).toEqual({ outcome: 'stale' });
    expect(await store.log.heads([room])).toEqual(new Map([[room, 1]]));
  });

  it('is known if another copy of it is stored meanwhile, and takes no seq', async () => {
    const room = await emptyRoom(store);

    const outcome = await whileLocked(
      room,
      `WITH place AS (UPDATE rooms SET head = head + 1 WHERE id = $1 RETURNING id, head)
       INSERT INTO messages (room_id, seq, kind, emitter, content, ref, "createdAt", "updatedAt")
       SELECT id, head, 'message', $2, 'hi', 'a', now(), now() FROM place`,
      emitter,
    );

    expect(outcome).toEqual({ outcome: 'known', seq: 1 });
    expect(await store.log.heads([room])).toEqual(new Map([[room, 1]]));
    expect(await append(host, room)).toMatchObject({ outcome: 'stored', seq: 2 });
  });

  it('is refused if its ref is used for another content meanwhile', async () => {
    const room = await emptyRoom(store);

    const outcome = await whileLocked(
      room,
      `WITH place AS (UPDATE rooms SET head = head + 1 WHERE id = $1 RETURNING id, head)
       INSERT INTO messages (room_id, seq, kind, emitter, content, ref, "createdAt", "updatedAt")
       SELECT id, head, 'message', $2, 'ho', 'a', now(), now() FROM place`,
      emitter,
    );

    expect(outcome).toEqual({ outcome: 'used', seq: 1 });
    expect(await append(host, room)).toMatchObject({ outcome: 'stored', seq: 2 });
  });

  it('gets the seq after the messages that were stored meanwhile', async () => {
    const room = await emptyRoom(store);

    const outcome = await whileLocked(room, 'UPDATE rooms SET head = head + 7 WHERE id = $1');

    expect(outcome).toMatchObject({ outcome: 'stored', seq: 8 });
  });

  /** The outcome of a message that is sent while a transaction with this statement is open. */
  async function whileLocked(
    room: number,
    statement: string,
    ...values: string[]
  ): Promise<Outcome | undefined> {
    const { sequelize } = host.database;
    let appending: Promise<Outcome | undefined> | undefined;
    await sequelize.transaction(async (transaction) => {
      await sequelize.query(statement, { bind: [room, ...values], transaction });
      appending = append(host, room, { ref: 'a' });
      for (let waiting = 0; waiting === 0;) {
        const rows = await sequelize.query(
          `SELECT 1 FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock'`,
          { type: QueryTypes.SELECT },
        );
        waiting = rows.length;
      }
    });
    return appending;
  }
});

/** Appends one message, whose emitter was checked under the rules up to that entry. */
async function append(
  host: StoreHost,
  room: number,
  given: Partial<EntryDraft> = {},
  checkedUnder: Pick<CheckedDraft, 'rulesHead' | 'rulesDate'> = { rulesHead: 0 },
): Promise<Outcome | undefined> {
  const draft = { roomId: room, kind: 'message', emitter, content: 'hi', ref: null } as const;
  const [outcome] = await appendEntries(host.database.runAppend, [
    { draft: { ...draft, ...given }, ...checkedUnder },
  ]);
  return outcome;
}
