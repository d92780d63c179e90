import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WINDOW_ENTRIES, type UserMessage } from '../../src/store/user-messages.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, removeRoom, roomOf, say } from '../harness/writers.js';

const gone = new AbortController().signal;
const reader = { ...newCaller(), gone };

describe.each(storeHosts)('the messages of a user over %s', (_, open) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await open();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  async function read(userUUID: string): Promise<UserMessage[][]> {
    const pages: UserMessage[][] = [];
    for await (const page of store.userMessages.read(userUUID, reader)) pages.push([...page]);
    return pages;
  }

  it('are those of all rooms, as they are now, without what is deleted, and of nobody else', async () => {
    const [ana, ben] = [newCaller(), newCaller()];
    const members = [ana, ben].map((one) => [one, 'rw'] as const);
    const [first, second] = [await roomOf(store, members), await roomOf(store, members)];
    const { seq: answered } = await say(store.log, first, 'one', { author: ben });
    const { seq } = await say(store.log, first, 'two', {
      author: ana,
      ref: 'a',
      data: '{"a":1}',
      replyTo: answered,
      mentions: [ben.userUUID],
    });
    const { seq: deleted } = await say(store.log, first, 'gone', { author: ana });
    await store.changes.remove(ana, first.roomId, { target: deleted });
    const { seq: edited } = await say(store.log, second, 'three', { author: ana });
    await store.changes.edit(ana, second.roomId, { target: edited, content: 'four' });
    const lost = await roomOf(store, members);
    await say(store.log, lost, 'lost', { author: ana });
    await removeRoom(store, lost.roomId);

    const messages = (await read(ana.userUUID)).flat();

    expect(messages).toEqual([
      {
        roomId: first.roomId,
        roomUUID: (await store.log.state(first.roomId))?.uuid,
        seq,
        ref: 'a',
        content: 'two',
        data: '{"a":1}',
        replyTo: answered,
        mentions: [ben.userUUID],
        createdAt: expect.any(Date) as Date,
        editedAt: null,
      },
      {
        roomId: second.roomId,
        roomUUID: (await store.log.state(second.roomId))?.uuid,
        seq: edited,
        ref: null,
        content: 'four',
        data: null,
        replyTo: null,
        mentions: null,
        createdAt: expect.any(Date) as Date,
        editedAt: expect.any(Date) as Date,
      },
    ]);
    expect((await read(newCaller().userUUID)).flat()).toEqual([]);
  });

  it('come in bounded pages, each once and in order, over more of the log than one query passes', async () => {
    const [ana, ben] = [newCaller(), newCaller()];
    const count = WINDOW_ENTRIES + 5_000;
    const room = await emptyRoom(store);
    await host.database.sequelize.query(
      `WITH filled AS (UPDATE rooms SET head = $2 WHERE id = $1)
       INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT $1, seq, 'message', CASE WHEN seq % 5 = 0 THEN $3::uuid ELSE $4::uuid END,
         CASE WHEN seq % 500 = 0 THEN repeat('x', 20000) ELSE 'hi' END, now(), now()
       FROM generate_series(1, $2) AS seq`,
      { bind: [room, count, ana.userUUID, ben.userUUID] },
    );

    const pages = await read(ana.userUUID);

    const seqs = pages.flat().map(({ seq }) => seq);
    expect(seqs).toEqual(Array.from({ length: count / 5 }, (__, index) => 5 * (index + 1)));
    for (const page of pages) {
      expect(page.length).toBeLessThanOrEqual(250);
      const long = page.filter(({ content }) => content.length > 2);
      expect(long.length).toBeLessThanOrEqual(2);
    }
  });

  it('are read no further once the client has gone', async () => {
    const leaving = new AbortController();
    const pages = store.userMessages.read(newCaller().userUUID, {
      ...reader,
      gone: leaving.signal,
    });
    await pages.next();
    leaving.abort(new Error('gone'));

    const rest = (async () => {
      for await (const page of pages) expect(page).toEqual([]);
    })();
    await expect(rest).rejects.toThrow('gone');
  });
});
