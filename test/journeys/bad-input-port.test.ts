import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { ana, envelopeIn, head, HttpLab, statusesOf, WITH_BODY } from '../harness/http-lab.js';

let lab: HttpLab;

beforeAll(async () => {
  lab = await HttpLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

describe('the port', () => {
  it.each([
    ['words', 'hello, is this the chat?\r\n\r\n'],
    ['line feeds', `${'\n'.repeat(10)}x\n\n`],
    ['bytes', Buffer.from(Array.from({ length: 512 }, (_, i) => (i * 7 + 1) % 256))],
    ['NUL bytes', Buffer.alloc(512)],
    ['the hello of TLS', Buffer.from('16030100c8010000c40303', 'hex')],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['another version', 'GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n'],
    ['an unknown method', 'BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a path with a space', 'GET /rooms/1; drop table HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a path of raw UTF-8', 'GET /caf\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a path without a slash', 'GET rooms HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a query without a path', 'GET ?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a header without a name', 'GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n'],
    ['a header without a colon', 'GET /healthz HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n'],
    ['a header with NUL', 'GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n'],
    [
      '20 KB of headers',
      `GET /healthz HTTP/1.1\r\nHost: x\r\n${`X-Y: ${'z'.repeat(990)}\r\n`.repeat(20)}\r\n`,
    ],
    ['a path of 20 KB', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['a negative length', 'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'],
    [
      'two lengths',
      'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    ],
    [
      'a length and chunks',
      'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
  ])('answers %s with 4xx in the envelope, and hangs up', async (_what, bytes) => {
    const heard = await lab.exchange(bytes);
    const [status = 0] = statusesOf(heard);
    expect(Math.floor(status / 100)).toBe(4);
    expect(envelopeIn(heard)).toMatchObject({ meta: { code: status }, content: {} });
  });

  it('answers a request without Host with 400', async () => {
    expect(statusesOf(await lab.exchange('GET /healthz HTTP/1.1\r\n\r\n'))).toEqual([400]);
  });

  it('hangs up on a body whose chunks are garbage', async () => {
    const chunked = head('POST', '/rooms', { 'Transfer-Encoding': 'chunked' });
    for (const chunk of ['zz\r\n{}\r\n', '-1\r\n', 'ffffffffffffffffff\r\n', '1\r\nab']) {
      const statuses = statusesOf(await lab.exchange(chunked + chunk));
      expect(statuses.every((status) => status === 400)).toBe(true);
    }
  });

  it('serves a client that offers an upgrade to HTTP/2, as curl --http2 and Java do', async () => {
    const heard = await lab.exchange(
      'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\n' +
        'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n',
    );
    expect(statusesOf(heard)).toEqual([200]);
  });

  it('serves others while hundreds of requests never end', async () => {
    const halves = [
      'G',
      'GET /rooms HTTP/1.1\r\n',
      `GET /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ana.token}\r\nX: `,
      `${head('POST', '/rooms', { 'Content-Length': '50' })}{"name":`,
      `${head('POST', '/rooms', { 'Transfer-Encoding': 'chunked' })}5\r\n{"n`,
    ];
    const sockets = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const socket = await lab.dial();
        socket.write(halves[i % halves.length] ?? '');
        return socket;
      }),
    );
    expect((await lab.call('GET', '/test/token')).status).toBe(200);
    expect((await lab.call('POST', '/rooms', { body: WITH_BODY[0][2] })).status).toBe(200);
    for (const socket of sockets) socket.destroy();
  });

  it('serves others after clients that go away in the middle of their body', async () => {
    const sockets = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const socket = await lab.dial();
        const length = i % 2 ? { 'Content-Length': '500' } : { 'Transfer-Encoding': 'chunked' };
        socket.write(
          `${head('POST', '/rooms', length)}${i % 2 ? '{"name":' : '8\r\n{"name":\r\n'}`,
        );
        return socket;
      }),
    );
    // One half of the clients ends, the other half is cut.
    for (const [i, socket] of sockets.entries()) {
      if (i % 4 < 2) socket.end();
      else socket.resetAndDestroy();
    }
    for (let i = 0; i < 10; i += 1) {
      expect((await lab.call('POST', '/rooms', { body: WITH_BODY[0][2] })).status).toBe(200);
    }
    for (const socket of sockets) socket.destroy();
  });

  it('serves others after clients that go away in the middle of a long history', async () => {
    const long = await createRoom(lab.node, ana);
    const count = 4_000;
    await fillRoom(lab.world.databaseUrl, long, count, 'x'.repeat(4_000));

    // 16 MB are more than the buffers in between hold: each answer is being written when its client goes away.
    const readers = await Promise.all(Array.from({ length: 12 }, () => lab.dial()));
    await Promise.all(
      readers.map(async (socket) => {
        socket.write(head('GET', `/rooms/${long}/messages`, {}));
        const [chunk] = (await once(socket, 'data')) as [Buffer];
        socket.pause();
        expect(statusesOf(chunk.toString())).toEqual([200]);
      }),
    );
    for (const [i, socket] of readers.entries()) {
      if (i % 2) socket.destroy();
      else socket.resetAndDestroy();
    }
    // Three times as many readers as the pool has connections: none of them was kept.
    for (let i = 0; i < 3; i += 1) {
      const { content } = await lab.call('GET', `/rooms/${long}/messages?limit=1000`);
      expect(content).toHaveLength(1_000);
    }
    const { content } = await lab.call('GET', `/rooms/${long}/messages`);
    expect(content).toHaveLength(count);
  });
});
