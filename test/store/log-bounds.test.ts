import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { deferred } from '../harness/deferred.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { addRule, emptyRoom, readAll, say, TestWriter } from '../harness/writers.js';

const UNAVAILABLE = { status: 'rejected', reason: { code: 'UNAVAILABLE' } };
const STORED = { status: 'fulfilled' };

describe.each(storeHosts)('the bounds of the log over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('hold for the number of queued messages', async () => {
    const { log } = storeOver(host.database, { logQueueEntries: 2 });
    const rooms = await Promise.all([emptyRoom(store), emptyRoom(store)]);
    const [writer, elsewhere] = rooms.map((room) => new TestWriter(room)) as [
      TestWriter,
      TestWriter,
    ];

    const outcomes = await Promise.allSettled([
      say(log, writer, 'one'),
      say(log, elsewhere, 'two'),
      say(log, writer, 'one too many'),
    ]);

    expect(outcomes).toMatchObject([STORED, STORED, UNAVAILABLE]);
    await Promise.all([say(log, writer, 'three'), say(log, writer, 'four')]);
    expect(await contentsOf(writer)).toEqual(['one', 'three', 'four']);
  });

  it('hold for the bytes of queued messages', async () => {
    const { log } = storeOver(host.database, { logQueueBytes: 10 });
    const writer = new TestWriter(await emptyRoom(store));

    const outcomes = await Promise.allSettled([
      say(log, writer, 'ééé'),
      say(log, writer, 'ñññ'),
      say(log, writer, 'abcd'),
      say(log, writer, 'x'),
    ]);

    expect(outcomes).toMatchObject([STORED, UNAVAILABLE, STORED, UNAVAILABLE]);
    await say(log, writer, '0123456789');
    expect(await contentsOf(writer)).toEqual(['ééé', 'abcd', '0123456789']);
  });

  it('do not count refused messages', async () => {
    const { log } = storeOver(host.database, { logQueueEntries: 1 });
    const writer = new TestWriter(await emptyRoom(store), { permits: () => false });

    await expect(say(log, writer, 'no')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(say(log, writer, 'no')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(await contentsOf(writer)).toEqual([]);
  });

  it('on close: queued messages are stored, later ones refused', async () => {
    const { log } = storeOver(host.database);
    const writers = await Promise.all(
      Array.from({ length: 8 }, async () => new TestWriter(await emptyRoom(store))),
    );
    let stored = 0;
    for (const writer of writers) {
      for (let n = 0; n < 20; n += 1) void say(log, writer, `${n}`).then(() => (stored += 1));
    }

    await log.close();

    expect(stored).toBe(160);
    const [writer] = writers as [TestWriter];
    await expect(say(log, writer, 'late')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await contentsOf(writer)).toHaveLength(20);
  });

  it('on close: messages that are held back are waited for', async () => {
    const { log } = storeOver(host.database);
    const room = await emptyRoom(store);
    await addRule(store, room);
    const refreshing = deferred();
    const rulesRead = deferred();
    const writer: TestWriter = new TestWriter(room, {
      rulesHead: 0,
      async refresh() {
        refreshing.resolve();
        await rulesRead.promise;
        writer.rulesHead = 1;
      },
    });
    const events: string[] = [];

    const sent = say(log, writer, 'hi').then(() => events.push('stored'));
    await refreshing.promise;
    const closed = log.close().then(() => events.push('closed'));
    rulesRead.resolve();
    await Promise.all([sent, closed]);

    expect(events).toEqual(['stored', 'closed']);
  });

  it('hold for the time of a message, in flight or behind one in flight', async () => {
    const writer = new TestWriter(await emptyRoom(store));
    const { runAppend, ...database } = host.database;
    const held = deferred();
    const { log } = storeOver(
      {
        ...database,
        runAppend: async (statement, values) => {
          await held.promise;
          return runAppend(statement, values);
        },
      },
      { storeTimeoutMs: 100, logQueueEntries: 2 },
    );

    const outcomes = await Promise.allSettled([
      say(log, writer, 'in flight'),
      // In another turn, so that it waits for the first.
      new Promise(setImmediate).then(() => say(log, writer, 'behind it')),
    ]);
    expect(outcomes).toMatchObject([UNAVAILABLE, UNAVAILABLE]);

    held.resolve();
    await log.close();
    // The message in flight may be stored; the one that was not sent in time is not.
    expect(await contentsOf(writer)).toEqual(['in flight']);
  });

  it('are free again after a database error', async () => {
    const writer = new TestWriter(await emptyRoom(store));
    const { sequelize } = host.database;

    await sequelize.query(`ALTER FUNCTION append_batch RENAME TO hidden`);
    const outcomes = await Promise.allSettled([
      say(store.log, writer, 'one'),
      say(store.log, writer, 'two'),
    ]);
    await sequelize.query(`ALTER FUNCTION hidden RENAME TO append_batch`);
    const next = await say(store.log, writer, 'three');

    expect(outcomes).toMatchObject([UNAVAILABLE, UNAVAILABLE]);
    expect(next).toEqual({ seq: 1, known: false });
    expect(await contentsOf(writer)).toEqual(['three']);
  });

  async function contentsOf(writer: TestWriter): Promise<string[]> {
    return (await readAll(store.log, writer.roomId)).map(({ content }) => content);
  }
});
