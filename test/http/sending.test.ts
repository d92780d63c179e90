import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let east: TestNode;
let west: TestNode;
/** A room of ana, its admin, and of ben, who may write. */
let room: number;
const ana = person({ levelOnEntity: 999 });
const ben = person();

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(), world.start()]);
});
afterAll(() => world.close());

beforeEach(async () => {
  room = await createRoom(east, ana);
  await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
});

interface Row {
  readonly seq: number;
  readonly content: string;
  readonly rev?: number;
}

function post(body: object, as: Person = ben, node = east): Promise<Answer> {
  return request(node, 'POST', `/rooms/${room}/messages`, { as, body });
}

function patch(seq: number, body: object, as: Person = ben, node = east): Promise<Answer> {
  return request(node, 'PATCH', `/rooms/${room}/messages/${seq}`, { as, body });
}

function remove(seq: number, ref = '', as: Person = ben, node = east): Promise<Answer> {
  const parameters = ref === '' ? '' : `?ref=${ref}`;
  return request(node, 'DELETE', `/rooms/${room}/messages/${seq}${parameters}`, { as });
}

function get(seq: number, as: Person = ben): Promise<Answer> {
  return request(east, 'GET', `/rooms/${room}/messages/${seq}`, { as });
}

async function sent(body: object, as: Person = ben): Promise<number> {
  const { content } = await post(body, as);
  return (content as Row).seq;
}

async function react(who: Person, target: number, emoji = '👍'): Promise<number> {
  const client = await ChatClient.enterV2(east, who);
  client.send({ type: 'reaction', room_id: room, target, emoji, on: true });
  const [frame] = await client.expect('SENT');
  await client.close();
  return Number(frame?.['seq']);
}

/** The kinds of the room's entries behind a number. */
async function kindsAfter(seq: number): Promise<string[]> {
  const rows = await query<{ kind: string }>(
    world.databaseUrl,
    'SELECT kind FROM messages WHERE room_id = $1 AND seq > $2 ORDER BY seq',
    [room, seq],
  );
  return rows.map(({ kind }) => kind);
}

