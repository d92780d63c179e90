import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { ChatClient, type Room } from '../../src/client/node.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';
import { until } from '../harness/until.js';

const ana = person({ levelOnEntity: 999 });
const ben = person({}, { name: 'Ben' });
let world: ChatWorld;
let east: TestNode;
let west: TestNode;
const clients: ChatClient[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(), world.start()]);
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  vi.useRealTimers();
});
afterAll(() => world.close());

function clientOf({ token }: Person, { url }: TestNode): ChatClient {
  const client = new ChatClient(url, { token: () => token });
  clients.push(client);
  return client;
}

/** A room of Ana and Ben, as each of them sees it, over a node of their own. */
async function openRoom(permissions = 'rw'): Promise<readonly [Room, Room]> {
  const id = await createRoom(east, ana);
  await putRule(east, ana, id, { userUUID: ben.userUUID, permissions });
  const rooms = [clientOf(ana, east).room(id), clientOf(ben, west).room(id)] as const;
  for (const room of rooms) await until(room, () => room.isLive);
  return rooms;
}

it('shows who is online, and nobody while it is not connected', async () => {
  const [room, other] = await openRoom();
  const both = new Set([ana.userUUID, ben.userUUID]);
  for (const each of [room, other]) {
    await until(each, () => each.onlineCount === 2);
    expect(each.online).toEqual(both);
  }
  clients[0]?.close();
  expect([room.online.size, room.onlineCount]).toEqual([0, undefined]);
});

it('shows who types for 5 s, or until their message comes', async () => {
  const [room, other] = await openRoom();
  const told: unknown[] = [];
  room.on('typing', (...event) => told.push(event));
  other.setTyping();
  other.setTyping();
  await until(room, () => room.typing.length === 1);
  expect(room.typing).toEqual([ben.userUUID]);
  await other.send('done');
  await until(room, () => room.messages.length === 1);
  expect(room.typing).toEqual([]);
  expect(told).toEqual([
    [ben.userUUID, true],
    [ben.userUUID, false],
  ]);
});

it('shows how far others have read, and how far oneself has on another device', async () => {
  const [room, other] = await openRoom();
  const device = clientOf(ben, east).room(room.id);
  await until(device, () => device.isLive);
  const seq = await room.send('news');
  await until(other, () => other.last === seq);
  expect(await other.markRead()).toBe(seq);
  expect(other.readUpto).toBe(seq);
  await until(device, () => device.readUpto === seq);
  await until(room, () => room.readers.get(ben.userUUID) === seq);
  // It is there already: nothing is sent.
  expect(await other.markRead(seq - 1)).toBe(seq);
  const back = await other.markRead(seq - 1, { back: true });
  expect(back).toBe(seq - 1);
  await until(device, () => device.readUpto === back);
  expect(room.readers.get(ben.userUUID)).toBe(seq);
});

it('tells of changed permissions, and closes the room if it may not be read any more', async () => {
  const [room, other] = await openRoom();
  const told: string[] = [];
  other.on('access', (permissions) => told.push(permissions));
  expect(other.permissions).toBe('rw');
  await putRule(east, ana, room.id, { userUUID: ben.userUUID, permissions: 'r' });
  await until(other, () => other.permissions === 'r');
  await expect(other.send('may I?')).rejects.toMatchObject({ reason: 'FORBIDDEN' });
  await request(east, 'DELETE', `/rooms/${room.id}/members/${ben.userUUID}`, { as: ana });
  await until(other, () => other.phase === 'closed');
  await room.send('among us');
  expect([other.closed, other.messages, told]).toEqual(['REVOKED', [], ['r', '']]);
  await expect(other.send('let me in')).rejects.toMatchObject({ reason: 'FORBIDDEN' });

  // It is opened again once the user is let in again.
  await putRule(east, ana, room.id, { userUUID: ben.userUUID, permissions: 'rw' });
  const again = clients[1]?.room(room.id) ?? other;
  expect(again).toBe(other);
  await until(again, () => again.messages.length === 1);
  await again.send('I am back');
});

