import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { ChatClient, type RoomList, type RoomRow } from '../../src/client/node.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { eventually } from '../harness/eventually.js';
import { person, type Person } from '../harness/tokens.js';
import { until } from '../harness/until.js';

/** Each takes two seconds, most of it for what the list asks for after a rest. */
const RUNS = 4;

const ana = person({ levelOnEntity: 999 });
let world: ChatWorld;
let node: TestNode;
const clients: ChatClient[] = [];
const outlets: Outlet[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const outlet of outlets.splice(0)) await outlet.close();
});
afterAll(() => world.close());

function clientOf({ token }: Person, url = node.url): ChatClient {
  const client = new ChatClient(url, { token: () => token });
  client.on('state', (state) => {
    if (state === 'offline') setTimeout(() => client.reconnect(), 20);
  });
  clients.push(client);
  return client;
}

async function loaded(list: RoomList): Promise<RoomList> {
  await until(list, () => list.isLoaded);
  return list;
}

/** Resolves once the list says what the server says. */
async function expectSame(list: RoomList, as: Person): Promise<void> {
  const { content } = await request(node, 'GET', '/me/rooms', { as });
  const due = (content as RoomRow[]).map(shownOf);
  await eventually(() => {
    expect(list.items.map(shownOf)).toEqual(due);
  });
}

function shownOf({ id, name, head, read, unread, mentions, permissions, ...row }: RoomRow) {
  const { seq, content } = row.last_message ?? {};
  return { id, name, head, read, unread, mentions, permissions, seq, content };
}

const n = fc.nat(1_000);
const room = fc.nat(2);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('hear' as const), room, n }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('say' as const), room, n }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('delete' as const), room, n }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('edit' as const), room, n }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('read' as const), room, n }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('back' as const), room, n }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rename' as const), room, n }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cut' as const), room, n }) },
);

it('unread messages and mentions are those of GET /me/rooms, whatever happens', async () => {
  const property = fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), story);
  await fc.assert(property, { numRuns: RUNS, endOnFailure: true });
});

async function story(
  steps: readonly { readonly do: string; readonly room: number; readonly n: number }[],
): Promise<void> {
  const ben = person();
  const outlet = await openOutlet(node.url);
  outlets.push(outlet);
  const rooms: number[] = [];
  for (let count = 0; count < 3; count += 1) {
    const id = await createRoom(node, ana);
    await putRule(node, ana, id, { userUUID: ben.userUUID, permissions: 'rw' });
    await request(node, 'PUT', `/rooms/${id}/invitation`, { as: ben, body: { accepted: true } });
    rooms.push(id);
  }
  const device = clientOf(ben);
  const chat = clientOf(ben, outlet.url);
  const list = await loaded(chat.rooms());
  const said: Promise<unknown>[] = [];
  const seqs = new Map<number, number[]>(rooms.map((id) => [id, []]));
  for (const { do: what, room, n } of steps) {
    const id = rooms[room] ?? 0;
    const known = seqs.get(id) ?? [];
    const one = known[n % known.length] ?? 0;
    if (what === 'hear') {
      const mentions = n % 3 === 0 ? { mentions: [ben.userUUID] } : {};
      known.push(await post(id, ana, { content: `${n}`, ...mentions }));
    } else if (what === 'say') {
      said.push(post(id, ben, { content: `own ${n}` }));
    } else if (what === 'delete') {
      await request(node, 'DELETE', `/rooms/${id}/messages/${one || 1}`, { as: ana });
    } else if (what === 'edit') {
      const body = { content: `edited ${n}` };
      await request(node, 'PATCH', `/rooms/${id}/messages/${one || 1}`, { as: ana, body });
    } else if (what === 'read') {
      const reader = n % 2 === 0 ? device : chat;
      said.push(reader.room(id).markRead(n % 4 === 0 ? 9_999 : one));
    } else if (what === 'back') {
      said.push(device.room(id).markRead(one, { back: true }));
    } else if (what === 'rename') {
      await request(node, 'PATCH', `/rooms/${id}`, { as: ana, body: { name: `name ${n}` } });
    } else {
      await outlet.cut();
      await outlet.restore();
    }
  }
  await Promise.all(said);
  await expectSame(list, ben);
  device.close();
  chat.close();
  await outlet.close();
}

async function post(roomId: number, as: Person, body: object): Promise<number> {
  const { content } = await request(node, 'POST', `/rooms/${roomId}/messages`, { as, body });
  return (content as { seq: number }).seq;
}

