import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { QueryTypes } from 'sequelize';
import type { ChatError } from '../../src/errors.js';
import type { ChangedMessage } from '../../src/store/changes.js';
import { reactionOf, type Entry } from '../../src/store/entry.js';
import { emojiKey } from '../../src/store/message-change.js';
import type { Store } from '../../src/store/store.js';
import { storeWords } from '../../src/store/message-words.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { tablesWith } from '../harness/tables-with.js';
import {
  newCaller,
  readAll,
  removeRule,
  roomOf,
  say,
  setRule,
  type TestWriter,
} from '../harness/writers.js';

const NO_ROOM = 2_147_483_647;
const HEART = '\u{2764}';
const RED_HEART = '\u{2764}\u{FE0F}';

describe.each(storeHosts)('changes of messages over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  /** The store of a second node. */
  let elsewhere: Store;
  let writer: TestWriter;
  let room: number;
  /** Seq of a message of ana, the first beyond the rules. */
  let target: number;
  const ana = newCaller();
  const ben = newCaller();
  const reader = newCaller();
  const admin = newCaller();

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    elsewhere = storeOver(await host.another());
  });
  beforeEach(async () => {
    writer = await roomOf(store, [
      [ana, 'rw'],
      [ben, 'rw'],
      [reader, 'r'],
      [admin, 'ra'],
    ]);
    room = writer.roomId;
    ({ seq: target } = await say(store.log, writer, 'hello', { author: ana, ref: 'message' }));
  });
  afterAll(() => host.close());

  async function entryAt(seq: number): Promise<Entry | undefined> {
    return (await store.log.read(room, { after: seq - 1, upTo: seq, limit: 1 }))[0];
  }

  async function head(): Promise<number> {
    return (await store.log.state(room))?.head ?? 0;
  }

  /** Columns of the message's row. */
  async function row(seq = target): Promise<Record<string, unknown> | undefined> {
    const [found] = await host.database.sequelize.query<Record<string, unknown>>(
      'SELECT content, data, rev, text_seq, deleted_by, mentions FROM messages WHERE room_id = $1 AND seq = $2',
      { bind: [room, seq], type: QueryTypes.SELECT },
    );
    return found;
  }

  function react(emoji: string, on = true, by = ben, ref?: string): Promise<ChangedMessage> {
    return store.changes.react(by, room, { target, emoji, on, ref });
  }

  describe('edit', () => {
    it('puts the text into the message, and an entry into the log', async () => {
      const input = { target, content: 'bye', data: '{"a":1}', ref: 'edit' };

      const { seq, entry } = await store.changes.edit(ana, room, input);

      expect(seq).toBe(target + 1);
      expect(entry).toEqual({
        roomId: room,
        seq,
        kind: 'edit',
        emitter: ana.userUUID,
        content: 'bye',
        data: '{"a":1}',
        ref: 'edit',
        target,
        createdAt: expect.any(String) as string,
      });
      expect(await entryAt(seq)).toEqual(entry);
      expect(await entryAt(target)).toMatchObject({
        content: 'bye',
        data: '{"a":1}',
        textSeq: seq,
      });
      expect(await row()).toMatchObject({ rev: seq, text_seq: seq, deleted_by: null });
      expect(await head()).toBe(seq);
      expect(await store.log.state(room)).toMatchObject({ rulesHead: 4 });
    });

    it('withholds the text of the edit before, and drops data that it does not give', async () => {
      const data = '{"a":1}';
      const first = await store.changes.edit(ana, room, { target, content: 'one', data });
      const second = await store.changes.edit(ana, room, { target, content: 'two' });

      const before = await entryAt(first.seq);
      expect(before).toMatchObject({ kind: 'edit', target, content: '', isWithheld: true });
      expect(before).not.toHaveProperty('data');
      expect(await entryAt(second.seq)).toEqual(second.entry);
      expect(await row()).toMatchObject({ content: 'two', data: null, text_seq: second.seq });
    });

    it('keeps reply_to and mentions', async () => {
      const extras = { replyTo: target, mentions: [ben.userUUID] };
      const { seq } = await say(store.log, writer, 'reply', { author: ana, ...extras });

      await store.changes.edit(ana, room, { target: seq, content: 'changed' });

      expect(await entryAt(seq)).toMatchObject({ content: 'changed', ...extras });
    });

    it('stores nothing if the text is the same', async () => {
      const same = await store.changes.edit(ana, room, { target, content: 'hello', ref: 'a' });
      expect(same).toEqual({ seq: target, entry: undefined });

      const { seq } = await store.changes.edit(ana, room, { target, content: 'bye', ref: 'a' });
      expect(seq).toBe(target + 1);
      const again = await store.changes.edit(ana, room, { target, content: 'bye' });
      expect(again).toEqual({ seq, entry: undefined });
      expect(await head()).toBe(seq);
    });

    it('is for the sender of the message alone', async () => {
      for (const caller of [ben, admin, reader, newCaller()]) {
        const refused = store.changes.edit(caller, room, { target, content: 'mine' });
        await expect(refused).rejects.toMatchObject({ code: 'FORBIDDEN' });
      }
      await setRule(store, room, { ...ruleOf(ana), permissions: 'r' });
      const refused = store.changes.edit(ana, room, { target, content: 'mine' });
      await expect(refused).rejects.toMatchObject({ code: 'FORBIDDEN' });
    });

    it.each([
      ['a number beyond the log', () => 1_000],
      ['a rule', () => 1],
      ['an edit', async () => (await edited('bye')).seq],
    ])('of %s is refused', async (_, numberOf) => {
      const other = await numberOf();

      const refused = store.changes.edit(ana, room, { target: other, content: 'x' });

      await expect(refused).rejects.toMatchObject({ code: 'NO_SUCH_MESSAGE' });
    });

    it('of a message of another room is refused', async () => {
      const other = await roomOf(store, [[ana, 'rw']]);

      const refused = store.changes.edit(ana, other.roomId, { target, content: 'x' });

      await expect(refused).rejects.toMatchObject({ code: 'NO_SUCH_MESSAGE' });
    });

    it('of a deleted message is refused, and in no room there is nothing', async () => {
      await store.changes.remove(ana, room, { target });

      const refused = store.changes.edit(ana, room, { target, content: 'x' });
      await expect(refused).rejects.toMatchObject({ code: 'DELETED' });
      const nowhere = store.changes.edit(ana, NO_ROOM, { target, content: 'x' });
      await expect(nowhere).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });
  });

  describe('remove', () => {
    it('leaves the text in no table', async () => {
      const data = '{"secret":"sesame"}';
      const { seq } = await say(store.log, writer, 'sesame 1', {
        author: ana,
        data,
        mentions: [ben.userUUID],
      });
      const shown = await store.changes.edit(ana, room, { target: seq, content: 'sesame 2', data });
      await store.changes.edit(ana, room, { target: seq, content: 'sesame 3', data });
      const liked = await store.changes.react(ben, room, { target: seq, emoji: '🔑', on: true });
      expect(await tablesWith(host, 'sesame 3')).toEqual(['messages']);
      while (await storeWords(host.database.sequelize)) continue;
      expect(await tablesWith(host, 'sesame')).toEqual(['message_words', 'messages']);
      expect(await tablesWith(host, '🔑')).toEqual(['messages', 'reactions']);
      expect(await tablesWith(host, 'sesame 2')).toEqual([]);

      const { seq: deletedBy, entry } = await store.changes.remove(ana, room, { target: seq });

      expect(await tablesWith(host, 'sesame')).toEqual([]);
      expect(await tablesWith(host, '🔑')).toEqual([]);
      expect(entry).toMatchObject({ kind: 'delete', target: seq, content: '' });
      expect(await entryAt(deletedBy)).toEqual(entry);
      expect(await row(seq)).toEqual({
        content: '',
        data: null,
        rev: deletedBy,
        text_seq: null,
        deleted_by: deletedBy,
        mentions: null,
      });
      for (const withheld of [seq, shown.seq, shown.seq + 1, liked.seq]) {
        const found = await entryAt(withheld);
        expect(found).toMatchObject({ content: '', isWithheld: true });
        expect(found).not.toHaveProperty('data');
        expect(found).not.toHaveProperty('mentions');
      }
    });

    it('is for readers of their own messages, and for admins', async () => {
      for (const caller of [ben, reader, newCaller()]) {
        const refused = store.changes.remove(caller, room, { target });
        await expect(refused).rejects.toMatchObject({ code: 'FORBIDDEN' });
      }
      await setRule(store, room, { ...ruleOf(ana), permissions: 'r' });
      const own = await store.changes.remove(ana, room, { target });
      const { seq: other } = await say(store.log, await known(), 'hi', { author: ben });
      const byAdmin = await store.changes.remove(admin, room, { target: other });
      expect([own.seq, byAdmin.seq]).toEqual([target + 2, other + 1]);
    });

    it('is refused to a banned user, of their own message, too', async () => {
      await setRule(store, room, { ...ruleOf(ana), permissions: 'rwb' });

      const refused = store.changes.remove(ana, room, { target });

      await expect(refused).rejects.toMatchObject({ code: 'FORBIDDEN' });
    });

    it('answers with the deletion a second time', async () => {
      const { seq } = await store.changes.remove(ana, room, { target });

      expect(await elsewhere.changes.remove(admin, room, { target })).toEqual({
        seq,
        entry: undefined,
      });
      expect(await head()).toBe(seq);
    });

    it('leaves nothing of edits and reactions that are made at the same time', async () => {
      const made = await Promise.allSettled([
        edited('sesame 1'),
        react('🔑'),
        store.changes.remove(ana, room, { target }),
        edited('sesame 2'),
        react('🔑', true, ana),
      ]);

      expect(made[2]).toMatchObject({ status: 'fulfilled' });
      for (const text of ['sesame', '🔑']) expect(await tablesWith(host, text)).toEqual([]);
      const later = (await readAll(store.log, room)).filter(({ seq }) => seq > target);
      for (const entry of later) {
        expect(entry).toMatchObject({ content: '' });
        expect(entry.isWithheld).toBe(entry.kind === 'delete' ? undefined : true);
      }
    });
  });

  describe('react', () => {
    it('counts those who have an emoji on', async () => {
      const said = [];
      for (const [by, on] of [
        [ana, true],
        [ben, true],
        [ana, false],
        [ben, false],
        [ben, true],
      ] as const) {
        const { entry } = await react('👍', on, by);
        said.push(entry && reactionOf(entry));
      }

      expect(said).toEqual([
        { emoji: '👍', on: true, count: 1 },
        { emoji: '👍', on: true, count: 2 },
        { emoji: '👍', on: false, count: 1 },
        { emoji: '👍', on: false, count: 0 },
        { emoji: '👍', on: true, count: 1 },
      ]);
      expect(await row()).toMatchObject({ content: 'hello', rev: target + 5, text_seq: null });
      const last = await entryAt(target + 5);
      expect(last).toMatchObject({ kind: 'reaction', target });
      expect(last && reactionOf(last)).toEqual(said.at(-1));
    });

    it('stores nothing if nothing changes, and answers with the entry that made it so', async () => {
      expect(await react('👍', false)).toEqual({ seq: target, entry: undefined });
      const on = await react('👍');
      expect(await react('👍')).toEqual({ seq: on.seq, entry: undefined });
      const off = await react('👍', false);
      expect(await react('👍', false)).toEqual({ seq: off.seq, entry: undefined });
      expect(await head()).toBe(off.seq);
    });

    it('takes an emoji with and without U+FE0F for one, as it was written first', async () => {
      await react(RED_HEART, true, ana);
      const second = await react(HEART, true, ben);
      await react(HEART, false, ana);
      const third = await react(HEART, true, ana);

      expect(second.entry && reactionOf(second.entry)).toEqual({
        emoji: RED_HEART,
        on: true,
        count: 2,
      });
      expect(third.entry && reactionOf(third.entry)).toMatchObject({ emoji: RED_HEART, count: 2 });
      expect(await react(RED_HEART, true, ben)).toEqual({ seq: second.seq, entry: undefined });
    });

    it('puts 20 different emojis on a message at most', async () => {
      const emojis = Array.from({ length: 21 }, (_, n) => String.fromCodePoint(0x1f600 + n));
      const [last = '', ...others] = emojis;
      for (const emoji of others) await react(emoji);

      await expect(react(last)).rejects.toMatchObject({ code: 'TOO_MANY_REACTIONS' });
      expect((await react(others[0] ?? '', true, ana)).seq).toBe(target + 21);
      await react(others[1] ?? '', false);
      expect((await react(last)).seq).toBe(target + 23);
    });

    it('needs w, a message, and one that is not deleted', async () => {
      await expect(react('👍', true, reader)).rejects.toMatchObject({ code: 'FORBIDDEN' });
      const missing = store.changes.react(ben, room, { target: 1, emoji: '👍', on: true });
      await expect(missing).rejects.toMatchObject({ code: 'NO_SUCH_MESSAGE' });
      await store.changes.remove(ana, room, { target });
      await expect(react('👍')).rejects.toMatchObject({ code: 'DELETED' });
    });

    it('counts right if hundreds react at once, on two nodes', async () => {
      const users = Array.from({ length: 100 }, newCaller);
      const crowd = await roomOf(
        store,
        users.map((user) => [user, 'rw'] as const),
      );
      const message = await say(store.log, crowd, 'hi');
      const input = { target: message.seq, emoji: '👍', on: true };

      const made = await Promise.all(
        users.map((user, n) =>
          (n % 2 === 0 ? store : elsewhere).changes.react(user, crowd.roomId, input),
        ),
      );

      const bySeq = made.toSorted((one, other) => one.seq - other.seq);
      expect(bySeq.map(({ seq }) => seq)).toEqual(users.map((_, n) => message.seq + 1 + n));
      expect(bySeq.map(({ entry }) => entry && reactionOf(entry).count)).toEqual(
        users.map((_, n) => n + 1),
      );
      const log = await readAll(store.log, crowd.roomId);
      expect(log.slice(message.seq)).toEqual(bySeq.map(({ entry }) => entry));
    });
  });

  describe('with a ref', () => {
    const changes: Record<string, (on: Store, ref: string) => Promise<ChangedMessage>> = {
      edit: (on, ref) => on.changes.edit(ana, room, { target, content: 'bye', ref }),
      remove: (on, ref) => on.changes.remove(ana, room, { target, ref }),
      react: (on, ref) => on.changes.react(ana, room, { target, emoji: '👍', on: true, ref }),
    };

    it.each(Object.entries(changes))(
      '%s is stored once, at the same time on two nodes and later',
      async (_, change) => {
        const both = await Promise.all([change(store, 'a'), change(elsewhere, 'a')]);
        const later = await change(elsewhere, 'a');

        expect([...both, later].map(({ seq }) => seq)).toEqual(Array(3).fill(target + 1));
        expect(both.filter(({ entry }) => entry !== undefined)).toHaveLength(1);
        expect(later.entry).toBeUndefined();
        expect(await head()).toBe(target + 1);
      },
    );

    it.each(Object.entries(changes))(
      '%s is known after the message was changed and deleted',
      async (name, change) => {
        const { seq } = await change(store, 'a');
        if (name !== 'remove') {
          await edited('something else');
          await react('👍', false, ana);
        }
        await store.changes.remove(admin, room, { target });

        expect(await change(elsewhere, 'a')).toEqual({ seq, entry: undefined });
      },
    );

    it.each(Object.entries(changes))('%s refuses one that is used', async (_, change) => {
      await expect(change(store, 'message')).rejects.toMatchObject({
        code: 'REF_USED',
        seq: target,
      });
    });

    it('tells other contents, emojis and messages apart', async () => {
      const { seq: other } = await say(store.log, writer, 'other', { author: ana });
      const edit = { target, content: 'bye', data: '{}', ref: 'edit' };
      const reaction = { target, emoji: '👍', on: true, ref: 'reaction' };
      const first = await store.changes.edit(ana, room, edit);
      const second = await store.changes.react(ana, room, reaction);

      for (const changed of [
        { ...edit, content: 'hi' },
        { ...edit, data: undefined },
        { ...edit, target: other },
      ]) {
        const refused = elsewhere.changes.edit(ana, room, changed);
        await expect(refused).rejects.toMatchObject({ code: 'REF_USED', seq: first.seq });
      }
      for (const changed of [
        { ...reaction, emoji: '👎' },
        { ...reaction, on: false },
        { ...reaction, target: other },
      ]) {
        const refused = elsewhere.changes.react(ana, room, changed);
        await expect(refused).rejects.toMatchObject({ code: 'REF_USED', seq: second.seq });
      }
      const asMessage = say(store.log, writer, 'bye', { author: ana, ref: 'edit' });
      await expect(asMessage).rejects.toMatchObject({ code: 'REF_USED', seq: first.seq });
    });

    it('tells copies that arrive at once from others', async () => {
      const edit = { target, content: 'bye', ref: 'a' };
      await react('👍');
      const copies = await Promise.all([
        store.changes.edit(ana, room, edit),
        store.changes.edit(ana, room, edit),
      ]);
      const others = await Promise.allSettled([
        store.changes.edit(ana, room, { target, content: 'one', ref: 'b' }),
        store.changes.edit(ana, room, { target, content: 'two', ref: 'b' }),
      ]);

      expect(copies.map(({ seq }) => seq)).toEqual([target + 2, target + 2]);
      expect(copies.filter(({ entry }) => entry !== undefined)).toHaveLength(1);
      const refused = others.filter(({ status }) => status === 'rejected');
      expect(refused).toMatchObject([{ reason: { code: 'REF_USED', seq: target + 3 } }]);
    });

    it('is not looked up for a caller without the right', async () => {
      await changes['edit']?.(store, 'a');
      await removeRule(store, room, ana.userUUID);

      await expect(changes['edit']?.(store, 'a')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    });
  });

  it('are refused under the lock, if the right ended while they waited', async () => {
    const revoked = removeRule(store, room, ben.userUUID);
    const [done] = await Promise.allSettled([react('👍'), revoked]);

    const { seq: end } = (await readAll(store.log, room)).find(
      ({ seq, kind }) => seq > target && kind === 'member',
    ) ?? { seq: Infinity };
    const isRight =
      done.status === 'fulfilled'
        ? done.value.seq < end
        : (done.reason as ChatError).code === 'FORBIDDEN';
    expect(isRight).toBe(true);
  });

  it('of messages that are sent meanwhile get the numbers between theirs', async () => {
    await Promise.all(
      Array.from({ length: 20 }, (_, n) => [
        say(store.log, writer, `${n}`, { author: ana }),
        react('👍', n % 2 === 0),
        elsewhere.changes.edit(ana, room, { target, content: `text ${n}` }),
      ]).flat(),
    );

    const log = await readAll(store.log, room);
    expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1));
    const edits = log.filter(({ kind }) => kind === 'edit');
    expect(edits.map(({ isWithheld }) => isWithheld)).toEqual([
      ...edits.slice(1).map(() => true),
      undefined,
    ]);
    expect((await entryAt(target))?.content).toBe(edits.at(-1)?.content);
  });

  const commands = fc.array(
    fc.record({
      by: fc.nat(2),
      at: fc.nat(1),
      what: fc.constantFrom('edit', 'react', 'react', 'react', 'take off', 'remove'),
      n: fc.nat(2),
      there: fc.boolean(),
      waits: fc.boolean(),
    }),
    { maxLength: 30 },
  );

  it('leave the log and the tables telling the same, whatever is done', async () => {
    await fc.assert(
      fc.asyncProperty(commands, async (list) => {
        const users = [ana, ben, admin];
        const crowd = await roomOf(
          store,
          users.map((user) => [user, user === admin ? 'rwa' : 'rw'] as const),
        );
        const { roomId } = crowd;
        const targets: number[] = [];
        for (const author of [ana, ben]) {
          targets.push((await say(store.log, crowd, 'first', { author })).seq);
        }
        const pending: Promise<ChangedMessage>[] = [];
        for (const { by, at, what, n, there, waits } of list) {
          const { changes } = there ? elsewhere : store;
          const [user = ana, message = 0] = [users[by], targets[at]];
          const emoji = ['👍', HEART, RED_HEART][n] ?? '';
          const on = what === 'react';
          if (what === 'edit') {
            pending.push(changes.edit(user, roomId, { target: message, content: `text ${n}` }));
          } else if (what === 'remove') {
            pending.push(changes.remove(user, roomId, { target: message }));
          } else {
            pending.push(changes.react(user, roomId, { target: message, emoji, on }));
          }
          if (waits) await Promise.allSettled(pending);
        }
        const made = await Promise.allSettled(pending);

        const log = await readAll(store.log, roomId);
        expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1));
        for (const outcome of made) {
          if (outcome.status !== 'fulfilled' || outcome.value.entry === undefined) continue;
          expect(log[outcome.value.seq - 1]).toMatchObject({
            kind: outcome.value.entry.kind,
            target: outcome.value.entry.target,
          });
        }
        for (const seq of targets) expect(await tabled(roomId, seq)).toEqual(folded(log, seq));
      }),
      { numRuns: 20 },
    );
  });

  /** A message as the tables have it. */
  async function tabled(roomId: number, seq: number): Promise<Folded> {
    const [found] = await host.database.sequelize.query<Folded>(
      `SELECT CASE WHEN deleted_by IS NULL THEN content END AS content, rev, (
         SELECT coalesce(json_object_agg(emoji_key, count), '{}') FROM (
           SELECT emoji_key, count(*) FROM reactions
           WHERE room_id = $1 AND target = $2 AND is_on GROUP BY emoji_key) AS counted
       ) AS counts FROM messages WHERE room_id = $1 AND seq = $2`,
      { bind: [roomId, seq], type: QueryTypes.SELECT },
    );
    if (found === undefined) throw new Error('there is no such message');
    return found;
  }

  function edited(content: string): Promise<ChangedMessage> {
    return store.changes.edit(ana, room, { target, content });
  }

  /** The room as it is now. */
  async function known(): Promise<TestWriter> {
    await writer.refresh();
    return writer;
  }
});

