import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Log } from '../../src/store/log.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, readAll, removeRoom, say, TestWriter } from '../harness/writers.js';

describe.each(storeHosts)('the log over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  /** Two nodes on one database. */
  let logs: readonly [Log, Log];

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    logs = [store.log, storeOver(await host.another()).log];
  });
  afterAll(() => host.close());

  it('gives entries of a room numbers without gaps, whichever node stores them', async () => {
    const rooms = await Promise.all([emptyRoom(store), emptyRoom(store), emptyRoom(store)]);
    const writers = logs.flatMap((log) =>
      rooms.map((room) => ({ log, writer: new TestWriter(room) })),
    );

    const sent = await Promise.all(
      writers.flatMap(({ log, writer }) =>
        numbers(100).map(async (n) => ({
          room: writer.roomId,
          seq: (await say(log, writer, `${n}`)).seq,
        })),
      ),
    );

    for (const room of rooms) {
      const promised = sent.filter((one) => one.room === room).map((one) => one.seq);
      expect(promised.toSorted((a, b) => a - b)).toEqual(numbers(200));
      const entries = await readAll(store.log, room);
      expect(entries.map((entry) => entry.seq)).toEqual(numbers(200));
    }
    expect(await store.log.heads(rooms)).toEqual(new Map(rooms.map((room) => [room, 200])));
  });

  it('keeps the order of a sender whose messages come in many batches', async () => {
    const writer = new TestWriter(await emptyRoom(store));
    const other = new TestWriter(await emptyRoom(store));
    const author = newCaller();

    const sending: Promise<unknown>[] = [];
    for (const n of numbers(300)) {
      sending.push(say(store.log, writer, `${n}`, { author }), say(store.log, other, `${n}`));
      if (n % 7 === 0) await new Promise(setImmediate);
    }
    await Promise.all(sending);

    const entries = await readAll(store.log, writer.roomId);
    expect(entries.map((entry) => entry.content)).toEqual(numbers(300).map(String));
    const dates = entries.map((entry) => entry.createdAt);
    expect(dates).toEqual(dates.toSorted());
  });

  it('takes more messages at once than one statement has', async () => {
    const writer = new TestWriter(await emptyRoom(store));

    const appended = await Promise.all(numbers(2_500).map((n) => say(store.log, writer, `${n}`)));

    expect(appended.map(({ seq }) => seq)).toEqual(numbers(2_500));
    expect(writer.taken.map((entry) => entry.seq)).toEqual(numbers(2_500));
  });

  it('hands an entry to its live room before it answers the sender', async () => {
    const writer = new TestWriter(await emptyRoom(store));
    const author = newCaller();

    const appended = await say(store.log, writer, 'hi', { author, ref: 'mine' }).then(
      (appended) => ({
        ...appended,
        takenBefore: writer.taken.length,
      }),
    );

    expect(appended).toEqual({ seq: 1, known: false, takenBefore: 1 });
    expect(writer.taken).toEqual([
      {
        roomId: writer.roomId,
        seq: 1,
        kind: 'message',
        emitter: author.userUUID,
        content: 'hi',
        ref: 'mine',
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
      },
    ]);
    expect(await readAll(store.log, writer.roomId)).toEqual(writer.taken);
  });

  it('stores any text as it is', async () => {
    const writer = new TestWriter(await emptyRoom(store));
    const texts = [
      '👩‍👩‍👧 ñandú',
      '\u202Eabc',
      `'; DROP TABLE messages; --`,
      '\\x00 \\u0000 $1',
      '\uFFFF\u0001',
    ];

    await Promise.all(texts.map((text) => say(store.log, writer, text)));

    const entries = await readAll(store.log, writer.roomId);
    expect(entries.map((entry) => entry.content)).toEqual(texts);
  });

  it('refuses messages for a room that is gone, and stores the others', async () => {
    const gone = new TestWriter(await emptyRoom(store));
    const writer = new TestWriter(await emptyRoom(store));
    await removeRoom(store, gone.roomId);

    const [, refused, second] = await Promise.allSettled([
      say(store.log, writer, 'first'),
      say(store.log, gone, 'nobody reads this'),
      say(store.log, writer, 'second'),
    ]);

    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'NOT_FOUND' } });
    expect(second).toEqual({ status: 'fulfilled', value: { seq: 2, known: false } });
    expect(gone.taken).toEqual([]);
    expect(await readAll(store.log, gone.roomId)).toEqual([]);
  });
});

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}