describe('POST /rooms/:id/messages', () => {
  it('sends a message, and answers with it as every other answer has it', async () => {
    const { seq: root } = (await post({ content: 'root' }, ana)).content as Row;
    const mentions = [ana.userUUID, randomUUID()];

    const body = { content: 'hi', data: { a: [1] }, reply_to: root, mentions, ref: 'a' };
    const answer = await post(body);

    expect(answer).toMatchObject({ status: 201, meta: { head: root + 1 } });
    expect(answer.content).toEqual({
      id: root + 1,
      room_id: room,
      seq: root + 1,
      emitter: ben.userUUID,
      ref: 'a',
      content: 'hi',
      data: { a: [1] },
      reply_to: root,
      mentions,
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
    });
    const read = await get(root + 1);
    expect(read.content).toEqual(answer.content);
    expect(read.meta).toEqual({ ...answer.meta, code: 200, message: 'OK' });
    const alone = await post({ data: {}, content: null, reply_to: null, mentions: [], ref: null });
    expect(alone).toMatchObject({ status: 201, content: { content: '', data: {} } });
    expect(alone.content).not.toHaveProperty('mentions');
  });

  it('is heard at once, in order, by sessions of both versions on both nodes', async () => {
    const clients = [
      await ChatClient.enter(east, ben, room),
      await ChatClient.enter(west, ana, room),
      await ChatClient.enterV2(east, ana, room),
      await ChatClient.enterV2(west, ben, room),
    ];
    const [first] = clients;
    const contents: string[] = [];
    for (let n = 0; n < 5; n += 1) {
      const by = n % 2 === 0 ? `by socket ${n}` : `by REST ${n}`;
      contents.push(by);
      if (n % 2 === 0) {
        first?.say(by, { ref: by });
      } else {
        await post({ content: by, ref: by }, ana, n % 4 === 1 ? east : west);
      }
      // In turn, so that the order is known.
      const [frame] = (await clients[3]?.take(1)) ?? [];
      expect(frame?.data).toMatchObject({ content: by, ref: by });
    }
    for (const client of clients.slice(0, 3)) {
      const frames = await client.take(client === first ? 8 : 5);
      const heard = frames.filter(({ type }) => type === 'message');
      expect(heard.map(({ data }) => (data as Row).content)).toEqual(contents);
    }
    for (const client of clients) await client.close();
  });

  it('stores a ref once, on whichever node it is sent, and however often', async () => {
    const before = await sent({ content: 'before' });
    const body = { content: 'once', data: { a: 1 }, ref: 'the ref' };

    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) => post(body, ben, n % 2 === 0 ? east : west)),
    );

    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(7);
    for (const { content } of answers) expect(content).toEqual(answers[0]?.content);
    expect(await kindsAfter(before)).toEqual(['message']);
    // A node that knows nothing of it.
    const late = await world.start();
    const again = await post(body, ben, late);
    expect(again).toMatchObject({ status: 200, content: { seq: before + 1 } });
    await late.close();
    const client = await ChatClient.enterV2(west, ben);
    client.send({ type: 'message', room_id: room, ...body });
    expect(await client.expect('SENT')).toMatchObject([{ seq: before + 1 }]);
    await client.close();
    for (const other of [{ content: 'twice' }, { data: { a: 2 } }, { reply_to: before }]) {
      const refused = await post({ ...body, ...other });
      expect(refused).toMatchObject({ status: 409, meta: { reason: 'REF_USED', seq: before + 1 } });
    }
    // The ref of somebody else is another one.
    expect(await post({ ...body, content: 'mine' }, ana)).toMatchObject({ status: 201 });
    expect(await kindsAfter(before)).toEqual(['message', 'message']);
  });

  it('answers to a known ref with the message as it is now', async () => {
    const body = { content: 'first', ref: 'a' };
    const seq = await sent(body);
    await patch(seq, { content: 'second' });
    const rev = await react(ana, seq);

    expect(await post(body)).toMatchObject({
      status: 200,
      meta: { head: rev },
      content: { seq, content: 'second', rev, reactions: [{ emoji: '👍', count: 1, mine: false }] },
    });
    await remove(seq);
    expect(await post(body)).toMatchObject({ status: 409, meta: { reason: 'DELETED' } });
    expect(await kindsAfter(seq)).toEqual(['edit', 'reaction', 'delete']);
  });

  it('needs the permission w, and shows nothing of others without r', async () => {
    const bot = person();
    await putRule(east, ana, room, { userUUID: bot.userUUID, permissions: 'w' });
    const body = { content: 'beep', ref: 'a' };
    const seq = await sent(body, bot);
    await post({ content: 'hush', reply_to: seq });
    await react(ana, seq);

    const { status, content } = await post(body, bot);

    expect([status, Object.keys(content as object)]).toEqual([
      200,
      ['id', 'room_id', 'seq', 'emitter', 'ref', 'content', 'createdAt', 'updatedAt'],
    ]);
    expect(await get(seq, bot)).toMatchObject({ status: 403 });
    await putRule(east, ana, room, { userUUID: bot.userUUID, permissions: 'r' });
    for (const node of [east, west]) {
      const refused = await post(body, bot, node);
      expect(refused).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    }
    await putRule(east, ana, room, { userUUID: bot.userUUID, permissions: 'rw' });
    expect(await post({ content: 'beep' }, bot, west)).toMatchObject({ status: 201 });
  });

  it('answers 404 to a missing room, and to a reply to no message', async () => {
    const missing = { as: ana, body: { content: 'hi' } };
    expect(await request(east, 'POST', '/rooms/2000000000/messages', missing)).toMatchObject({
      status: 404,
      meta: { reason: 'NOT_FOUND' },
    });
    for (const reply_to of [1, 1_000_000]) {
      expect(await post({ content: 'hi', reply_to })).toMatchObject({
        status: 404,
        meta: { reason: 'NO_SUCH_MESSAGE' },
      });
    }
  });
});

describe('PATCH /rooms/:id/messages/:seq', () => {
  it('edits one’s own message, once a ref, and answers with it', async () => {
    const seq = await sent({ content: 'first', data: { a: 1 } });
    const there = await ChatClient.enterV2(west, ana, room);

    const answer = await patch(seq, { content: 'second', ref: 'e' });

    expect(answer).toMatchObject({ status: 200, meta: { head: seq + 1 } });
    expect(answer.content).toMatchObject({ seq, content: 'second', rev: seq + 1 });
    expect(answer.content).toHaveProperty('edited_at');
    expect(answer.content).not.toHaveProperty('data');
    expect(await there.take(1)).toMatchObject([
      { type: 'edit', data: { seq: seq + 1, target: seq, content: 'second', ref: 'e' } },
    ]);
    const again = await Promise.all([
      patch(seq, { content: 'second', ref: 'e' }),
      patch(seq, { content: 'second', ref: 'e' }, ben, west),
      patch(seq, { content: 'second' }),
    ]);
    for (const { status, content } of again) {
      expect([status, content]).toEqual([200, answer.content]);
    }
    expect(await patch(seq, { content: 'third', ref: 'e' })).toMatchObject({
      status: 409,
      meta: { reason: 'REF_USED', seq: seq + 1 },
    });
    expect(await kindsAfter(seq)).toEqual(['edit']);
    await there.close();
  });

  it('is refused to others, and to what is no message', async () => {
    const seq = await sent({ content: 'mine' });
    expect(await patch(seq, { content: 'ours' }, ana)).toMatchObject({
      status: 403,
      meta: { reason: 'FORBIDDEN' },
    });
    for (const none of [1, 1_000_000]) {
      expect(await patch(none, { content: 'x' })).toMatchObject({
        status: 404,
        meta: { reason: 'NO_SUCH_MESSAGE' },
      });
    }
    await remove(seq);
    expect(await patch(seq, { content: 'x' })).toMatchObject({
      status: 409,
      meta: { reason: 'DELETED' },
    });
  });
});

