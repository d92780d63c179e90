import { WebSocket } from 'ws';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  ChatClient,
  type ChatClientOptions,
  type Room,
  type UnsentCommand,
  type UnsentStorage,
} from '../../src/client/node.js';
import { Rest } from '../../src/client/rest.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import { deferred } from '../harness/deferred.js';
import type { TestNode } from '../harness/node.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { person, secondsFromNow, type Person } from '../harness/tokens.js';
import { until } from '../harness/until.js';

const ana = person({ levelOnEntity: 999 });
const ben = person();
let world: ChatWorld;
let node: TestNode;
const clients: ChatClient[] = [];
const outlets: Outlet[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({ POLL_INTERVAL_MS: '200' });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const outlet of outlets.splice(0)) await outlet.close();
});
afterAll(() => world.close());

/** A client that connects again at once. */
function clientOf(
  { token }: Person,
  url: string,
  options: Partial<ChatClientOptions> = {},
): ChatClient {
  const client = new ChatClient(url, { token: () => token, ...options });
  client.on('state', (state) => {
    if (state === 'offline') setTimeout(() => client.reconnect(), 20);
  });
  clients.push(client);
  return client;
}

async function outletOf(url: string): Promise<Outlet> {
  const outlet = await openOutlet(url);
  outlets.push(outlet);
  return outlet;
}

async function roomOfBoth(): Promise<number> {
  const id = await createRoom(node, ana);
  await putRule(node, ana, id, { userUUID: ben.userUUID, permissions: 'rw' });
  return id;
}

const textsOf = (room: Room): string[] => room.messages.map(({ content }) => content);

async function live(room: Room): Promise<Room> {
  await until(room, () => room.isLive && !room.messages.some(({ seq }) => seq === undefined));
  return room;
}

async function say(roomId: number, ...texts: string[]): Promise<void> {
  for (const content of texts) {
    await request(node, 'POST', `/rooms/${roomId}/messages`, { as: ana, body: { content } });
  }
}

it('behind a cut, a room goes on by number, and what was written meanwhile is sent in order', async () => {
  const id = await roomOfBoth();
  const outlet = await outletOf(node.url);
  const client = clientOf(ben, outlet.url);
  const room = await live(client.room(id));
  const told: string[] = [];
  let resets = 0;
  room.on('message', ({ content }) => told.push(content));
  room.on('reset', () => (resets += 1));
  await room.send('first');
  await outlet.cut();
  await until(room, () => !room.isLive);
  const sent = ['a', 'b', 'c'].map((text) => room.send(text));
  expect(textsOf(room)).toEqual(['first', 'a', 'b', 'c']);
  expect(client.unsent).toBe(3);
  await say(id, 'meanwhile', 'and then');
  await outlet.restore();
  const seqs = await Promise.all(sent);
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  const all = ['first', 'meanwhile', 'and then', 'a', 'b', 'c'];
  await until(room, () => told.length === all.length);
  expect(told).toEqual(all);
  expect(textsOf(room)).toEqual(all);
  expect([resets, client.unsent]).toEqual([0, 0]);
});

it('a message whose answer was lost is stored once', async () => {
  const id = await roomOfBoth();
  const outlet = await outletOf(node.url);
  const room = await live(clientOf(ben, outlet.url).room(id));
  outlet.mute();
  const sent = room.send('once');
  await storedIn(id, 'once');
  await outlet.cut();
  await outlet.restore();
  outlet.resume();
  await sent;
  await live(room);
  expect(textsOf(room)).toEqual(['once']);
});

it('through restarts of the server, two clients see the same, each message once', async () => {
  const id = await roomOfBoth();
  let server = await world.start();
  const outlet = await outletOf(server.url);
  const rooms = [ana, ben].map((who) => clientOf(who, outlet.url).room(id));
  const told = rooms.map((room) => {
    const seqs: number[] = [];
    room.on('message', ({ seq = 0 }) => seqs.push(seq));
    return seqs;
  });
  await Promise.all(rooms.map(live));
  const sent: Promise<number>[] = [];
  for (let round = 0; round < 3; round += 1) {
    for (const room of rooms) {
      for (let n = 0; n < 5; n += 1) sent.push(room.send(`${round} ${n}`));
    }
    const [, next] = await Promise.all([server.close(), world.start()]);
    server = next;
    await outlet.cut();
    await outlet.restore(server.url);
  }
  const seqs = (await Promise.all(sent)).toSorted((a, b) => a - b);
  expect(new Set(seqs).size).toBe(30);
  for (const [index, room] of rooms.entries()) {
    await until(room, () => room.messages.length === 30 && room.isLive);
    expect(room.messages.map(({ seq }) => seq)).toEqual(seqs);
    expect(told[index]).toEqual(seqs);
  }
});

