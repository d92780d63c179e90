import { QueryTypes } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { openPostgres, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, readAll, say, TestWriter } from '../harness/writers.js';

describe('the log while Postgres is away', () => {
  let host: StoreHost;
  /** On connections that no test cuts. */
  let store: Store;

  beforeAll(async () => {
    host = await openPostgres();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('is UNAVAILABLE once the pool is closed', async () => {
    const database = await host.another();
    const { log } = storeOver(database);
    const writer = new TestWriter(await emptyRoom(store));
    await database.close();

    await expect(say(log, writer, 'one')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(say(log, writer, 'two')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await readAll(store.log, writer.roomId)).toEqual([]);
  });

  it('refuses messages of a locked room with UNAVAILABLE, and stores the rest of the batch', async () => {
    const { sequelize } = host.database;
    const { log } = storeOver(await host.another());
    const [locked, other] = [
      new TestWriter(await emptyRoom(store)),
      new TestWriter(await emptyRoom(store)),
    ];

    const outcomes = await sequelize.transaction(async (transaction) => {
      await sequelize.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', {
        bind: [locked.roomId],
        transaction,
      });
      return Promise.allSettled([say(log, locked, 'one'), say(log, other, 'two')]);
    });

    expect(outcomes).toMatchObject([
      { status: 'rejected', reason: { code: 'UNAVAILABLE', detail: 'the room is locked' } },
      { status: 'fulfilled', value: { seq: 1 } },
    ]);
    expect(await say(log, locked, 'three')).toEqual({ seq: 1, known: false });
    await log.close();
  });

  it('stores other rooms of a batch while one is locked, and retries that one apart', async () => {
    const { sequelize } = host.database;
    const { log } = storeOver(await host.another());
    const writers: TestWriter[] = [];
    for (let rooms = 0; rooms < 4; rooms += 1) {
      writers.push(new TestWriter(await emptyRoom(store)));
    }
    const [locked, ...others] = writers;
    if (locked === undefined) throw new Error('no room');

    const waiting = await sequelize.transaction(async (transaction) => {
      await sequelize.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', {
        bind: [locked.roomId],
        transaction,
      });
      const first = say(log, locked, 'one');
      const stored = others.map((writer) => say(log, writer, 'hi'));
      const second = say(log, locked, 'two');
      expect(await Promise.all(stored)).toEqual(others.map(() => ({ seq: 1, known: false })));
      return [first, second];
    });

    expect(await Promise.all(waiting)).toEqual([
      { seq: 1, known: false },
      { seq: 2, known: false },
    ]);
    expect((await readAll(log, locked.roomId)).map(({ content }) => content)).toEqual([
      'one',
      'two',
    ]);
    await log.close();
  });

  it('refuses a lone message of a locked room with UNAVAILABLE, and stores later ones', async () => {
    const { sequelize } = host.database;
    const { log } = storeOver(await host.another());
    const writer = new TestWriter(await emptyRoom(store));

    await sequelize.transaction(async (transaction) => {
      await sequelize.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', {
        bind: [writer.roomId],
        transaction,
      });
      await expect(say(log, writer, 'one')).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        detail: 'the room is locked',
      });
    });

    expect(await say(log, writer, 'two')).toEqual({ seq: 1, known: false });
    await log.close();
  });

  it('refuses messages in flight on a cut connection with UNAVAILABLE, and opens a new one', async () => {
    const { sequelize } = host.database;
    const { log } = storeOver(await host.another());
    const writer = new TestWriter(await emptyRoom(store));

    const outcomes = await sequelize.transaction(async (transaction) => {
      // The batch waits for its room's lock until its connection is cut.
      await sequelize.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', {
        bind: [writer.roomId],
        transaction,
      });
      const sent = Promise.allSettled([say(log, writer, 'one'), say(log, writer, 'two')]);
      for (let cut = 0; cut === 0;) {
        const rows = await sequelize.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock'`,
          { type: QueryTypes.SELECT },
        );
        cut = rows.length;
      }
      return sent;
    });
    const next = await say(log, writer, 'three');

    expect(outcomes).toMatchObject([
      { status: 'rejected', reason: { code: 'UNAVAILABLE' } },
      { status: 'rejected', reason: { code: 'UNAVAILABLE' } },
    ]);
    expect(next).toEqual({ seq: 1, known: false });
    const entries = await readAll(store.log, writer.roomId);
    expect(entries.map(({ content }) => content)).toEqual(['three']);
  });
});
