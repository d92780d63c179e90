import { afterAll, beforeAll, expect, it } from 'vitest';
import { ChatClient, ChatError, type Room } from '../../src/client/node.js';
import { createRoom, putRule } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { until } from '../harness/until.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

const ana = person({ levelOnEntity: 999 });
const ben = person();
let world: ChatWorld;
let east: TestNode;
let west: TestNode;
const clients: ChatClient[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(), world.start()]);
});
afterAll(async () => {
  for (const client of clients) client.close();
  await world.close();
});

function clientOf(node: TestNode, { token }: Person): ChatClient {
  const client = new ChatClient(node.url, { token: () => token });
  clients.push(client);
  return client;
}

/** A room of Ana and Ben, as each of them sees it, over a node of their own. */
async function openRoom(): Promise<readonly [Room, Room]> {
  const id = await createRoom(east, ana);
  await putRule(east, ana, id, { userUUID: ben.userUUID, permissions: 'rw' });
  const rooms = [clientOf(east, ana).room(id), clientOf(west, ben).room(id)] as const;
  for (const room of rooms) await until(room, () => room.isLive);
  return rooms;
}

it('a message is in the room at once, and keeps its place and its ref when it is stored', async () => {
  const [room] = await openRoom();
  const stored = room.send({ content: 'one', data: { n: 1 } });
  expect(room.messages).toMatchObject([{ seq: undefined, content: 'one', data: { n: 1 } }]);
  const ref = room.messages[0]?.ref;
  const seq = await stored;
  expect(room.messages).toMatchObject([{ seq, ref, content: 'one', emitter: ana.userUUID }]);
});

it('messages are stored in the order in which they were given, and each is told once', async () => {
  const [room, other] = await openRoom();
  const told: string[] = [];
  other.on('message', ({ content }) => told.push(content));
  const texts = Array.from({ length: 50 }, (_, n) => `${n}`);
  const seqs = await Promise.all(texts.map((text) => room.send(text)));
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  await until(other, () => other.messages.length === 50);
  expect(told).toEqual(texts);
  for (const { messages } of [room, other]) {
    expect(messages.map(({ content }) => content)).toEqual(texts);
  }
});

it('edits, deletions, reactions and replies are seen by everybody', async () => {
  const [room, other] = await openRoom();
  const seq = await room.send('hello');
  const gone = await room.send('oops');
  await room.edit(seq, { content: 'hello!', data: { bold: true } });
  await room.react(seq, '👍');
  await other.react(seq, '👍');
  await other.react(seq, '🎉');
  await other.react(seq, '🎉', false);
  await room.delete(gone);
  const reply = await other.send({ content: 'hi', replyTo: seq, mentions: [ana.userUUID] });
  await until(room, () => room.last === other.last && room.messages.length === 2);
  for (const each of [room, other]) {
    expect(each.messages).toMatchObject([
      {
        seq,
        content: 'hello!',
        data: { bold: true },
        editedAt: expect.any(Date),
        reactions: [{ emoji: '👍', count: 2, mine: true }],
      },
      { seq: reply, replyTo: seq, mentions: [ana.userUUID] },
    ]);
  }
});

it('what the server refuses is rejected with its reason, and is not in the room any more', async () => {
  const [room, other] = await openRoom();
  const seq = await room.send('mine');
  await expect(other.edit(seq, { content: 'yours' })).rejects.toMatchObject({
    reason: 'FORBIDDEN',
  });
  await expect(other.delete(9_999)).rejects.toMatchObject({ reason: 'NO_SUCH_MESSAGE' });
  await expect(other.send('')).rejects.toBeInstanceOf(ChatError);
  await expect(room.send('x'.repeat(8_001))).rejects.toMatchObject({ reason: 'INVALID' });
  expect(room.messages).toHaveLength(1);
});

it('a ref that the server does not take is rejected, and what follows is stored', async () => {
  const [room] = await openRoom();
  for (const ref of ['', 'x'.repeat(65), 'a\0', '\uD800']) {
    const sent = room.send({ content: 'not stored', ref });
    await expect(sent).rejects.toMatchObject({ reason: 'INVALID' });
  }
  await room.send({ content: 'stored', ref: '👍'.repeat(64) });
  expect(room.messages.map(({ content }) => content)).toEqual(['stored']);
});

it('a message that no frame can hold is rejected, and the connection stays', async () => {
  const [room] = await openRoom();
  const last = room.send('after it');
  await expect(room.send('x'.repeat(200_000))).rejects.toMatchObject({ reason: 'TOO_LARGE' });
  await last;
  expect(clients.at(-2)?.state).toBe('online');
});

it('later changes of what was given change nothing of what is sent', async () => {
  const [room] = await openRoom();
  const data = { n: 1 };
  const stored = room.send({ data });
  data.n = 2;
  await stored;
  expect(room.messages).toMatchObject([{ data: { n: 1 } }]);
  const circle: Record<string, unknown> = {};
  circle['itself'] = circle;
  await expect(room.send({ data: circle })).rejects.toThrow('circular');
});

it('the room pages backwards without a hole, and says when there is no more', async () => {
  const [room, other] = await openRoom();
  for (let n = 0; n < 25; n += 1) await room.send(`${n}`);
  const late = clientOf(west, ben).room(room.id);
  await until(late, () => late.isLive && late.messages.length === 25);
  expect(late.hasOlder).toBe(false);

  const { messages, hasMore } = await other.read({ limit: 10 });
  expect([messages.length, hasMore]).toEqual([10, true]);
  const [first] = messages;
  const before = await other.read({ before: first?.seq ?? 0, limit: 100 });
  expect([before.messages.length, before.hasMore]).toEqual([15, false]);

  for (let n = 25; n < 120; n += 1) await room.send(`${n}`);
  const again = clientOf(west, ben).room(room.id);
  await until(again, () => again.messages.length === 50);
  expect(await again.loadOlder()).toBe(true);
  expect(await again.loadOlder()).toBe(false);
  expect(again.messages.map(({ content }) => content)).toEqual(
    Array.from({ length: 120 }, (_, n) => `${n}`),
  );
});