/** What a client knows of a message. */
interface Folded {
  /** Null if it was deleted. */
  readonly content: string | null;
  readonly rev: number | null;
  /** By emoji. */
  readonly counts: Readonly<Record<string, number>>;
}

/** A message as a client has it that has read the whole log of version 2. */
function folded(log: readonly Entry[], seq: number): Folded {
  const message = log[seq - 1];
  const about = log.filter(({ target }) => target === seq);
  const texts = [message, ...about.filter(({ kind }) => kind === 'edit')].filter(
    (entry) => entry?.isWithheld === undefined && entry?.textSeq === undefined,
  );
  const counts: Record<string, number> = {};
  for (const entry of about) {
    if (entry.kind !== 'reaction' || entry.isWithheld === true) continue;
    const { emoji, count } = reactionOf(entry);
    counts[emojiKey(emoji)] = count;
  }
  const isDeleted = about.some(({ kind }) => kind === 'delete');
  // The text stands at one entry, or at none.
  expect(texts).toHaveLength(isDeleted ? 0 : 1);
  return {
    content: texts[0]?.content ?? null,
    rev: about.at(-1)?.seq ?? null,
    counts: Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0)),
  };
}

function ruleOf({ userUUID }: { userUUID: string }): {
  entityUUID: string;
  level: number;
  accepted: boolean;
} {
  return { entityUUID: userUUID, level: 0, accepted: true };
}