it('an invitation is in the list at once, and is accepted by opening the room alone', async () => {
  const ben = person();
  const chat = clientOf(ben);
  const list = await loaded(chat.rooms());
  expect(list.items).toEqual([]);
  const id = await createRoom(node, ana, { name: 'the crew' });
  await putRule(node, ana, id, { userUUID: ben.userUUID, permissions: 'rw' });
  await until(list, () => list.items.length === 1);
  expect(list.items).toMatchObject([{ id, name: 'the crew', accepted: false }]);
  const opened = chat.room(id);
  await until(list, () => list.items[0]?.accepted === true);
  opened.leave();
  await post(id, ana, { content: 'welcome' });
  await until(list, () => list.items[0]?.unread === 1);
  expect(opened.messages).toEqual([]);

  await request(node, 'DELETE', `/rooms/${id}/members/${ben.userUUID}`, { as: ana });
  await until(list, () => list.items.length === 0);
});

it('rooms with last messages of one millisecond are ordered as by the server', async () => {
  const ben = person();
  const ids: number[] = [];
  for (let count = 0; count < 2; count += 1) {
    const id = await createRoom(node, ana);
    await putRule(node, ana, id, { userUUID: ben.userUUID, permissions: 'r' });
    await post(id, ana, { content: 'at once' });
    ids.push(id);
  }
  const [first = 0] = ids;
  const { databaseUrl } = world;
  const sql = 'UPDATE messages SET "createdAt" = $2 WHERE room_id = ANY($1)';
  await query(databaseUrl, sql, [ids, new Date()]);
  const list = await loaded(clientOf(ben).rooms());
  await query(databaseUrl, 'UPDATE rooms SET name = $2 WHERE id = $1', [first, 'asked for again']);
  list.refresh(first);
  await until(list, () => list.items.some(({ name }) => name === 'asked for again'));
  expect(list.items.map(({ id }) => id)).toEqual(ids.toReversed());
});

it('rooms without messages keep their places, by their creation', async () => {
  const ben = person();
  const ids: number[] = [];
  for (let count = 0; count < 3; count += 1) {
    const id = await createRoom(node, ana);
    await putRule(node, ana, id, { userUUID: ben.userUUID, permissions: 'r' });
    ids.push(id);
  }
  const [first = 0] = ids;
  const list = await loaded(clientOf(ben).rooms());
  const sql = 'UPDATE rooms SET name = $2 WHERE id = $1';
  await query(world.databaseUrl, sql, [first, 'asked for again']);
  list.refresh(first);
  await until(list, () => list.items.some(({ name }) => name === 'asked for again'));
  expect(list.items.map(({ id }) => id)).toEqual(ids.toReversed());
});

it('the list is loaded page by page, and again as far as it was', async () => {
  const ben = person();
  const ids: number[] = [];
  for (let count = 0; count < 53; count += 1) {
    const id = await createRoom(node, ana);
    await putRule(node, ana, id, { userUUID: ben.userUUID, permissions: 'r' });
    ids.push(id);
  }
  const outlet = await openOutlet(node.url);
  outlets.push(outlet);
  const list = await loaded(clientOf(ben, outlet.url).rooms());
  expect([list.items.length, list.hasMore]).toEqual([50, true]);
  await Promise.all([list.loadMore(), list.loadMore()]);
  expect([list.items.length, list.hasMore]).toEqual([53, false]);
  await outlet.cut();
  await request(node, 'DELETE', `/rooms/${ids[0]}/members/${ben.userUUID}`, { as: ana });
  await outlet.restore();
  await until(list, () => list.items.length === 52);
  expect(new Set(list.items.map(({ id }) => id))).toEqual(new Set(ids.slice(1)));
});

it('a direct room in the list shows who is online, without being opened', async () => {
  const [ben, carla] = [person(), person()];
  const { content } = await request(node, 'POST', '/rooms', {
    as: ben,
    body: { type: 'user2user', userUUID: carla.userUUID },
  });
  const { id } = (content as { room: { id: number } }).room;
  await request(node, 'PUT', `/rooms/${id}/invitation`, { as: carla, body: { accepted: true } });
  const list = await loaded(clientOf(ben).rooms());
  const isOnline = (): boolean => list.items.some((row) => list.isOnline(row));
  expect(isOnline()).toBe(false);

  const other = clientOf(carla);
  await loaded(other.rooms());
  await until(list, isOnline);
  other.close();
  await until(list, () => !isOnline());
});