it('a room that is too far behind begins anew with its last page', async () => {
  const id = await roomOfBoth();
  const outlet = await outletOf(node.url);
  const room = await live(clientOf(ben, outlet.url, { max: 3 }).room(id));
  await say(id, 'old');
  await until(room, () => room.messages.length === 1);
  let resets = 0;
  room.on('reset', () => (resets += 1));
  await outlet.cut();
  await say(id, '1', '2', '3', '4');
  await outlet.restore();
  await until(room, () => room.isLive && room.messages.length === 5);
  expect(textsOf(room)).toEqual(['old', '1', '2', '3', '4']);
  expect(resets).toBe(1);
  await say(id, '5');
  await until(room, () => room.messages.length === 6);
});

it('a log that was set back shows nothing of the time before', async () => {
  const id = await roomOfBoth();
  const room = await live(clientOf(ben, node.url).room(id));
  await say(id, 'stays', 'is lost', 'is lost, too');
  await until(room, () => room.messages.length === 3);
  const reset = new Promise<void>((resolve) => room.on('reset', resolve));
  const [{ seq: head = 0 } = {}] = room.messages;
  const { databaseUrl } = world;
  await query(databaseUrl, 'DELETE FROM messages WHERE room_id = $1 AND seq > $2', [id, head]);
  await query(databaseUrl, 'UPDATE rooms SET head = $2 WHERE id = $1', [id, head]);
  await reset;
  const seq = await room.send('anew');
  expect(seq).toBe(head + 1);
  await until(room, () => room.isLive && room.messages.length === 2);
  expect(textsOf(room)).toEqual(['stays', 'anew']);
});

it('what is UNAVAILABLE is sent again until it is stored, and nothing overtakes it', async () => {
  const database = await outletOf(world.databaseUrl);
  const weak = await world.start({ DATABASE_URL: database.url, STORE_TIMEOUT_MS: '1000' });
  const id = await roomOfBoth();
  const unavailable = deferred();
  let isStalled = false;
  class Socket extends WebSocket {
    constructor(url: string, protocol: string) {
      super(url, protocol);
      this.on('message', (frame: Buffer) => {
        if (isStalled && frame.includes('UNAVAILABLE')) unavailable.resolve();
      });
    }
  }
  const room = await live(clientOf(ben, weak.url, { WebSocket: Socket }).room(id));
  database.stall();
  isStalled = true;
  const sent = ['a', 'b', 'c'].map((text) => room.send(text));
  await unavailable.promise;
  expect(room.messages.map(({ seq }) => seq)).toEqual([undefined, undefined, undefined]);
  database.resume();
  const seqs = await Promise.all(sent);
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  await until(room, () => room.isLive);
  expect(textsOf(room)).toEqual(['a', 'b', 'c']);
  await weak.close();
});

it('a token that has ended is replaced by a fresh one, before a connect and for requests', async () => {
  const id = await roomOfBoth();
  const ended = person(ben, { exp: secondsFromNow(-60) }).token;
  const tokens = [ended];
  const client = clientOf(ben, node.url, { token: () => tokens.shift() ?? ben.token });
  const states: unknown[] = [];
  client.on('state', (...state) => states.push(state));
  await live(client.room(id));
  expect(states).toContainEqual(['offline', 'UNAUTHORIZED']);

  let given = 0;
  const rest = new Rest({
    url: new URL(`${node.url}/`),
    token: () => ((given += 1) === 1 ? ended : ben.token),
    fetch,
  });
  const asked = Array.from({ length: 3 }, () => rest.request('GET', '/me/rooms'));
  for (const { meta } of await Promise.all(asked)) expect(meta.code).toBe(200);
  expect(given).toBe(2);
});

