import { once } from 'node:events';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({
    SOCKETS_PER_USER: '2',
    SOCKETS_PER_ADDRESS: '3',
    SOCKETS_BEFORE_READY: '4',
    TRUSTED_PROXIES: '1',
  });
});
afterAll(() => world.close());

const from = (address: string): { headers: Record<string, string> } => ({
  headers: { 'X-Forwarded-For': address },
});

/** The status with which an upgrade is refused. */
async function refusedUpgrade(address: string): Promise<number | undefined> {
  const socket = new WebSocket(node.chatUrl, from(address));
  socket.on('error', () => undefined);
  const [, response] = (await once(socket, 'unexpected-response')) as [
    unknown,
    { statusCode?: number; destroy(): void },
  ];
  response.destroy();
  return response.statusCode;
}

it('a user has so many sockets, of any version, and another one when one of them has ended', async () => {
  const who = person();
  const hello = { type: 'token', content: who.token };
  const first = await ChatClient.enter(node, who);
  const second = await ChatClient.enterV2(node, who);
  const third = await ChatClient.openV2(node.chatUrl);
  third.send(hello);
  await third.expect('START?');
  expect(await third.closed()).toMatchObject({ code: 1013, reason: 'OVERLOAD' });
  // A token that is refreshed is of the same socket.
  first.send(hello);
  await first.expect('READY');
  await first.close();
  const fourth = await ChatClient.enterV2(node, who);
  await Promise.all([second.close(), fourth.close()]);
});

it('a server token has any number of sockets, whose refreshed tokens count as those that they are', async () => {
  const server = person({}, { server: true });
  const user = person({ userUUID: server.userUUID });
  const clients = await Promise.all(
    [1, 2, 3].map((host) => ChatClient.openV2(node.chatUrl, from(`198.51.100.${host}`))),
  );
  for (const client of clients) {
    client.send({ type: 'token', content: server.token });
    await client.expect('START?', 'READY');
  }
  for (const client of clients) client.send({ type: 'token', content: user.token });
  const closed = clients[2]?.closed();
  expect(await closed).toMatchObject({ code: 1013, reason: 'OVERLOAD' });
  await Promise.all(clients.map((client) => client.close()));
});

it('an address has so many sockets, and another address has its own', async () => {
  const clients = await Promise.all(
    [1, 2, 3].map((host) => ChatClient.open(node.chatUrl, from(`2001:db8::${host}`))),
  );
  expect(await refusedUpgrade('2001:db8::4')).toBe(429);
  const other = await ChatClient.open(node.chatUrl, from('2001:db9::1'));
  for (const client of [...clients, other]) await client.close();
});

it('so many sockets wait for their token, and one that is READY does not', async () => {
  const ready = await ChatClient.enter(node, person());
  const waiting = await Promise.all(
    [1, 2, 3, 4].map((host) => ChatClient.open(node.chatUrl, from(`203.0.113.${host}`))),
  );
  expect(await refusedUpgrade('203.0.113.5')).toBe(503);
  const [one] = waiting;
  one?.send({ type: 'token', content: person().token });
  await one?.expect('START?', 'READY');
  const next = await ChatClient.open(node.chatUrl, from('203.0.113.5'));
  for (const client of [ready, ...waiting, next]) await client.close();
});
