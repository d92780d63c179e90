import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { deferred } from '../harness/deferred.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { addRule, emptyRoom, newCaller, readAll, say, TestWriter } from '../harness/writers.js';

/** A node sends messages to a room whose newest rule it does not know yet. */
describe.each(storeHosts)('messages under old rules over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('are stored once the newer rules are known, in the order in which they were sent', async () => {
    const room = await roomWithNewRule();
    const author = newCaller();
    let headAtRefresh: number | undefined;
    const sent: Promise<unknown>[] = [];
    const writer: TestWriter = new TestWriter(room, {
      rulesHead: 0,
      async refresh() {
        headAtRefresh = (await store.log.heads([room])).get(room);
        sent.push(say(store.log, writer, 'while the rules are read', { author }));
        writer.rulesHead = 1;
      },
      permits() {
        // The batch is complete: this message waits for the next one.
        if (sent.length < 3) {
          queueMicrotask(() => sent.push(say(store.log, writer, 'behind it', { author })));
        }
        return true;
      },
    });

    sent.push(
      say(store.log, writer, 'first', { author }),
      say(store.log, writer, 'second', { author }),
    );
    await settled(sent);

    expect(headAtRefresh).toBe(1);
    const [rule, ...messages] = await readAll(store.log, room);
    expect(rule?.kind).toBe('member');
    expect(messages.slice(0, 2).map(({ content }) => content)).toEqual(['first', 'second']);
    expect(messages.at(-1)?.content).toBe('while the rules are read');
    expect(messages.slice(2, -1).every(({ content }) => content === 'behind it')).toBe(true);
    expect(messages).toHaveLength(sent.length);
    expect(writer.taken).toEqual(messages);
  });

  it('are refused if the newer rules forbid them, and the others stored', async () => {
    const room = await roomWithNewRule();
    const banned = newCaller();
    let known = false;
    const writer: TestWriter = new TestWriter(room, {
      rulesHead: 0,
      refresh: () => {
        known = true;
        writer.rulesHead = 1;
        return Promise.resolve();
      },
      permits: (author) => !known || author !== banned,
    });

    const outcomes = await Promise.allSettled([
      say(store.log, writer, 'too late', { author: banned }),
      say(store.log, writer, 'hi'),
      say(store.log, writer, 'too late again', { author: banned }),
    ]);

    expect(outcomes).toMatchObject([
      { status: 'rejected', reason: { code: 'FORBIDDEN' } },
      { status: 'fulfilled', value: { seq: 2, known: false } },
      { status: 'rejected', reason: { code: 'FORBIDDEN' } },
    ]);
    expect(writer.taken.map(({ content }) => content)).toEqual(['hi']);
    expect(await contentsOf(room)).toEqual(['hi']);
  });

  it('hold up no other room', async () => {
    const room = await roomWithNewRule();
    const rulesRead = deferred();
    const refreshing = deferred();
    const writer: TestWriter = new TestWriter(room, {
      rulesHead: 0,
      async refresh() {
        refreshing.resolve();
        await rulesRead.promise;
        writer.rulesHead = 1;
      },
    });
    const other = new TestWriter(await emptyRoom(store));

    const late = say(store.log, writer, 'late');
    const besides = say(store.log, other, 'in the same batch');
    await refreshing.promise;
    const after = say(store.log, other, 'in a later batch');

    expect(await Promise.all([besides, after])).toMatchObject([{ seq: 1 }, { seq: 2 }]);
    expect(await contentsOf(room)).toEqual([]);
    rulesRead.resolve();
    expect(await late).toEqual({ seq: 2, known: false });
  });

  it('wait again if a still newer rule comes meanwhile', async () => {
    const room = await roomWithNewRule();
    let refreshes = 0;
    const writer: TestWriter = new TestWriter(room, {
      rulesHead: 0,
      async refresh() {
        refreshes += 1;
        writer.rulesHead = refreshes;
        if (refreshes === 1) await addRule(store, room);
      },
    });

    const appended = await say(store.log, writer, 'at last');

    expect(refreshes).toBe(2);
    expect(appended).toEqual({ seq: 3, known: false });
  });

  it('are UNAVAILABLE if the newer rules cannot be read, and later ones are stored', async () => {
    const room = await roomWithNewRule();
    const writer: TestWriter = new TestWriter(room, {
      rulesHead: 0,
      refresh: () => Promise.reject(new Error('the database is away')),
    });

    const outcomes = await Promise.allSettled([
      say(store.log, writer, 'one'),
      say(store.log, writer, 'two'),
    ]);
    writer.rulesHead = 1;
    const next = await say(store.log, writer, 'three');

    expect(outcomes).toMatchObject([
      { status: 'rejected', reason: { code: 'UNAVAILABLE' } },
      { status: 'rejected', reason: { code: 'UNAVAILABLE' } },
    ]);
    expect(next).toEqual({ seq: 2, known: false });
    expect(await contentsOf(room)).toEqual(['three']);
  });

  it('get their number if they were stored before the rule', async () => {
    const room = await emptyRoom(store);
    const author = newCaller();
    await say(store.log, new TestWriter(room), 'hi', { author, ref: 'mine' });
    await addRule(store, room);
    const writer: TestWriter = new TestWriter(room, {
      rulesHead: 0,
      refresh: () => {
        writer.rulesHead = 2;
        return Promise.resolve();
      },
    });

    const again = await say(store.log, writer, 'hi', { author, ref: 'mine' });

    expect(again).toEqual({ seq: 1, known: true });
  });

  /** Its one rule is the first entry of its log. */
  async function roomWithNewRule(): Promise<number> {
    const room = await emptyRoom(store);
    await addRule(store, room);
    return room;
  }

  async function contentsOf(room: number): Promise<string[]> {
    const entries = await readAll(store.log, room);
    return entries.filter(({ kind }) => kind === 'message').map(({ content }) => content);
  }
});

/** Awaits promises of a list that may grow meanwhile. */
async function settled(promises: readonly Promise<unknown>[]): Promise<void> {
  for (let count = -1; count !== promises.length;) {
    count = promises.length;
    await Promise.all(promises);
  }
}