describe('DELETE /rooms/:id/messages/:seq', () => {
  it('deletes a message, and answers with the number of its deletion, however often', async () => {
    const seq = await sent({ content: 'pomegranate', data: { a: 1 }, ref: 'a' });
    await patch(seq, { content: 'pomegranates' });
    const there = await ChatClient.enterV2(west, ana, room);

    const answers = await Promise.all([remove(seq, 'd'), remove(seq, 'd', ben, west)]);

    for (const { status, content } of [...answers, await remove(seq)]) {
      expect([status, content]).toEqual([200, { seq: seq + 2 }]);
    }
    expect(await there.take(1)).toMatchObject([
      { type: 'delete', data: { seq: seq + 2, target: seq, ref: 'd' } },
    ]);
    expect(await get(seq)).toMatchObject({ status: 404, meta: { reason: 'DELETED' } });
    const list = await request(east, 'GET', `/rooms/${room}/messages?after=0`, { as: ben });
    expect(list.content).toEqual([]);
    const found = await request(east, 'GET', '/messages?q=pomegranate', { as: ben });
    expect(found.content).toEqual([]);
    expect(await kindsAfter(seq)).toEqual(['edit', 'delete']);
    await there.close();
  });

  it('lets an admin delete what others wrote, and nobody else', async () => {
    const seq = await sent({ content: 'a' }, ana);
    expect(await remove(seq, '', ben)).toMatchObject({ status: 403 });
    const other = await sent({ content: 'b' });
    expect(await remove(other, '', ana)).toMatchObject({ status: 200 });
    expect(await remove(1, '', ana)).toMatchObject({
      status: 404,
      meta: { reason: 'NO_SUCH_MESSAGE' },
    });
    // The ref of the other deletion.
    await remove(await sent({ content: 'c' }), 'd');
    expect(await remove(await sent({ content: 'd' }), 'd')).toMatchObject({
      status: 409,
      meta: { reason: 'REF_USED' },
    });
  });
});

