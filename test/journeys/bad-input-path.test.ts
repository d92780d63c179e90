import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../src/errors.js';
import {
  ben,
  envelopeIn,
  expectError,
  expectInvalid,
  head,
  HttpLab,
  statusesOf,
  stranger,
  WITH_BODY,
  type HttpAnswer,
} from '../harness/http-lab.js';

const BODY_BYTES = 131_072;

let lab: HttpLab;

beforeAll(async () => {
  lab = await HttpLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

const GARBAGE_IDS = [
  '1e3',
  '-1',
  '+1',
  '0',
  '00',
  '01',
  '1.0',
  '0x1',
  '1_000',
  'NaN',
  'null',
  'true',
  '2147483648',
  '99999999999999999999',
  '9'.repeat(1_000),
  '1;%20drop%20table%20rooms',
  "1'%20OR%20'1'='1",
  '%00',
  '1%00',
  '%201',
  '1%0a',
  '..',
  '.',
  '%2e%2e',
  '%2F',
  '1%2F2',
  '..%2f..%2fetc%2fpasswd',
  '%',
  '%zz',
  '%E0%A4%A',
  '%FF',
  '%D9%A1',
  ':id',
  '*',
  '(.*)',
  '__proto__',
  'constructor',
];

describe('a path', () => {
  it.each(GARBAGE_IDS)('with the room id %s is 400 INVALID', async (id) => {
    for (const [method, path, token] of inRoom(id)) {
      expectInvalid(await lab.call(method, path, { token }), 'id');
    }
    // As many routes as have a room in their path.
    expect(inRoom(id).length).toBeGreaterThan(12);
  });

  it.each(GARBAGE_IDS.filter((id) => !/^0*[1-9]\d{0,15}$/.test(id)))(
    'with the message %s is 400 INVALID',
    async (seq) => {
      for (const method of ['GET', 'PATCH', 'DELETE']) {
        expectInvalid(await lab.call(method, `/rooms/${lab.room}/messages/${seq}`), 'seq');
      }
    },
  );

  it.each(['1', 'ben', '%00', ben.userUUID.slice(1), `${ben.userUUID}0`, `${ben.userUUID}%00`])(
    'with the member %s is 400 INVALID',
    async (uuid) => {
      expectInvalid(await lab.call('DELETE', `/rooms/${lab.room}/members/${uuid}`), 'uuid');
    },
  );

  it('to a missing room is 404', async () => {
    for (const [method, path, token] of inRoom('2147483647')) {
      const answer = await lab.call(method, path, { token, body: bodyOf(method, path) });
      expectError(answer, 'NOT_FOUND');
    }
  });

  it('to a room of others is 403, and changes nothing', async () => {
    const { token } = stranger;
    for (const [method, path] of inRoom(String(lab.room))) {
      const answer = await lab.call(method, path, { token, body: bodyOf(method, path) });
      // The caller has no rule to accept.
      expectError(answer, path.endsWith('/invitation') ? 'NOT_FOUND' : 'FORBIDDEN');
    }
    expect((await lab.call('GET', '/rooms/all', { token })).content).toEqual([]);
    expect((await lab.call('GET', '/me/rooms', { token })).content).toEqual([]);
  });

  /** The routes of a room by its number. */
  function inRoom(id: string): ReturnType<HttpLab['routes']> {
    return lab.routes({ ':id': id }).filter(([, path]) => `${path}/`.startsWith(`/rooms/${id}/`));
  }

  /** A valid body, if the route has one. */
  function bodyOf(method: string, path: string): object | undefined {
    if (path.endsWith('/bulk')) return { members: [] };
    if (path.endsWith('/report')) return {};
    const [, , body] =
      WITH_BODY.find(
        ([given, pathOf]) =>
          given === method && pathOf(lab).split('/')[3] === path.split('/')[3] && path !== '/rooms',
      ) ?? [];
    return body;
  }

  it.each([
    '/',
    '//',
    '/room',
    '/roomsall',
    '/rooms/all/all',
    '/rooms/1/messages/1/1',
    '/rooms/1/members/x/y',
    '/rooms//messages',
    '//rooms',
    '/rooms%2Fall',
    '/./rooms',
    '/../rooms',
    '/rooms/../rooms',
    '/test',
    '/test/token/x',
    '/healthz/x',
    '/chat/x',
    '/chatter',
    '/favicon.ico',
    '/.env',
    '/.git/config',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/%00',
    '/%',
    '/%zz',
    '/%E0%A4%A',
    '/__proto__',
    '/constructor',
    `/${'a'.repeat(8_000)}`,
    '*',
  ])('that is not served is 404, with and without a token: %s', async (path) => {
    expectError(await lab.call('GET', path), 'NOT_FOUND');
    expectError(await lab.call('POST', path, { token: null, body: '{' }), 'NOT_FOUND');
  });

  it.each(['http://[', 'http://[::1', 'http://%zz/rooms'])(
    'that is malformed is 400 or 404: %s',
    async (path) => {
      const heard = await lab.exchange(head('GET', path, { Connection: 'close' }));
      expect([[400], [404]]).toContainEqual(statusesOf(heard));
      expect(envelopeIn(heard)).toMatchObject({ meta: { code: statusesOf(heard)[0] } });
    },
  );

  it('is 405 with another method, and Allow lists its methods', async () => {
    for (const [path, allowed] of [
      ['/rooms', ['GET', 'HEAD', 'POST']],
      ['/rooms/all', ['GET', 'HEAD']],
      [`/rooms/${lab.room}`, ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE']],
      [`/rooms/${lab.room}/members`, ['GET', 'HEAD', 'PUT']],
      [`/rooms/${lab.room}/read`, ['PUT']],
      [`/rooms/${lab.room}/notify`, ['PUT']],
      [`/rooms/${lab.room}/entries`, ['GET', 'HEAD']],
      ['/messages', ['GET', 'HEAD']],
      [`/rooms/${lab.room}/members/${ben.userUUID}`, ['DELETE']],
      [`/rooms/${lab.room}/invitation`, ['PUT']],
      [`/rooms/${lab.room}/messages`, ['GET', 'HEAD', 'POST']],
      [`/rooms/${lab.room}/messages/1`, ['GET', 'HEAD', 'PATCH', 'DELETE']],
      ['/me/rooms', ['GET', 'HEAD']],
      ['/users', ['GET', 'HEAD']],
      ['/test/token', ['GET', 'HEAD']],
      ['/healthz', ['GET', 'HEAD']],
      ['/readyz', ['GET', 'HEAD']],
      ['/chat', ['GET', 'HEAD']],
    ] as const) {
      const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND', 'SEARCH'];
      for (const method of methods) {
        if ((allowed as readonly string[]).includes(method)) continue;
        // The routes of one room take `all` for its id.
        if (path === '/rooms/all' && ['PUT', 'PATCH', 'DELETE'].includes(method)) continue;
        const answer = await lab.call(method, path);
        expectError(answer, 'METHOD_NOT_ALLOWED');
        const allow = answer.headers.allow?.split(/, */) ?? [];
        expect(allow).toEqual(expect.arrayContaining([...allowed]));
        expect(allow).not.toContain(method);
      }
    }
  });

  it('may end in a slash on every route', async () => {
    const answers: [string, string, number, unknown?][] = [
      ['POST', '/rooms', 200, WITH_BODY[0][2]],
      ['GET', '/rooms', 200],
      ['GET', '/rooms/all', 200],
      ['PUT', `/rooms/${lab.room}/members`, 200, WITH_BODY[1][2]],
      ['DELETE', `/rooms/${lab.room}/members/${stranger.userUUID}`, 404],
      ['PUT', `/rooms/${lab.room}/invitation`, 200, WITH_BODY[2][2]],
      ['DELETE', '/rooms/2147483647', 404],
      ['GET', `/rooms/${lab.room}/messages`, 200],
      ['POST', `/rooms/${lab.room}/messages`, 400],
      ['GET', `/rooms/${lab.room}/messages/${lab.message}`, 200],
      ['PATCH', `/rooms/${lab.room}/messages/${lab.message}`, 400],
      ['DELETE', `/rooms/${lab.room}/messages/1`, 404],
      ['GET', `/rooms/${lab.room}/entries`, 200],
      ['GET', `/rooms/${lab.room}/members`, 200],
      ['GET', `/rooms/${lab.room}`, 200],
      ['PATCH', `/rooms/${lab.room}`, 200],
      ['PUT', `/rooms/${stranger.userUUID}`, 400],
      ['PUT', `/rooms/${lab.room}/read`, 400],
      ['PUT', `/rooms/${lab.room}/notify`, 400],
      ['GET', '/me/rooms', 200],
      ['GET', '/users', 400],
      ['GET', '/messages', 400],
      ['GET', '/test/token', 200],
      ['GET', '/healthz', 200],
      ['GET', '/readyz', 200],
      ['GET', '/chat', 426],
    ];
    for (const [method, path, status, body] of answers) {
      for (const slash of ['', '/']) {
        const answer = await lab.call(method, path + slash, { body });
        expect([method, path + slash, answer.status]).toEqual([method, path + slash, status]);
        // The answer of the route, not that of an unknown path.
        expect(answer.meta['detail']).not.toEqual(expect.stringContaining('is not served'));
      }
    }
  });
});

describe('CORS', () => {
  it('answers a preflight for any path before authentication', async () => {
    const paths = [
      ...lab.routes().map(([, path]) => path),
      '/healthz',
      '/chat',
      '/nowhere',
      '/%zz',
    ];
    for (const path of paths) {
      for (const slash of ['', '/']) {
        const heard = await lab.exchange(
          `OPTIONS ${path}${slash} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
            'Origin: https://app.example\r\nAccess-Control-Request-Method: DELETE\r\n' +
            'Access-Control-Request-Headers: authorization,content-type\r\n\r\n',
        );
        expect(statusesOf(heard)).toEqual([204]);
        expect(heard).toMatch(/^access-control-allow-origin: \*\r$/im);
        expect(heard).toMatch(/^access-control-allow-methods: .*\bDELETE\b/im);
        expect(heard).toMatch(/^access-control-allow-headers: .*\bauthorization\b/im);
      }
    }
  });

  it('has its headers on every kind of error', async () => {
    const headers = { origin: 'https://app.example' };
    const body = '{';
    const big = 'x'.repeat(BODY_BYTES + 1);
    const answers: [HttpAnswer, ErrorCode][] = [
      [await lab.call('POST', '/rooms', { headers, body }), 'BAD_JSON'],
      [await lab.call('POST', '/rooms', { headers, body: '{}' }), 'INVALID'],
      [await lab.call('GET', '/rooms', { headers, token: null }), 'UNAUTHORIZED'],
      [
        await lab.call('DELETE', `/rooms/${lab.room}`, { headers, token: stranger.token }),
        'FORBIDDEN',
      ],
      [await lab.call('GET', '/nowhere', { headers }), 'NOT_FOUND'],
      [await lab.call('PATCH', '/rooms', { headers }), 'METHOD_NOT_ALLOWED'],
      [await lab.call('POST', '/rooms', { headers, body: big }), 'TOO_LARGE'],
      [
        await lab.call('POST', '/rooms', { headers: { ...headers, 'content-type': 'a/b' }, body }),
        'UNSUPPORTED_MEDIA_TYPE',
      ],
      [await lab.call('GET', '/chat', { headers }), 'UPGRADE_REQUIRED'],
    ];
    for (const [answer, reason] of answers) expectError(answer, reason);
  });
});
