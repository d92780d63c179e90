import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { WebSocket } from 'ws';
import { createRates } from '../../src/limits/rates.js';
import { request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { openApi } from '../harness/documented.js';
import type { TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { openOutlet } from '../harness/outlet.js';
import { redisUrl } from '../harness/services.js';
import { QUIET } from '../harness/store-hosts.js';
import { person, sign } from '../harness/tokens.js';

const LIMITS = {
  REQUESTS_PER_SECOND: '1',
  REQUESTS_BURST: '5',
  FAILED_TOKENS_PER_MINUTE: '4',
  TRUSTED_PROXIES: 'loopback',
};
const bad = { ...person(), token: 'x.y.z' };

let world: ChatWorld;
let east: TestNode;
let west: TestNode;
/** Its Redis does not answer. */
let alone: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  [east, west, alone] = await Promise.all([
    world.start(LIMITS),
    world.start(LIMITS),
    world.start({ ...LIMITS, REDIS_URL: 'redis://127.0.0.1:1' }),
  ]);
});
afterAll(() => world.close());

/** The headers of a request through a proxy. */
const through = (address: string): { headers: Record<string, string> } => ({
  headers: { 'X-Forwarded-For': `198.51.100.9, ${address}` },
});

/** The status with which an upgrade is refused. */
async function refusedUpgrade(node: TestNode, address: string): Promise<number | undefined> {
  const socket = new WebSocket(node.chatUrl, through(address));
  socket.on('error', () => undefined);
  const [, response] = (await once(socket, 'unexpected-response')) as [
    unknown,
    { statusCode?: number; headers: Record<string, string>; destroy(): void },
  ];
  response.destroy();
  expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
  expect(response.headers).toMatchObject({
    'ratelimit-limit': LIMITS.FAILED_TOKENS_PER_MINUTE,
    'ratelimit-remaining': '0',
    'ratelimit-reset': response.headers['retry-after'],
  });
  return response.statusCode;
}

/** The statuses of `count` requests of a new user, in turns over the nodes. */
async function statuses(nodes: readonly TestNode[], count: number): Promise<number[]> {
  const as = person();
  const given: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const node = nodes[n % nodes.length];
    if (node !== undefined) given.push((await request(node, 'GET', '/test/token', { as })).status);
  }
  return given;
}

/** The names of the headers that the document has of an answer, in lower case. */
function documentedHeaders(path: string, status: number): string[] {
  const { $ref: reference, headers } = openApi.paths[path]?.['get']?.responses[status] ?? {};
  const name = reference?.replace('#/components/responses/', '') ?? '';
  const found = headers ?? openApi.components.responses[name]?.headers ?? {};
  return Object.keys(found).map((header) => header.toLowerCase());
}

describe('the requests of a user', () => {
  it('are counted by all nodes together, and refused beyond the limit', async () => {
    // Until a node has reached Redis, it counts by itself.
    await eventually(async () => {
      expect(await statuses([east, west], 6)).toEqual([200, 200, 200, 200, 200, 429]);
    });
  });

  it('are told how many are left, and when to come back', async () => {
    const as = person();
    for (const left of ['4', '3', '2', '1', '0', '0']) {
      const { headers } = await request(east, 'GET', '/test/token', { as });
      expect(headers.get('RateLimit-Limit')).toBe('5');
      expect(headers.get('RateLimit-Remaining')).toBe(left);
      expect(Number(headers.get('RateLimit-Reset'))).toBeLessThanOrEqual(5);
    }
    const { headers, meta } = await request(east, 'GET', '/test/token', { as });
    expect(meta).toMatchObject({ reason: 'RATELIMITED' });
    expect(headers.get('Retry-After')).toBe(headers.get('RateLimit-Reset'));
    expect(headers.get('Access-Control-Expose-Headers')).toContain('RateLimit-Reset');
  });

  it('are answered with the headers that the document has', async () => {
    const as = person();
    for (const status of [200, 200, 200, 200, 200, 429]) {
      const answer = await request(east, 'GET', '/test/token', { as });
      const sent = [...answer.headers.keys()].filter((name) => /^(ratelimit|retry)-/.test(name));
      expect(answer.status).toBe(status);
      expect(documentedHeaders('/test/token', status)).toEqual(expect.arrayContaining(sent));
      expect(sent.length).toBe(status === 200 ? 3 : 4);
    }
  });

  it('are as many in a second as REQUESTS_PER_SECOND says, though REQUESTS_BURST is less', async () => {
    const node = await world.start({ ...LIMITS, REQUESTS_PER_SECOND: '1000' });
    const { headers } = await request(node, 'GET', '/test/token', { as: person() });
    const names = ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset'];
    expect(names.map((name) => headers.get(name))).toEqual(['1000', '999', '1']);
  });

  it('are counted by the node itself while Redis does not answer', async () => {
    expect(await statuses([alone], 6)).toEqual([200, 200, 200, 200, 200, 429]);
  });

  it('are counted by all nodes together again after a link to Redis was half open', async () => {
    const outlet = await openOutlet(redisUrl());
    onTestFinished(() => outlet.close());
    const far = await world.start({ ...LIMITS, REDIS_URL: outlet.url });
    const countTogether = (): Promise<void> =>
      eventually(async () => {
        expect(await statuses([east, far], 6)).toEqual([200, 200, 200, 200, 200, 429]);
      });
    await countTogether();
    outlet.swallow();
    expect(await statuses([far], 1)).toEqual([200]);
    await countTogether();
  });

  it('may come again after a window at the latest, though the clock was set back', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const rate = createRates({ redis: undefined, logger: QUIET }).create('requests', 1, 10);
    expect(await rate('ana')).toEqual({ isExceeded: false, remaining: 0, resetMs: 10_000 });
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(await rate('ana')).toEqual({ isExceeded: true, remaining: 0, resetMs: 10_000 });
  });

  it('are not limited with a server token', async () => {
    const { userUUID, entityUUID } = person();
    const as = { ...person(), token: sign({ userUUID, entityUUID, server: true }) };
    for (let n = 0; n < 10; n += 1) {
      expect((await request(east, 'GET', '/test/token', { as })).status).toBe(200);
    }
  });

  it('are not limited without a token', async () => {
    for (let n = 0; n < 10; n += 1) {
      expect((await request(east, 'GET', '/healthz')).status).toBe(200);
    }
  });
});

