import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Caller } from '../../src/access/permissions.js';
import type { ChatError } from '../../src/errors.js';
import type { Log } from '../../src/store/log.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, readAll, roomOf, say, TestWriter } from '../harness/writers.js';

describe.each(storeHosts)('refs over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  let logs: readonly [Log, Log];
  let writer: TestWriter;
  const author = newCaller();

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    logs = [store.log, storeOver(await host.another()).log];
    writer = new TestWriter(await emptyRoom(store));
  });
  afterAll(() => host.close());

  it('store a message once that is sent again later', async () => {
    const ref = randomUUID();

    const first = await say(store.log, writer, 'hi', { author, ref });
    const again = await say(logs[1], writer, 'hi', { author, ref });

    expect(first.known).toBe(false);
    expect(again).toEqual({ seq: first.seq, known: true });
    expect(await contentsOf(ref)).toEqual(['hi']);
  });

  it('refuse another content under a ref that is used, with the number of the first', async () => {
    const ref = randomUUID();

    const { seq } = await say(store.log, writer, 'hi', { author, ref });

    for (const content of ['hi ', 'Hi', 'h\u0069\u0301', 'x'.repeat(8_000)]) {
      const refused = say(logs[1], writer, content, { author, ref });
      await expect(refused).rejects.toMatchObject({ code: 'REF_USED', seq });
    }
    expect(await contentsOf(ref)).toEqual(['hi']);
    expect(await say(store.log, writer, 'next', { author })).toEqual({
      seq: seq + 1,
      known: false,
    });
  });

  it('tell other data, replies and mentions from the same ones', async () => {
    const { seq: replyTo } = await say(store.log, writer, 'hi', { author });
    const [mention, other] = [newCaller().userUUID, newCaller().userUUID];
    const extras = { data: '{"a":1}', replyTo, mentions: [mention] };
    const ref = randomUUID();
    const { seq } = await say(store.log, writer, 'hi', { author, ref, ...extras });

    expect(await say(logs[1], writer, 'hi', { author, ref, ...extras })).toEqual({
      seq,
      known: true,
    });
    for (const changed of [
      { data: '{"a":1}', mentions: [mention] },
      { ...extras, data: '{"a":2}' },
      { ...extras, replyTo: seq },
      { ...extras, mentions: [mention, other] },
      {},
    ]) {
      const [refused, copy] = await Promise.allSettled([
        say(logs[1], writer, 'hi', { author, ref, ...changed }),
        say(logs[1], writer, 'hi', { author, ref, ...extras }),
      ]);
      expect(refused).toMatchObject({ reason: { code: 'REF_USED', seq } });
      expect(valueOf(copy)).toEqual({ seq, known: true });
    }
  });

  it('tell copies with other data in one batch', async () => {
    const ref = randomUUID();

    const [first, copy, changed] = await Promise.allSettled([
      say(store.log, writer, 'hi', { author, ref, data: '{"a":1}' }),
      say(store.log, writer, 'hi', { author, ref, data: '{"a":1}' }),
      say(store.log, writer, 'hi', { author, ref, data: '{"a":2}' }),
    ]);

    const { seq } = valueOf(first);
    expect(valueOf(copy)).toEqual({ seq, known: true });
    expect(changed).toMatchObject({ reason: { code: 'REF_USED', seq } });
  });

  it('are not taken by a reply to what is no message, and the others of its batch are stored', async () => {
    const ref = randomUUID();
    const { seq } = await say(store.log, writer, 'hi', { author, ref });
    const refs = [randomUUID(), randomUUID()] as const;

    const said = await Promise.allSettled([
      say(store.log, writer, 'before', { author }),
      say(store.log, writer, 'to nothing', { author, ref: refs[0], replyTo: 1_000_000 }),
      say(store.log, writer, 'hi', { author, ref }),
      say(store.log, writer, 'a reply', { author, ref: refs[1], replyTo: seq }),
      say(store.log, writer, 'to nothing', { author, ref: refs[0], replyTo: 1_000_000 }),
      say(store.log, writer, 'to nothing', { author, replyTo: 1_000_000 }),
      say(store.log, writer, 'after', { author }),
    ]);

    const missing = { reason: { code: 'NO_SUCH_MESSAGE' } };
    expect(said).toMatchObject([
      { value: { seq: seq + 1 } },
      missing,
      { value: { seq, known: true } },
      { value: { seq: seq + 2 } },
      missing,
      missing,
      { value: { seq: seq + 3 } },
    ]);
    const alone = say(store.log, writer, 'to nothing', { author, replyTo: 1_000_000 });
    await expect(alone).rejects.toMatchObject({ code: 'NO_SUCH_MESSAGE' });
    expect(await contentsOf(refs[0])).toEqual([]);
    expect(await say(store.log, writer, 'last', { author, ref: refs[0] })).toMatchObject({
      seq: seq + 4,
    });
  });

  it('of a message are known after it was edited or deleted', async () => {
    const room = await roomOf(store, [[author, 'rw']]);
    const sent = { author, ref: 'a', data: '{"a":1}' };
    const { seq } = await say(store.log, room, 'hi', sent);

    await store.changes.edit(author, room.roomId, { target: seq, content: 'edited' });
    expect(await say(logs[1], room, 'hi', sent)).toEqual({ seq, known: true });
    await store.changes.remove(author, room.roomId, { target: seq });
    expect(await say(logs[1], room, 'hi', sent)).toEqual({ seq, known: true });
    const reply = await say(store.log, room, 'to a deleted one', { author, replyTo: seq });
    expect(reply.seq).toBe(seq + 3);
  });

  it('tell copies in one batch from other contents', async () => {
    const ref = randomUUID();

    const [first, between, copy, changed] = await Promise.allSettled([
      say(store.log, writer, 'hi', { author, ref }),
      say(store.log, writer, 'something else', { author }),
      say(store.log, writer, 'hi', { author, ref }),
      say(store.log, writer, 'hi, changed', { author, ref }),
    ]);

    const { seq } = valueOf(first);
    expect(valueOf(between)).toEqual({ seq: seq + 1, known: false });
    expect(valueOf(copy)).toEqual({ seq, known: true });
    expect(changed).toMatchObject({ status: 'rejected', reason: { code: 'REF_USED', seq } });
    expect(await contentsOf(ref)).toEqual(['hi']);
    expect(writer.taken.filter((entry) => entry.ref === ref)).toHaveLength(1);
  });

  it('store the other messages of a batch in which refs are known', async () => {
    const ref = randomUUID();
    const { seq } = await say(store.log, writer, 'hi', { author, ref });
    const elsewhere = new TestWriter(await emptyRoom(store));
    let statements = 0;
    const run = host.database.runAppend;
    const counted = storeOver({
      ...host.database,
      runAppend: (statement, values) => {
        statements += 1;
        return run(statement, values);
      },
    });

    const said = await Promise.allSettled([
      say(counted.log, writer, 'a', { author }),
      say(counted.log, writer, 'hi', { author, ref }),
      say(counted.log, writer, 'b', { author, ref: randomUUID() }),
      say(counted.log, elsewhere, 'elsewhere', { author, ref }),
      say(counted.log, writer, 'changed', { author, ref }),
      say(counted.log, writer, 'c', { author }),
    ]);

    expect(said).toMatchObject([
      { value: { seq: seq + 1, known: false } },
      { value: { seq, known: true } },
      { value: { seq: seq + 2, known: false } },
      { value: { seq: 1, known: false } },
      { reason: { code: 'REF_USED', seq } },
      { value: { seq: seq + 3, known: false } },
    ]);
    // Known messages send no other message to a later batch.
    expect(statements).toBe(1);
    expect(
      (await readAll(store.log, writer.roomId)).slice(seq).map(({ content }) => content),
    ).toEqual(['a', 'b', 'c']);
  });

  it('store a message once that is sent to two nodes at the same time', async () => {
    for (let round = 0; round < 20; round += 1) {
      const ref = randomUUID();

      const both = await Promise.all(logs.map((log) => say(log, writer, 'hi', { author, ref })));

      expect(both.filter(({ known }) => known)).toHaveLength(1);
      expect(both[0]?.seq).toBe(both[1]?.seq);
      expect(await contentsOf(ref)).toEqual(['hi']);
    }
  });

  it('store one of two contents that are sent to two nodes at the same time', async () => {
    for (let round = 0; round < 20; round += 1) {
      const ref = randomUUID();

      const both = await Promise.allSettled(
        logs.map((log, node) => say(log, writer, `hi ${node}`, { author, ref })),
      );

      const stored = both.find(({ status }) => status === 'fulfilled');
      const { seq } = valueOf(stored);
      expect(both.find(({ status }) => status === 'rejected')).toMatchObject({
        reason: { code: 'REF_USED', seq },
      });
      expect(await contentsOf(ref)).toHaveLength(1);
    }
  });

  it('belong to a sender and a room: the same ref elsewhere is another message', async () => {
    const ref = randomUUID();
    const elsewhere = new TestWriter(await emptyRoom(store));

    const sent = await Promise.all([
      say(store.log, writer, 'mine', { author, ref }),
      say(store.log, writer, 'yours', { ref }),
      say(store.log, elsewhere, 'mine elsewhere', { author, ref }),
    ]);

    expect(sent.map(({ known }) => known)).toEqual([false, false, false]);
    expect(await contentsOf(ref)).toEqual(['mine', 'yours']);
  });

  it('are texts, not numbers or places in a batch', async () => {
    const room = new TestWriter(await emptyRoom(store));

    const refs = [null, '1', '2', '3', null, '01', ' 1', 'null', ''];
    const sent = await Promise.all(
      refs.map((ref) => say(store.log, room, `${ref}`, { author, ref })),
    );

    expect(sent.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('agree with a model, whatever is sent in whatever batches by two nodes', async () => {
    const people = [newCaller(), newCaller()];
    const message = fc.record({
      node: fc.nat(1),
      room: fc.nat(2),
      person: fc.nat(1),
      ref: fc.option(fc.constantFrom('1', '2', 'a')),
      content: fc.oneof(
        fc.constantFrom('hi', 'ho'),
        fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\0', '')),
      ),
    });
    const batches = fc.array(fc.array(message, { maxLength: 12 }), { maxLength: 4 });

    await fc.assert(
      fc.asyncProperty(batches, async (batches) => {
        const rooms = await Promise.all([emptyRoom(store), emptyRoom(store), emptyRoom(store)]);
        const writers = logs.map(() => rooms.map((room) => new TestWriter(room)));
        const sent: Sent[] = [];
        for (const [batch, messages] of batches.entries()) {
          const stored = await Promise.all(
            messages.map(async ({ node, room, person, ref, content }) => {
              const writer = writers[node]?.[room];
              const author = people[person];
              if (writer === undefined || author === undefined) throw new Error('out of range');
              const log = node === 0 ? logs[0] : logs[1];
              const appended = await say(log, writer, content, { author, ref }).catch(refUsed);
              return { batch, node, room: writer.roomId, author, ref, content, ...appended };
            }),
          );
          sent.push(...stored);
        }

        for (const room of rooms) {
          const ofRoom = sent.filter((one) => one.room === room);
          const entries = await readAll(store.log, room);
          expect(entries).toHaveLength(countMessages(ofRoom));
          expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
          for (const { seq, ref, author, content, isRefused } of ofRoom) {
            expect(entries[seq - 1]).toMatchObject({ seq, ref, emitter: author.userUUID });
            expect(entries[seq - 1]?.content === content).toBe(isRefused !== true);
          }
          // Each entry is the message of exactly one append, and the entries of a node are in its order.
          const fresh = ofRoom.filter(({ known }) => !known);
          expect(fresh.map(({ seq }) => seq).toSorted((a, b) => a - b)).toEqual(
            entries.map(({ seq }) => seq),
          );
          const inOrder = fresh.toSorted((a, b) => a.seq - b.seq).map(({ batch }) => batch);
          expect(inOrder).toEqual(inOrder.toSorted((a, b) => a - b));
          for (const [node, ofNode] of writers.entries()) {
            const seqs = fresh.filter((one) => one.node === node).map(({ seq }) => seq);
            expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
            const taken = ofNode.find((writer) => writer.roomId === room)?.taken ?? [];
            expect(taken).toEqual(entries.filter(({ seq }) => seqs.includes(seq)));
          }
        }
      }),
      { numRuns: 25 },
    );
  });

  async function contentsOf(ref: string): Promise<string[]> {
    const entries = await readAll(store.log, writer.roomId);
    return entries.filter((entry) => entry.ref === ref).map((entry) => entry.content);
  }
});

interface Sent {
  readonly batch: number;
  readonly node: number;
  readonly room: number;
  readonly author: Caller;
  readonly ref: string | null;
  readonly content: string;
  readonly seq: number;
  readonly known: boolean;
  readonly isRefused?: true;
}

/** The outcome REF_USED, with the number of the first message. */
function refUsed(error: unknown): { seq: number; known: true; isRefused: true } {
  const { code, seq } = error as ChatError;
  if (code !== 'REF_USED' || seq === undefined) throw error;
  return { seq, known: true, isRefused: true };
}

function valueOf<T>(result: PromiseSettledResult<T> | undefined): T {
  if (result?.status !== 'fulfilled') throw new Error('it is not fulfilled');
  return result.value;
}

/** What the log of one room must hold: each message without a ref, and each (sender, ref) once. */
function countMessages(sent: readonly Sent[]): number {
  const keys = sent.map(({ author, ref }, index) =>
    ref === null ? `${index}` : `${author.userUUID} ${ref}`,
  );
  return new Set(keys).size;
}