describe('what was UNAVAILABLE', () => {
  it('is settled by the same request again, on any node: one entry each', async () => {
    const seq = await sent({ content: 'first' });
    const deleted = await sent({ content: 'second' });
    const holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', [room]);
    const attempt = (node: TestNode): Promise<Answer[]> =>
      Promise.all([
        post({ content: 'third', ref: 'a' }, ben, node),
        patch(seq, { content: 'first, edited', ref: 'b' }, ben, node),
        remove(deleted, 'c', ben, node),
      ]);

    const first = await attempt(east);
    await holder.end();
    const second = await attempt(west);
    const third = await attempt(east);

    for (const answer of first) {
      expect(answer).toMatchObject({ status: 503, meta: { reason: 'UNAVAILABLE' } });
    }
    // The first attempts may have been stored since.
    expect(second.map(({ status }) => status)).not.toContain(503);
    expect(third.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(third.map(({ content }) => content)).toEqual(second.map(({ content }) => content));
    expect((await kindsAfter(deleted)).toSorted()).toEqual(['delete', 'edit', 'message']);
  });
});

describe('the count of a reaction', () => {
  it('is the same for who joins before the reactions, and behind the page', async () => {
    const target = await sent({ content: 'liked' });
    const others = [person(), person()];
    for (const { userUUID } of others) {
      await putRule(east, ana, room, { userUUID, permissions: 'rw' });
    }
    const before = await sent({ content: 'before the reactions' });
    for (const who of [ana, ...others]) await react(who, target);
    for (let n = 0; n < 5; n += 1) await sent({ content: `behind ${n}` });
    const { meta, content } = await get(target);
    const { head } = meta as unknown as { head: number };
    const { rev } = content as { rev: number };

    expect(content).toMatchObject({ reactions: [{ emoji: '👍', count: 3, mine: false }] });
    expect([rev, head]).toEqual([before + 3, before + 8]);
    for (const after of [before, head]) {
      const client = await ChatClient.enterV2(west, ben);
      client.send({ type: 'join', rooms: [{ room_id: room, after }] });
      await client.expect('CONNECTED');
      const frames = after === head ? [] : await client.take(head - after);
      await client.close();
      // What the replay says is said by the page already; setting it again changes nothing.
      const counts = frames
        .filter(({ type }) => type === 'reaction')
        .map(({ data }) => data as { seq: number; count: number });
      expect(counts.every(({ seq }) => seq <= rev)).toBe(true);
      expect(counts.at(-1)?.count ?? 3).toBe(3);
    }
  });
});

describe('answers of REST and entries of the socket, in whatever order they arrive,', () => {
  /** What a client keeps of a message, by the rule of the page. */
  interface Kept {
    readonly content: string | undefined;
    readonly reactions: Readonly<Record<string, number>>;
    /** The last change that is in it. */
    readonly upTo: number;
  }
  type Arrival =
    | {
        readonly row: Row & { reactions?: { emoji: string; count: number }[] };
        readonly head: number;
      }
    | { readonly entry: { type: string; data: Record<string, unknown> } };

  class Holder {
    readonly kept = new Map<number, Kept>();

    take(arrival: Arrival): void {
      if ('row' in arrival) this.#takeRow(arrival.row, arrival.head);
      else this.#takeEntry(arrival.entry.type, arrival.entry.data);
    }

    #takeRow({ seq, rev = seq, content, reactions = [] }: ArrivedRow, head: number): void {
      const upTo = Math.max(rev, head);
      if ((this.kept.get(seq)?.upTo ?? 0) >= upTo) return;
      const counts = Object.fromEntries(reactions.map(({ emoji, count }) => [emoji, count]));
      this.kept.set(seq, { content, reactions: counts, upTo });
    }

    #takeEntry(type: string, data: Record<string, unknown>): void {
      const { seq, target, content, emoji, count } = data as {
        seq: number;
        target: number;
        content?: string;
        emoji: string;
        count: number;
      };
      if (type === 'message') {
        if (!this.kept.has(seq)) this.kept.set(seq, { content, reactions: {}, upTo: seq });
        return;
      }
      const before = this.kept.get(target);
      // A change of a message that the client does not hold makes no bubble.
      if (before === undefined || before.upTo >= seq) return;
      const reactions = { ...before.reactions };
      if (type === 'reaction') reactions[emoji] = count;
      const text = type === 'edit' ? content : before.content;
      this.kept.set(target, { content: text, reactions, upTo: seq });
    }
  }
  type ArrivedRow = Extract<Arrival, { row: unknown }>['row'];

  it('make the same state, without a message that the client does not hold', async () => {
    const old = await sent({ content: 'old' });
    const socket = await ChatClient.enterV2(west, ana, room);
    const posted = await post({ content: 'new', ref: 'a' });
    const { seq } = posted.content as Row;
    await react(ana, seq);
    const again = await post({ content: 'new', ref: 'a' });
    const oldEdited = await patch(old, { content: 'old, edited' });
    await patch(seq, { content: 'new, edited' });
    await react(ben, seq);
    const last = await get(seq);
    const entries = (await socket.take(5)).map((frame) => ({ entry: frame as never }));
    await socket.close();
    expect(numberOf(entries[0]?.entry)).toBe(seq);
    expect(oldEdited.status).toBe(200);
    const rows = [posted, again, last].map(({ meta, content }) => ({
      row: content as ArrivedRow,
      head: (meta as unknown as { head: number }).head,
    }));
    const expected = {
      content: 'new, edited',
      reactions: { '👍': 2 },
    };

    // Entries come in their order; each row comes anywhere between them.
    const places = Array.from({ length: entries.length + 1 }, (_, at) => at);
    for (const first of places) {
      for (const second of places) {
        for (const third of places) {
          const client = new Holder();
          for (const at of places) {
            for (const [index, place] of [first, second, third].entries()) {
              if (place === at && rows[index]) client.take(rows[index]);
            }
            if (entries[at]) client.take(entries[at]);
          }
          expect([...client.kept]).toEqual([[seq, expect.objectContaining(expected)]]);
        }
      }
    }
  });
});
