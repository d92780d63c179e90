import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import {
  createKeySigner,
  startKeySource,
  type KeySource,
  type Signer,
} from '../harness/signers.js';
import { person, secondsFromNow, sign, type Person } from '../harness/tokens.js';

const MINUTE_MS = 60_000;
const [rsa, ec, ed] = [
  createKeySigner('RS256'),
  createKeySigner('ES256'),
  createKeySigner('EdDSA'),
];
let world: ChatWorld;
let source: KeySource;
/** Takes tokens by a key of its own, by the source's, and by secrets. */
let node: TestNode;

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  world = await createChatWorld();
  source = await startKeySource(rsa, ec);
  node = await world.start({
    JWT_PUBLIC_KEY: ed.pem,
    JWKS_URL: source.url,
    JWT_OLD_SECRETS: 'a former secret that had 32 characters',
  });
});
afterAll(async () => {
  await world.close();
  await source.close();
  vi.useRealTimers();
});

/** A user whose token an application signs with its key. */
function signedBy(signer: Signer, claims: object = {}): Person {
  const who = person();
  const { userUUID, entityUUID, levelOnEntity } = who;
  const all = { userUUID, entityUUID, levelOnEntity, exp: secondsFromNow(600), ...claims };
  return { ...who, token: signer.sign(all) };
}

async function statusOf(who: Person): Promise<number> {
  return (await request(node, 'GET', '/rooms', { as: who })).status;
}

/** The source has another key from now on. */
async function rotate(): Promise<Signer> {
  const next = createKeySigner('EdDSA');
  source.answer = [rsa, ec, next];
  // The node may fetch it again.
  vi.advanceTimersByTime(MINUTE_MS);
  return next;
}

describe('a node with secrets, a key and a set of keys', () => {
  it('takes tokens by each of them, over REST and the socket', async () => {
    const former = person();
    const token = sign({ ...former, token: undefined }, 'a former secret that had 32 characters');
    const users = [person(), { ...former, token }, ...[rsa, ec, ed].map((by) => signedBy(by))];
    for (const who of users) {
      expect(await statusOf(who)).toBe(200);
      const sockets = await Promise.all([
        ChatClient.enter(node, who),
        ChatClient.enterV2(node, who),
      ]);
      await Promise.all(sockets.map((socket) => socket.close()));
    }
    expect(await statusOf(signedBy(createKeySigner('ES256')))).toBe(401);
  });

  it('fetches an unknown key before it answers, in whatever way its token comes', async () => {
    const ways: ((who: Person) => Promise<unknown>)[] = [
      async (who) => {
        expect(await statusOf(who)).toBe(200);
      },
      async (who) => (await ChatClient.enter(node, who)).close(),
      async (who) => (await ChatClient.enterV2(node, who)).close(),
      async ({ token }) => {
        const headers = { Authorization: `Bearer ${token}` };
        const client = await ChatClient.open(node.chatUrl, { headers });
        // Behind the token, although that waits.
        client.send({ type: 'select_room', room_id: 2_000_000_000 });
        await client.expect('START?', 'READY', 'NOTAUTHORIZED');
        await client.close();
      },
      async ({ token }) => {
        const headers = { Authorization: `Bearer ${token}` };
        const client = await ChatClient.openV2(node.chatUrl, { headers });
        client.send({ type: 'ping' });
        await client.expect('START?', 'READY', 'PONG');
        await client.close();
      },
    ];
    for (const way of ways) await way(signedBy(await rotate()));
  });

  it('refreshes a session by an unknown key, and keeps the order of its commands', async () => {
    const first = signedBy(ec);
    const clients = await Promise.all([
      ChatClient.enter(node, first),
      ChatClient.enterV2(node, first),
    ]);
    const room_id = 2_000_000_000;
    const commands = [
      { type: 'select_room', room_id },
      { type: 'join', rooms: [{ room_id }] },
    ];
    for (const [index, client] of clients.entries()) {
      const next = await rotate();
      const { userUUID, entityUUID } = first;
      client.send({ type: 'token', content: next.sign({ userUUID, entityUUID }) });
      client.send(commands[index] ?? {});
      await client.expect('READY', index === 0 ? 'NOTAUTHORIZED' : 'NOTFOUND');
    }
    await Promise.all(clients.map((client) => client.close()));
  });

  it('refuses tokens of unknown keys, and fetches once for all of them', async () => {
    await rotate();
    const before = source.requests;
    const stranger = createKeySigner('ES256');
    const unknown = Array.from({ length: 50 }, () => ({
      ...person(),
      token: stranger.sign(person(), { kid: randomUUID() }),
    }));

    const statuses = await Promise.all(unknown.map((who) => statusOf(who)));

    expect(new Set(statuses)).toEqual(new Set([401]));
    expect(source.requests).toBe(before + 1);
  });

  it('takes tokens by the keys that it has while the source is down', async () => {
    source.answer = 500;
    vi.advanceTimersByTime(MINUTE_MS);
    expect(await statusOf(signedBy(createKeySigner('ES256')))).toBe(401);

    expect(await statusOf(signedBy(rsa))).toBe(200);
  });

  it('takes a server token by a key', async () => {
    const server = signedBy(ed, { server: true });
    const answer = await request(node, 'POST', '/sessions/revoke', {
      as: server,
      body: { userUUID: randomUUID() },
    });
    expect(answer.status).toBe(200);
  });
});
