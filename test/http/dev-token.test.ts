import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request, type Answer } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { rawRequest } from '../harness/raw-request.js';
import type { Person } from '../harness/tokens.js';

const PATH = '/dev/token';

let world: ChatWorld;
let dataDir: string;
/** On a secret that it has made. */
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  dataDir = await mkdtemp(join(tmpdir(), 'nano-test-'));
  node = await start();
});
afterAll(async () => {
  await world.close();
  await rm(dataDir, { recursive: true });
});

function start(env: Readonly<Record<string, string>> = {}): Promise<TestNode> {
  return world.start({ JWT_MASTER_SECRET: '', DATA_DIR: dataDir, ...env });
}

/** Becomes one of the users. */
async function become(name: string, at = node): Promise<Person & { claims: unknown }> {
  const answer = await request(at, 'POST', PATH, { body: { name } });
  expect(answer).toMatchObject({ status: 200, content: { token: expect.any(String) as string } });
  const { token } = answer.content as { token: string };
  const as = { userUUID: '', entityUUID: '', levelOnEntity: 0, isServer: false, token };
  const { content: claims } = await request(at, 'GET', '/test/token', { as });
  return { ...as, ...(claims as Person), token, claims };
}

const rooms = async (as: Person): Promise<{ id: number; name: string; permissions: string }[]> => {
  const { content } = await request(node, 'GET', '/rooms', { as });
  return content as { id: number; name: string; permissions: string }[];
};

describe('GET /dev/token', () => {
  it('names the users', async () => {
    const answer = await request(node, 'GET', PATH);
    expect(answer).toMatchObject({ status: 200, content: { names: ['Ana', 'Bruno', 'Carla'] } });
  });
});

describe('POST /dev/token', () => {
  it('makes tokens of users of one entity, who are the same after a restart', async () => {
    const users = await Promise.all(['Ana', 'Bruno', 'Carla'].map((name) => become(name)));
    expect(new Set(users.map(({ userUUID }) => userUUID)).size).toBe(3);
    expect(new Set(users.map(({ entityUUID }) => entityUUID)).size).toBe(1);
    const second = await start();
    for (const [index, name] of ['ana', 'BRUNO', 'carla'].entries()) {
      const again = await become(name, second);
      expect(again.userUUID).toBe(users[index]?.userUUID);
    }
    await second.close();
  });

  it('makes a token with a name that is valid for a day', async () => {
    const { claims } = await become('Bruno');
    const { iat, exp } = claims as { iat: number; exp: number };
    expect(claims).toMatchObject({ name: 'Bruno' });
    expect(exp - iat).toBe(86_400);
  });

  it('makes tokens that AUDIENCE and ISSUER accept', async () => {
    const strict = await start({ AUDIENCE: 'chat', ISSUER: 'app' });
    expect((await become('Ana', strict)).claims).toMatchObject({ aud: 'chat', iss: 'app' });
  });

  it('makes one room for all of them, in which they chat', async () => {
    const users = await Promise.all(['Ana', 'Bruno', 'Carla'].map((name) => become(name)));
    const lists = await Promise.all(users.map((user) => rooms(user)));
    expect(lists).toMatchObject([
      [{ name: 'Welcome', permissions: 'rwa' }],
      [{ name: 'Welcome', permissions: 'rw' }],
      [{ name: 'Welcome', permissions: 'rw' }],
    ]);
    const room = lists[0]?.[0];
    const clients = await Promise.all(users.map((user) => ChatClient.enter(node, user, room?.id)));
    for (const [index, client] of clients.entries()) client.say(`${index}`);
    for (const client of clients) {
      expect((await client.messages(3)).toSorted()).toEqual(['0', '1', '2']);
      await client.close();
    }
  });

  it('leaves that room as the users have made it', async () => {
    const ana = await become('Ana');
    const [room] = await rooms(ana);
    await request(node, 'PATCH', `/rooms/${room?.id}`, { as: ana, body: { name: 'Lunch' } });
    const carla = await become('Carla');
    expect(await rooms(carla)).toMatchObject([{ name: 'Lunch' }]);
  });

  it('lets each of them create rooms', async () => {
    for (const name of ['Ana', 'Bruno', 'Carla']) {
      await expect(createRoom(node, await become(name))).resolves.toBeGreaterThan(0);
    }
  });

  it.each([
    [{ name: 'Dora' }, 400, 'INVALID'],
    [{}, 400, 'INVALID'],
    [{ name: 'Ana', levelOnEntity: 9_999 }, 400, 'INVALID'],
    [{ name: '__proto__' }, 400, 'INVALID'],
    ['{', 400, 'BAD_JSON'],
  ])('refuses %j', async (body, status, reason) => {
    const answer = await request(node, 'POST', PATH, { body });
    expect(answer).toMatchObject({ status, meta: { reason } });
  });

  it('takes JSON alone, which a page of another origin may not send', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded']) {
      const headers = { 'Content-Type': type };
      const answer = await request(node, 'POST', PATH, { body: '{"name":"Ana"}', headers });
      expect(answer).toMatchObject({ status: 415, meta: { reason: 'UNSUPPORTED_MEDIA_TYPE' } });
    }
  });
});

describe('/dev/token', () => {
  const each = async (
    at: TestNode,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer[]> => [
    await request(at, 'GET', PATH, { headers }),
    await request(at, 'POST', PATH, { headers, body: { name: 'Ana' } }),
    // Not 405: nothing is there.
    await request(at, 'PUT', PATH, { headers, body: { name: 'Ana' } }),
  ];
  const notFound = { status: 404, meta: { reason: 'NOT_FOUND' }, content: {} };

  it.each([
    ['a secret of the application', { JWT_MASTER_SECRET: 'x'.repeat(32) }],
    ['PAGE=off', { PAGE: 'off' }],
  ])('is not served with %s', async (_title, env) => {
    const at = await start(env);
    expect(await each(at)).toMatchObject([notFound, notFound, notFound]);
    expect(await request(at, 'POST', PATH, { body: '{' })).toMatchObject(notFound);
  });

  it.each(['https://evil.example', 'http://localhost:1', 'null'])(
    'is not served to a page of %s',
    async (Origin) => {
      expect(await each(node, { Origin })).toMatchObject([notFound, notFound, notFound]);
    },
  );

  /** The statuses of both for a page of the server that was opened under this name. */
  async function underName(name: string): Promise<(number | undefined)[]> {
    const Host = `${name}:${new URL(node.url).port}`;
    const headers = { Host, Origin: `http://${Host}`, 'Content-Type': 'application/json' };
    const body = '{"name":"Ana"}';
    const listed = await rawRequest(node, PATH, { headers });
    const signed = await rawRequest(node, PATH, { method: 'POST', headers, body });
    return [listed.status, signed.status];
  }

  it('is not served under a name that others may point here', async () => {
    expect(await underName('evil.example')).toEqual([404, 404]);
    expect(await underName('localhost.evil.example')).toEqual([404, 404]);
  });

  it.each(['localhost', 'chat.localhost', '127.0.0.1', '[::1]', '192.168.1.7'])(
    'is served to the own page, opened as %s',
    async (name) => {
      expect(await underName(name)).toEqual([200, 200]);
    },
  );
});