it('a request rejects with the reason of the server, or OFFLINE without an answer in its form', async () => {
  const client = clientOf(ben, node.url);
  await expect(client.request('GET', '/rooms/999999')).rejects.toMatchObject({
    reason: 'NOT_FOUND',
  });
  const outlet = await outletOf(node.url);
  const alone = clientOf(ben, outlet.url);
  await outlet.cut();
  await expect(alone.request('GET', '/me/rooms')).rejects.toMatchObject({ reason: 'OFFLINE' });
  const proxied = clientOf(ben, node.url, {
    fetch: () => Promise.resolve(new Response('<h1>Bad Gateway</h1>', { status: 502 })),
  });
  await expect(proxied.request('GET', '/me/rooms')).rejects.toMatchObject({ reason: 'OFFLINE' });
  const tokenless = clientOf(ben, node.url, {
    token: () => Promise.reject(new Error('no session')),
  });
  await expect(tokenless.request('GET', '/me/rooms')).rejects.toMatchObject({ reason: 'NO_TOKEN' });
});

it('unsent messages survive the page, and are sent first', async () => {
  const id = await roomOfBoth();
  const storage = storageOf();
  const outlet = await outletOf(node.url);
  await outlet.cut();
  const before = clientOf(ben, outlet.url, { storage });
  const lost = [before.room(id).send('one'), before.room(id).send('two')];
  before.close();
  for (const one of lost) await expect(one).rejects.toMatchObject({ reason: 'CLOSED' });

  const after = clientOf(ben, outlet.url, { storage });
  const room = after.room(id);
  const three = room.send('three');
  await until(room, () => room.messages.length === 3);
  expect(textsOf(room)).toEqual(['one', 'two', 'three']);
  await outlet.restore();
  await three;
  await live(room);
  expect(textsOf(room)).toEqual(['one', 'two', 'three']);
  expect(await storage.load()).toEqual([]);
});

it('a message that was stored before the page ended is never shown twice', async () => {
  const id = await roomOfBoth();
  const storage = storageOf();
  const outlet = await outletOf(node.url);
  const before = clientOf(ben, outlet.url, { storage });
  await live(before.room(id));
  outlet.mute();
  before
    .room(id)
    .send('once')
    .catch(() => undefined);
  await storedIn(id, 'once');
  before.close();

  const shown: number[] = [];
  const room = clientOf(ben, node.url, { storage }).room(id);
  room.on('change', () => shown.push(room.messages.length));
  await until(room, () => room.isLive && room.messages[0]?.seq !== undefined);
  await until(room, () => clients.at(-1)?.unsent === 0);
  expect(Math.max(...shown)).toBe(1);
});

it('a page settles the messages that it has by their refs, and no others of the same text or ref', async () => {
  const [id, other] = [await roomOfBoth(), await roomOfBoth()];
  for (const ref of ['first', 'stored']) {
    const body = { content: 'hi', ref };
    await request(node, 'POST', `/rooms/${id}/messages`, { as: ben, body });
  }
  const storage = storageOf();
  await storage.put({ type: 'message', ref: 'stored', room_id: id, content: 'hi' });
  await storage.put({ type: 'message', ref: 'again', room_id: id, content: 'hi' });
  await storage.put({ type: 'message', ref: 'first', room_id: other, content: 'there' });
  const held: (() => void)[] = [];
  class Socket extends WebSocket {
    override send(frame: string): void {
      if (frame.includes('"type":"message"')) held.push(() => super.send(frame));
      else super.send(frame);
    }
  }
  const client = clientOf(ben, node.url, { storage, WebSocket: Socket });
  const room = client.room(id);
  await until(room, () => room.messages[0]?.seq !== undefined);
  expect(room.messages.map(({ ref }) => ref)).toEqual(['first', 'stored', 'again']);
  expect(client.unsent).toBe(2);

  for (const send of held) send();
  await until(client.room(other), () => client.unsent === 0);
  const { content } = await request(node, 'GET', `/rooms/${other}/messages`, { as: ben });
  expect(content).toMatchObject([{ content: 'there', ref: 'first' }]);
});

/** Resolves once a text is stored. */
async function storedIn(roomId: number, content: string): Promise<void> {
  const sql = 'SELECT 1 FROM messages WHERE room_id = $1 AND content = $2';
  while ((await query(world.databaseUrl, sql, [roomId, content])).length === 0);
}

function storageOf(): UnsentStorage {
  const kept = new Map<string, UnsentCommand>();
  return {
    load: () => Promise.resolve([...kept.values()]),
    put: (command) => kept.set(command.ref, command),
    delete: (ref) => kept.delete(ref),
  };
}