describe('the failed tokens of an address', () => {
  it('count over REST and the socket, and then no token from there is taken', async () => {
    const at = through('203.0.113.1');
    for (let n = 0; n < 2; n += 1) {
      expect((await request(west, 'GET', '/rooms', { as: bad, ...at })).status).toBe(401);
    }
    const client = await ChatClient.open(west.chatUrl, at);
    client.send({ type: 'token', content: bad.token });
    client.send({ type: 'token', content: bad.token });
    await client.expect('START?', 'BADAUTH', 'BADAUTH');

    const { status, headers } = await request(west, 'GET', '/rooms', { as: person(), ...at });
    expect(status).toBe(429);
    expect(headers.get('RateLimit-Limit')).toBe(LIMITS.FAILED_TOKENS_PER_MINUTE);
    expect(headers.get('RateLimit-Remaining')).toBe('0');
    expect(headers.get('RateLimit-Reset')).toBe(headers.get('Retry-After'));
    expect(await refusedUpgrade(west, '203.0.113.1')).toBe(429);
    await client.close();
    // The other node hears of it from Redis: by its own count, it would have looked at as many as the limit.
    let looked = 0;
    await expect
      .poll(async () => {
        const { status } = await request(east, 'GET', '/rooms', { as: bad, ...at });
        if (status === 401) looked += 1;
        return status;
      })
      .toBe(429);
    expect(looked).toBeLessThan(Number(LIMITS.FAILED_TOKENS_PER_MINUTE));
  });

  it('do not have open sockets told that a good token is bad', async () => {
    const at = through('203.0.113.4');
    const waiting = await ChatClient.open(west.chatUrl, at);
    const ready = await ChatClient.open(west.chatUrl, at);
    const second = await ChatClient.openV2(west.chatUrl, at);
    const { token: content } = person();
    ready.send({ type: 'token', content });
    await ready.expect('START?', 'READY');
    await second.expect('START?');
    for (let n = 0; n < 4; n += 1) await request(west, 'GET', '/rooms', { as: bad, ...at });

    waiting.send({ type: 'token', content });
    await waiting.expect('START?');
    expect(await waiting.closed()).toMatchObject({ code: 1013, reason: 'OVERLOAD' });
    ready.send({ type: 'token', content });
    await ready.expect('UNAVAILABLE');
    for (let n = 0; n < 4; n += 1) second.send({ type: 'token', content });
    await second.expect('RATELIMITED', 'RATELIMITED', 'RATELIMITED', 'RATELIMITED');
    await Promise.all([ready.close(), second.close()]);
  });

  it('do not count for others', async () => {
    const other = through('203.0.113.2');
    expect((await request(west, 'GET', '/rooms', { as: person(), ...other })).status).toBe(200);
    const client = await ChatClient.openV2(west.chatUrl, other);
    client.send({ type: 'token', content: person().token });
    await client.expect('START?', 'READY');
    await client.close();
  });

  it('of a network of IPv6 are one, also while Redis does not answer', async () => {
    for (let host = 1; host <= 4; host += 1) {
      await request(alone, 'GET', '/rooms', { as: bad, ...through(`2001:db8::${host}`) });
    }
    expect(await refusedUpgrade(alone, '2001:db8::99')).toBe(429);
  });
});
