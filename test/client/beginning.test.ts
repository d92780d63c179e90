import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  ChatClient,
  type Beginning,
  type ChatClientOptions,
  type Room,
} from '../../src/client/node.js';
import { createRoom, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';
import { until } from '../harness/until.js';

const ana = person({ levelOnEntity: 999 });
let world: ChatWorld;
let node: TestNode;
const clients: ChatClient[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => world.close());

function clientOf(options: Partial<ChatClientOptions> = {}): ChatClient {
  const client = new ChatClient(node.url, { token: () => ana.token, ...options });
  clients.push(client);
  return client;
}

/** A client that asks nothing over HTTP, so that it can't have loaded a page. */
function clientWithoutPages(): ChatClient {
  return clientOf({ fetch: () => Promise.reject(new Error('nothing is to be asked for')) });
}

/** A room with the messages `1`, `2` and so on, and the number of the last one. */
async function roomWith(count: number): Promise<{ readonly id: number; readonly head: number }> {
  const id = await createRoom(node, ana);
  const texts = Array.from({ length: count }, (_, n) => `${n + 1}`);
  return { id, head: await say(id, ...texts) };
}

/** @returns the number of the last one */
async function say(roomId: number, ...texts: string[]): Promise<number> {
  let seq = 0;
  for (const content of texts) {
    const body = { content };
    const answer = await request(node, 'POST', `/rooms/${roomId}/messages`, { as: ana, body });
    ({ seq } = answer.content as { seq: number });
  }
  return seq;
}

async function live(room: Room): Promise<Room> {
  await until(room, () => room.isLive);
  return room;
}

/** Records what a room tells: the numbers of its entries, and where it began anew. */
function toldBy(room: Room): (number | 'reset')[] {
  const told: (number | 'reset')[] = [];
  room.on('entry', (_, { seq }) => told.push(seq));
  room.on('reset', () => told.push('reset'));
  return told;
}

const textsOf = (room: Room): string[] => room.messages.map(({ content }) => content);

it('a room that begins behind a number tells every entry beyond it, and loads no page', async () => {
  const { id, head } = await roomWith(4);
  const body = { content: 'one' };
  await request(node, 'PATCH', `/rooms/${id}/messages/${head - 3}`, { as: ana, body });
  const room = clientWithoutPages().room(id, { after: head - 2 });
  const told = toldBy(room);
  await live(room);
  const last = await say(id, 'six');
  await until(room, () => room.last === last);
  expect(told).toEqual([head - 1, head, head + 1, last]);
  expect(textsOf(room)).toEqual(['3', '4', 'six']);
});

it('a room that begins at its head tells only what comes from then on, and loads no page', async () => {
  const { id, head } = await roomWith(2);
  const room = clientWithoutPages().room(id, { after: 'head' });
  const told = toldBy(room);
  await live(room);
  expect(room.last).toBe(head);
  const last = await say(id, '3');
  await until(room, () => room.last === last);
  expect([told, textsOf(room)]).toEqual([[last], ['3']]);
});

it('messages before those of a room that began behind a number are loaded as in any other', async () => {
  const { id, head } = await roomWith(4);
  const room = await live(clientOf().room(id, { after: head - 2 }));
  expect(await room.loadOlder(1)).toBe(true);
  expect(textsOf(room)).toEqual(['2', '3', '4']);
  expect(await room.loadOlder()).toBe(false);
  expect(textsOf(room)).toEqual(['1', '2', '3', '4']);
});

it('a room goes on in another client where it was in one before', async () => {
  const { id } = await roomWith(1);
  const { last, epoch } = await live(clientOf().room(id));
  const head = await say(id, '2', '3');
  const room = clientWithoutPages().room(id, { after: last, epoch });
  const told = toldBy(room);
  await live(room);
  expect(told).toEqual([head - 1, head]);
});

it.each<[string, Beginning]>([
  ['of another log', { after: 1, epoch: crypto.randomUUID() }],
  ['beyond the head', { after: 99 }],
  ['too far behind', { after: 0 }],
])('a room that begins behind a number %s begins anew with its last page', async (_, beginning) => {
  const { id, head } = await roomWith(3);
  const room = clientOf({ max: 2 }).room(id, beginning);
  const told = toldBy(room);
  await until(room, () => room.messages.length === 3);
  expect([told, room.last]).toEqual([['reset'], head]);
  const last = await say(id, '4');
  await until(room, () => room.last === last);
  expect(told).toEqual(['reset', last]);
});

it('a room that the list follows goes back to the number behind which it is opened', async () => {
  const { id, head } = await roomWith(3);
  const chat = clientOf();
  const list = chat.rooms();
  await until(list, () => list.items.some((row) => row.id === id));
  const room = chat.room(id, { after: head - 2 });
  const told = toldBy(room);
  await live(room);
  expect([told, textsOf(room)]).toEqual([
    [head - 1, head],
    ['2', '3'],
  ]);
  expect(list.items.find((row) => row.id === id)).toMatchObject({ head, unread: 0 });
  // It is open: it stays where it is.
  expect(chat.room(id, { after: 'head' }).messages).toHaveLength(2);
});
