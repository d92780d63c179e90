import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HistoryMessage } from '../../src/store/history.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { newCaller, roomOf, say, type TestWriter } from '../harness/writers.js';

const ana = newCaller();
const ben = newCaller();

describe.each(storeHosts)('messages over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  function newRoom(): Promise<TestWriter> {
    return roomOf(store, [
      [ana, 'rw'],
      [ben, 'rw'],
    ]);
  }

  async function react(target: number, by: typeof ana, emoji: string, on = true): Promise<void> {
    await store.changes.react(by, room.roomId, { target, emoji, on });
  }

  let room: TestWriter;

  /** A message at the head of now. */
  async function one(seq: number, by = ana): Promise<HistoryMessage | 'deleted' | undefined> {
    return store.history.one(room.roomId, seq, await head(), by);
  }

  async function head(): Promise<number> {
    return (await store.log.heads([room.roomId])).get(room.roomId) ?? 0;
  }

  it('are the same in a page, alone, found and as the last of their room', async () => {
    room = await newRoom();
    const { seq: first } = await say(store.log, room, 'the first', { author: ben });
    const mentions = [ana.userUUID, randomUUID()];
    const said = { author: ana, ref: 'r1', data: '{"a":[1]}', replyTo: first, mentions };
    const { seq } = await say(store.log, room, 'pineapple', said);
    await react(seq, ben, '👍');
    const edit = { target: seq, content: 'pineapples', data: '{"a":[2]}' };
    const { seq: textSeq } = await store.changes.edit(ana, room.roomId, edit);
    await react(seq, ana, '🎉');
    await react(seq, ana, '👍');
    await react(seq, ben, '🙈');
    await react(seq, ben, '🙈', false);

    const { messages } = await store.history.page(
      room.roomId,
      { upTo: await head(), limit: 1 },
      ana,
    );

    expect(messages).toEqual([
      {
        roomId: room.roomId,
        seq,
        emitter: ana.userUUID,
        ref: 'r1',
        content: 'pineapples',
        data: '{"a":[2]}',
        replyTo: first,
        mentions,
        reactions: [
          { emoji: '👍', count: 2, mine: true },
          { emoji: '🎉', count: 1, mine: true },
        ],
        replies: 0,
        rev: await head(),
        textSeq,
        createdAt: expect.any(Date),
        updatedAt: expect.any(Date),
      },
    ]);
    expect(await one(seq)).toEqual(messages[0]);
    expect((await store.roomList.one(ana, room.roomId))?.lastMessage).toEqual(messages[0]);
    const found = await store.search.page(ana, { text: 'pineapples', limit: 1 });
    expect(found?.messages).toEqual(messages);
    expect(await one(seq, ben)).toMatchObject({
      ref: null,
      reactions: [
        { emoji: '👍', mine: true },
        { emoji: '🎉', mine: false },
      ],
    });
  });

  it('are deleted, or are none', async () => {
    room = await newRoom();
    const { seq } = await say(store.log, room, 'gone', { author: ana });
    await store.changes.remove(ana, room.roomId, { target: seq });

    expect(await one(seq)).toBe('deleted');
    // A rule, and an entry that there is not yet.
    expect(await one(1)).toBeUndefined();
    expect(await one(1_000)).toBeUndefined();
  });

  it('count the replies that are not deleted, as of a head', async () => {
    room = await newRoom();
    const { seq: root } = await say(store.log, room, 'root', { author: ana });
    const replies: number[] = [];
    for (let n = 0; n < 3; n += 1) {
      replies.push((await say(store.log, room, 'reply', { author: ben, replyTo: root })).seq);
    }
    const before = await head();
    await store.changes.remove(ben, room.roomId, { target: replies[0] ?? 0 });
    await say(store.log, room, 'reply', { author: ben, replyTo: root });
    await say(store.log, room, 'reply', { author: ben, replyTo: replies[1] ?? 0 });

    const countAt = async (at: number): Promise<unknown> =>
      store.history.one(room.roomId, root, at, ana);
    expect(await countAt(before)).toMatchObject({ replies: 3 });
    expect(await countAt(await head())).toMatchObject({ replies: 3 });
    await store.changes.remove(ben, room.roomId, { target: replies[2] ?? 0 });
    expect(await countAt(await head())).toMatchObject({ replies: 2 });
    const page = await store.history.page(room.roomId, { upTo: before, limit: 50 }, ana);
    expect(page.messages.map(({ seq, replies }) => [seq, replies])).toEqual([
      [root, 3],
      [replies[1], 0],
    ]);
  });

  it('count 100 replies at most', async () => {
    room = await newRoom();
    const { seq: root } = await say(store.log, room, 'root', { author: ana });
    await Promise.all(
      Array.from({ length: 101 }, () => say(store.log, room, 'reply', { replyTo: root })),
    );

    expect(await one(root)).toMatchObject({ replies: 100 });
  });

  it('are read by thread, in both directions and within a period', async () => {
    room = await newRoom();
    const { roomId } = room;
    const { seq: root } = await say(store.log, room, 'root', { author: ana });
    const thread = [root];
    for (let n = 0; n < 5; n += 1) {
      await say(store.log, room, 'between');
      thread.push((await say(store.log, room, `${n}`, { author: ben, replyTo: root })).seq);
    }
    await say(store.log, room, 'of another one', { replyTo: thread[2] ?? 0 });
    await store.changes.remove(ben, roomId, { target: thread.splice(3, 1)[0] ?? 0 });
    const upTo = await head();
    type Range = Parameters<typeof store.history.page>[1];
    const seqs = async (range: Partial<Range>): Promise<unknown> => {
      const asked = { upTo, thread: root, limit: 50, ...range };
      const { messages, more } = await store.history.page(roomId, asked, ana);
      return [messages.map(({ seq }) => seq), more];
    };

    expect(await seqs({})).toEqual([thread, false]);
    expect(await seqs({ limit: 2 })).toEqual([thread.slice(-2), true]);
    expect(await seqs({ before: thread[2] ?? 0, limit: 2 })).toEqual([thread.slice(0, 2), false]);
    expect(await seqs({ after: 0, limit: 2 })).toEqual([thread.slice(0, 2), true]);
    expect(await seqs({ after: root })).toEqual([thread.slice(1), false]);
    expect(await seqs({ upTo: thread[1] ?? 0 })).toEqual([thread.slice(0, 2), false]);
    const past = { from: new Date(0), until: new Date(1) };
    expect(await seqs({ period: past })).toEqual([[], false]);
    expect(await seqs({ thread: 1 })).toEqual([[], false]);
    await store.changes.remove(ana, roomId, { target: root });
    expect(await seqs({})).toEqual([thread.slice(1), false]);
  });

  it('of a thread are read in pages of few bytes, each once', async () => {
    room = await newRoom();
    const { seq: root } = await say(store.log, room, 'root', { author: ana });
    const data = JSON.stringify({ text: 'x'.repeat(4_000) });
    const seqs: number[] = [root];
    for (let n = 0; n < 20; n += 1) {
      seqs.push((await say(store.log, room, '', { data, replyTo: root })).seq);
    }

    const asked = { upTo: await head(), thread: root, limit: 100 };
    const { messages, rest } = await store.history.page(room.roomId, asked, ana);
    const read = [...messages];
    expect(read.length).toBeLessThan(seqs.length);
    if (rest === undefined) throw new Error('the page is whole');
    for await (const page of store.history.read(room.roomId, rest, ana)) {
      expect(page.length).toBeLessThan(10);
      read.push(...page);
    }

    expect(read.map(({ seq }) => seq)).toEqual(seqs);
  });
});