it('a room that is deleted, does not exist, or may not be read is closed with the reason', async () => {
  const [room, other] = await openRoom();
  await request(east, 'DELETE', `/rooms/${room.id}`, { as: ana });
  await until(other, () => other.phase === 'closed');
  expect(other.closed).toBe('ROOM_DELETED');
  const none = clients[0]?.room(987_654) ?? room;
  await until(none, () => none.phase === 'closed');
  expect(none.closed).toBe('NOT_FOUND');
  const foreign = clientOf(person(), east).room(await createRoom(east, ana));
  await until(foreign, () => foreign.phase === 'closed');
  expect(foreign.closed).toBe('FORBIDDEN');
});

it('a room with a malformed number is closed alone', async () => {
  const id = await createRoom(east, ana);
  const chat = clientOf(ana, east);
  const [malformed, room] = [chat.room(0.5), chat.room(id)];
  await until(malformed, () => malformed.phase === 'closed');
  expect(malformed.closed).toBe('INVALID');
  await until(room, () => room.isLive);
});

it('a room is one object for all who open it, and is left for all of them', async () => {
  const [room] = await openRoom();
  await room.send('here');
  const same = clients.at(-2)?.room(room.id);
  expect(same).toBe(room);
  same?.leave();
  expect([room.phase, room.messages]).toEqual(['idle', []]);
  clients.at(-2)?.room(room.id);
  await until(room, () => room.messages.length === 1);
});

it('a message to a room that one may write but not read is stored', async () => {
  const id = await createRoom(east, ana);
  await putRule(east, ana, id, { userUUID: ben.userUUID, permissions: 'w' });
  const room = clientOf(ben, west).room(id);
  const seq = await room.send('into the box');
  expect(seq).toBeGreaterThan(0);
  expect(room.closed).toBe('FORBIDDEN');
});

it('what was left tells of nothing more, and what was sent to it is stored', async () => {
  const [room, other] = await openRoom();
  let changes = 0;
  await other.send('here');
  const sent = other.send('and gone');
  other.leave();
  other.on('entry', () => (changes += 1));
  await sent;
  await room.send('are you there?');
  await until(room, () => room.messages.length === 3);
  expect([other.phase, other.messages, changes]).toEqual(['idle', [], 0]);
  await until(room, () => room.onlineCount === 2);
});

it('names of users are asked for when they are needed', async () => {
  const [room] = await openRoom();
  const users = clients[0]?.users;
  const named = new Promise<void>((resolve) => {
    clients[0]?.on('users', resolve);
  });
  // The emitter of a message that waits for the first connection.
  expect(users?.get('')).toBeUndefined();
  expect(users?.get(ben.userUUID)).toBeUndefined();
  await named;
  expect(users?.get(ben.userUUID)).toEqual({ userUUID: ben.userUUID, name: 'Ben', picture: null });
  expect(room.phase).toBe('joined');
});

it('messages are found by their words', async () => {
  const [room] = await openRoom();
  const word = `w${crypto.randomUUID().replaceAll('-', '')}`;
  for (let n = 0; n < 25; n += 1) await room.send(`${word} ${n}`);
  const chat = clients[0];
  const first = await chat?.search(word, { roomId: room.id });
  expect(first?.rows).toHaveLength(20);
  const rest = await chat?.search(word, { roomId: room.id, cursor: first?.cursor });
  expect(rest?.rows.map(({ content }) => content)).toContain(`${word} 0`);
  expect(rest?.cursor).toBeUndefined();
});

it('there is no event of another name, as the compiler knows', () => {
  const client = clientOf(ana, east);
  // @ts-expect-error -- it is called `state`
  const ends = [client.on('stat', () => undefined)];
  // @ts-expect-error -- it is called `change`
  ends.push(client.rooms().on('changed', () => undefined));
  for (const end of ends) end();
  expect(ends).toHaveLength(2);
});
