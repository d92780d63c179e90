import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { person, secondsFromNow, sign } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
const ana = person({ levelOnEntity: 100 });

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterAll(() => world.close());

describe('every answer', () => {
  it.each([
    ['GET', '/rooms', 401, 'UNAUTHORIZED'],
    ['GET', '/nowhere', 404, 'NOT_FOUND'],
    ['GET', '/chat', 426, 'UPGRADE_REQUIRED'],
  ])('is an envelope: %s %s is %d %s', async (method, path, status, reason) => {
    const answer = await request(node, method, path);
    expect(answer).toMatchObject({ status, meta: { code: status, reason }, content: {} });
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBe('*');
    expect(answer.headers.get('WWW-Authenticate')).toBe(status === 401 ? 'Bearer' : null);
  });

  it('is 405 with Allow for another method', async () => {
    const answer = await request(node, 'PATCH', '/rooms', { as: ana });
    expect(answer).toMatchObject({ status: 405, meta: { reason: 'METHOD_NOT_ALLOWED' } });
    expect(answer.headers.get('Allow')).toContain('POST');
  });

  it.each([
    ['half JSON', '{"name":', 'application/json', 400, 'BAD_JSON'],
    ['JSON text', '"text"', 'application/json', 400, 'BAD_JSON'],
    ['form', 'name=a', 'application/x-www-form-urlencoded', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['XML', '<a/>', 'text/xml', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['long body', `{"name":"${'x'.repeat(200_000)}"}`, 'application/json', 413, 'TOO_LARGE'],
  ])('is an error of the table for the %s', async (_title, body, type, status, reason) => {
    const answer = await request(node, 'POST', '/rooms', {
      as: ana,
      body,
      headers: { 'Content-Type': type },
    });
    expect(answer).toMatchObject({ status, meta: { reason }, content: {} });
  });

  it('is the same with a trailing slash', async () => {
    const room = await createRoom(node, ana);
    for (const path of ['/rooms/', '/rooms/all/', `/rooms/${room}/messages/`, '/test/token/']) {
      expect((await request(node, 'GET', path, { as: ana })).status).toBe(200);
    }
  });
});

describe('CORS', () => {
  it('answers a preflight before authentication', async () => {
    const response = await fetch(`${node.url}/rooms/1/members`, {
      method: 'OPTIONS',
      headers: {
        Origin: 'https://app.example',
        'Access-Control-Request-Method': 'PUT',
        'Access-Control-Request-Headers': 'authorization,content-type',
      },
    });
    expect(response.status).toBe(204);
    expect(response.headers.get('Access-Control-Allow-Origin')).toBe('*');
    expect(response.headers.get('Access-Control-Allow-Methods')).toContain('PUT');
    expect(response.headers.get('Access-Control-Allow-Headers')).toContain('authorization');
  });

  it('admits pages of each configured origin, over REST and the socket, and no others', async () => {
    const strict = await world.start({
      CORS_ORIGIN: 'HTTPS://App.Example:443/, http://localhost:3000',
    });
    const allowed = async (Origin: string, method: string): Promise<string | null> => {
      const preflight = { 'Access-Control-Request-Method': 'GET' };
      const headers = { Origin, ...(method === 'OPTIONS' && preflight) };
      const response = await fetch(`${strict.url}/rooms`, { method, headers });
      await response.body?.cancel();
      expect(response.headers.get('Vary')).toContain('Origin');
      return response.headers.get('Access-Control-Allow-Origin');
    };
    const opens = async (options: { origin?: string }): Promise<boolean> => {
      const socket = new WebSocket(strict.chatUrl, options);
      const opened = await new Promise<boolean>((resolve) => {
        socket.on('open', () => resolve(true));
        socket.on('error', () => resolve(false));
      });
      socket.terminate();
      return opened;
    };

    for (const origin of ['https://app.example', 'http://localhost:3000']) {
      expect(await allowed(origin, 'GET')).toBe(origin);
      expect(await allowed(origin, 'OPTIONS')).toBe(origin);
      expect(await opens({ origin })).toBe(true);
    }
    for (const origin of ['http://app.example', 'https://app.example.evil.example', 'null']) {
      expect(await allowed(origin, 'GET')).toBeNull();
      expect(await allowed(origin, 'OPTIONS')).toBeNull();
      expect(await opens({ origin })).toBe(false);
    }
    expect(await opens({})).toBe(true);
  });
});

describe('authentication', () => {
  it('shows the claims at /test/token', async () => {
    const answer = await request(node, 'GET', '/test/token', { as: ana });
    expect(answer.content).toMatchObject({ userUUID: ana.userUUID, levelOnEntity: 100 });
  });

  it('checks aud and iss if they are configured', async () => {
    const strict = await world.start({ AUDIENCE: 'chat', ISSUER: 'api' });
    const status = async (claims: object): Promise<number> => {
      const token = sign({ ...ana, exp: secondsFromNow(60), ...claims });
      return (await request(strict, 'GET', '/test/token', { as: { ...ana, token } })).status;
    };
    expect(await status({})).toBe(401);
    expect(await status({ aud: 'chat', iss: 'other' })).toBe(401);
    expect(await status({ aud: 'chat', iss: 'api' })).toBe(200);
  });
});

describe('health', () => {
  it('answers without a token', async () => {
    expect((await request(node, 'GET', '/healthz')).status).toBe(200);
    expect((await request(node, 'GET', '/readyz')).status).toBe(200);
  });

  it('is ready without the broker, and reports that', async () => {
    // Nothing listens on port 1.
    const lonely = await world.start({ REDIS_URL: 'redis://127.0.0.1:1' });
    const down = await request(lonely, 'GET', '/readyz');
    expect(down).toMatchObject({ status: 200, content: { status: 'ok', broker: 'down' } });
    await eventually(async () => {
      const up = await request(node, 'GET', '/readyz');
      expect(up).toMatchObject({ status: 200, content: { status: 'ok', broker: 'up' } });
    });
  });
});
