import { once } from 'node:events';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createConnections, type Connections, type Deadlines } from '../../src/http/connections.js';
import type { Uploads } from '../../src/http/uploads.js';
import { createLogger } from '../../src/logger.js';
import { createRoom, request } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { WireAnswer } from '../harness/http-wire.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';
import { WsWire } from '../harness/ws-wire.js';

const ana = person({ levelOnEntity: 999 });
const ROOM = JSON.stringify({ name: 'a room', level_admin: 1, type: 'group' });

let world: ChatWorld;
let node: TestNode;
let wires: WsWire[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterEach(() => {
  for (const wire of wires) wire.destroy();
  wires = [];
});
afterAll(() => world.close());

async function dial(to: { url: string } = node): Promise<WsWire> {
  const wire = await WsWire.dial(to);
  wires.push(wire);
  return wire;
}

/** The head of a request; with `h2c` as Java's HttpClient and `curl --http2` send it. */
function head(
  method: string,
  path: string,
  { h2c = true, headers = {} }: { h2c?: boolean; headers?: Record<string, string> } = {},
): string {
  const all = {
    Host: 'x',
    Authorization: `Bearer ${ana.token}`,
    ...(h2c && {
      Connection: 'Upgrade, HTTP2-Settings',
      Upgrade: 'h2c',
      'HTTP2-Settings': 'AAMAAABkAARAAAAAAAIAAAAA',
    }),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

const JSON_BODY = { 'Content-Type': 'application/json', 'Content-Length': String(ROOM.length) };
const HANDSHAKE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

function handshake(path = '/chat', headers: Record<string, string> = {}): string {
  return head('GET', path, { h2c: false, headers: { ...HANDSHAKE, ...headers } });
}

function envelopeOf({ body }: Pick<WireAnswer, 'body'>): { meta: Record<string, unknown> } {
  return JSON.parse(body) as { meta: Record<string, unknown> };
}

describe('a request that offers an upgrade to HTTP/2', () => {
  it('is answered after the pending answer', async () => {
    const wire = await dial();
    wire.write(
      'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
      'GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
    );
    expect(envelopeOf(await wire.answer())).toMatchObject({ content: { status: 'ok' } });
    expect(envelopeOf(await wire.answer())).toMatchObject({ meta: { reason: 'NOT_FOUND' } });
  });

  it.each<[string, string[]]>([
    ['with a length', [head('POST', '/rooms', { headers: JSON_BODY }), ROOM]],
    [
      'in chunks',
      [
        head('POST', '/rooms', {
          headers: { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' },
        }),
        `5\r\n${ROOM.slice(0, 5)}\r\n`,
        `${(ROOM.length - 5).toString(16)}\r\n${ROOM.slice(5)}\r\n0\r\n\r\n`,
      ],
    ],
    [
      'beside other words of Connection',
      [
        head('POST', '/rooms', {
          headers: { ...JSON_BODY, Connection: 'keep-alive, Upgrade, HTTP2-Settings' },
        }),
        ROOM,
      ],
    ],
  ])('keeps its body, %s: in one packet and in several', async (_what, parts) => {
    const whole = await dial();
    whole.write(...parts);
    expect((await whole.answer()).status).toBe(200);
    const slow = await dial();
    for (const part of parts) {
      slow.write(part);
      // Each part in a packet of its own: the first was handled when another connection is answered.
      await request(node, 'GET', '/healthz');
    }
    expect((await slow.answer()).status).toBe(200);
  });

  it('gets 100 Continue, and then sends its body', async () => {
    const wire = await dial();
    wire.write(head('POST', '/rooms', { headers: { ...JSON_BODY, Expect: '100-continue' } }));
    expect((await wire.answer()).status).toBe(100);
    wire.write(ROOM);
    expect((await wire.answer()).status).toBe(200);
  });

  it('keeps the connection open, for more of its kind, for other requests and for a WebSocket', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on('warning', note);
    const wire = await dial();
    for (let i = 0; i < 30; i += 1) {
      wire.write(head('POST', '/rooms', { headers: JSON_BODY }), ROOM);
      expect((await wire.answer()).status).toBe(200);
      wire.write(head('HEAD', '/healthz'));
      expect((await wire.answer('HEAD')).status).toBe(200);
    }
    wire.write(head('GET', '/nowhere', { h2c: false }), handshake());
    expect((await wire.answer()).status).toBe(404);
    expect((await wire.answer()).status).toBe(101);
    expect(await wire.words(1)).toEqual(['START?']);
    await new Promise(setImmediate);
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('closes the connection if it asks for that', async () => {
    const wire = await dial();
    wire.write(head('GET', '/healthz', { headers: { Connection: 'close, Upgrade' } }));
    const answer = await wire.answer();
    expect(answer).toMatchObject({ status: 200, headers: { connection: 'close' } });
    expect(await wire.rest()).toBe('');
  });

  it('may be pipelined with requests of every kind, and each is answered in order', async () => {
    const wire = await dial();
    const kinds: [status: number, method: string, bytes: string][] = [
      [200, 'GET', head('GET', '/healthz', { h2c: false })],
      [200, 'POST', head('POST', '/rooms', { h2c: false, headers: JSON_BODY }) + ROOM],
      [404, 'GET', head('GET', '/nowhere')],
      [200, 'POST', head('POST', '/rooms', { headers: JSON_BODY }) + ROOM],
      [200, 'HEAD', head('HEAD', '/rooms')],
      [401, 'GET', 'GET /rooms HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
    ];
    const sequence = [...kinds, ...kinds, ...kinds.toReversed()];
    wire.write(...sequence.map(([, , bytes]) => bytes));
    for (const [status, method] of sequence) {
      expect((await wire.answer(method)).status).toBe(status);
    }
  });

  it('keeps exactly its headers, however many there are', async () => {
    const wire = await dial();
    // By default Node keeps only the first thousand; Content-Length is the last.
    const many = Array.from({ length: 2_000 }, () => 'a:b\r\n').join('');
    const withLength = head('POST', '/rooms', { headers: JSON_BODY });
    wire.write(withLength.replace('Content-Type', `${many}Content-Type`), ROOM);
    expect((await wire.answer()).status).toBe(200);
    wire.write(head('GET', '/healthz'));
    expect((await wire.answer()).status).toBe(200);
  });

  it('waits for a long answer that is read slowly', async () => {
    const wire = await dial();
    wire.socket.pause();
    // More than the buffers between the two take.
    const count = 40_000;
    const room = await createRoom(node, ana);
    await fillRoom(world.databaseUrl, room, count);
    wire.write(
      head('GET', `/rooms/${room}/messages?dateFrom=2000-01-01`, { h2c: false }),
      head('GET', '/healthz'),
      handshake(),
    );
    await request(node, 'GET', '/healthz');
    wire.socket.resume();
    const history = JSON.parse((await wire.answer()).body) as { content: unknown[] };
    expect(history.content).toHaveLength(count);
    expect((await wire.answer()).status).toBe(200);
    expect((await wire.answer()).status).toBe(101);
  });
});

describe('an upgrade to /chat', () => {
  it('waits for the answers to the requests before it', async () => {
    const wire = await dial();
    wire.write(
      head('GET', '/rooms', { h2c: false }),
      head('POST', '/rooms', { h2c: false, headers: JSON_BODY }),
      ROOM,
      handshake(),
      // A client that does not wait for the answer.
      Buffer.from([0x81, 0x80 | 2, 0, 0, 0, 0, 0x7b, 0x7d]),
    );
    expect((await wire.answer()).status).toBe(200);
    expect((await wire.answer()).status).toBe(200);
    // At once, since a pending request would be cut, too.
    expect((await wire.answer()).status).toBe(101);
    expect(await wire.words(1)).toEqual(['START?']);
  });

  it('is not made if the answer before it closes the connection', async () => {
    const wire = await dial();
    wire.write(
      head('GET', '/rooms', { h2c: false, headers: { Connection: 'close' } }),
      handshake(),
    );
    expect((await wire.answer()).status).toBe(200);
    expect(await wire.rest()).toBe('');
  });

  it.each([
    ['among other protocols', handshake('/chat', { Upgrade: 'h2c, WebSocket' })],
    ['with an absolute target', handshake('http://chat.example:7777/chat?a=b')],
    ['with an absolute target of its own scheme', handshake('wss://chat.example/chat/')],
  ])('is made %s', async (_what, bytes) => {
    const wire = await dial();
    wire.write(bytes);
    expect((await wire.answer()).status).toBe(101);
    expect(await wire.words(1)).toEqual(['START?']);
  });

  it.each([
    ['with an absolute target elsewhere', handshake('http://x/rooms'), 404, 'NOT_FOUND'],
    ['with an absolute target without a path', handshake('http://x'), 404, 'NOT_FOUND'],
    ['by another method', handshake().replace('GET', 'PUT'), 405, 'METHOD_NOT_ALLOWED'],
    ['of another version', handshake('/chat', { 'Sec-WebSocket-Version': '7' }), 400, 'INVALID'],
    ['without a key', handshake('/chat', { 'Sec-WebSocket-Key': '' }), 400, 'INVALID'],
    ['of a bad subprotocol', handshake('/chat', { 'Sec-WebSocket-Protocol': ',' }), 400, 'INVALID'],
  ])('%s is refused in the envelope', async (_what, bytes, status, reason) => {
    const wire = await dial();
    wire.write(bytes);
    const answer = await wire.answer();
    expect(answer.status).toBe(status);
    expect(envelopeOf(answer)).toMatchObject({ meta: { code: status, reason }, content: {} });
    // RFC 6455 section 4.4
    expect(answer.headers['sec-websocket-version']).toBe(status === 400 ? '13, 8' : undefined);
    expect(await wire.rest()).toBe('');
  });

  it('by another method is an ordinary request, with its body', async () => {
    const wire = await dial();
    wire.write(
      head('POST', '/rooms', { h2c: false, headers: { ...HANDSHAKE, ...JSON_BODY } }),
      ROOM,
    );
    expect((await wire.answer()).status).toBe(200);
  });
});

describe('a connection', () => {
  it('may be reset at any moment of an upgrade', async () => {
    const kinds = [
      head('GET', '/healthz'),
      handshake(),
      head('POST', '/rooms', { headers: JSON_BODY }),
    ];
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(
        kinds.flatMap((bytes) =>
          ['', head('GET', '/rooms', { h2c: false })].map(async (before) => {
            const wire = await dial();
            wire.write(before, bytes);
            if (round % 2) await new Promise(setImmediate);
            wire.socket.resetAndDestroy();
          }),
        ),
      );
    }
    expect((await request(node, 'GET', '/healthz')).status).toBe(200);
  });

  it('that asks for a tunnel is refused in the envelope, after the answer before', async () => {
    const wire = await dial();
    wire.write(
      head('GET', '/rooms', { h2c: false }),
      'CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n',
    );
    expect((await wire.answer()).status).toBe(200);
    expect(envelopeOf(await wire.answer())).toMatchObject({ meta: { code: 405 } });
    expect(await wire.rest()).toBe('');
  });

  it('that turns to garbage gets its earlier answers first, and then an error', async () => {
    const wire = await dial();
    wire.write(head('GET', '/rooms', { h2c: false }), head('HEAD', '/healthz', { h2c: false }));
    wire.write('garbage\r\n\r\n');
    expect((await wire.answer()).status).toBe(200);
    expect((await wire.answer('HEAD')).status).toBe(200);
    expect(envelopeOf(await wire.answer())).toMatchObject({ meta: { reason: 'INVALID' } });
    expect(await wire.rest()).toBe('');
  });

  it('gets 400 without Host and 417 for an unknown expectation, in the envelope', async () => {
    const nobody = await dial();
    nobody.write('GET /healthz HTTP/1.1\r\n\r\n');
    const wire = await dial();
    wire.write(
      head('POST', '/rooms', { h2c: false, headers: { ...JSON_BODY, Expect: 'a pony' } }),
      ROOM,
      head('GET', '/healthz', { h2c: false }),
    );
    const [noHost, pony] = [await nobody.answer(), await wire.answer()];
    expect(envelopeOf(noHost)).toMatchObject({ meta: { code: 400, reason: 'INVALID' } });
    expect(envelopeOf(pony)).toMatchObject({ meta: { code: 417, reason: 'EXPECTATION_FAILED' } });
    expect((await wire.answer()).status).toBe(200);
  });

  it('is kept open by HTTP/1.0 without Host', async () => {
    const wire = await dial();
    wire.write('GET /healthz HTTP/1.0\r\n\r\n');
    expect(await wire.rest()).toContain('"code":200');
  });

  it('does not keep a node running, whatever it waits for', async () => {
    const other = await world.start({ SHUTDOWN_TIMEOUT_MS: '2000' });
    const room = await createRoom(other, ana);
    await fillRoom(world.databaseUrl, room, 40_000);
    const long = head('GET', `/rooms/${room}/messages?dateFrom=2000-01-01`, { h2c: false });
    for (const behind of [head('GET', '/healthz'), handshake(), 'CONNECT x:1 HTTP/1.1\r\n\r\n']) {
      const wire = await dial(other);
      wire.socket.pause();
      wire.write(long, behind);
    }
    await request(other, 'GET', '/healthz');
    await expect(other.close()).resolves.toBeUndefined();
  });
});

describe('deadlines', () => {
  // Those that do not pass here leave a busy machine time enough.
  const deadlines = {
    head: 800,
    request: 2_000,
    keepAlive: 60_000,
    silence: 120_000,
    check: 100,
  };
  const uploads: Uploads = new WeakSet();
  let short: Connections;
  let url: string;
  let dripping: NodeJS.Timeout[] = [];

  beforeAll(async () => {
    short = createConnections({
      // Answers requests without a body at once, and others when their body has arrived.
      serve: (incoming, response) => {
        if (incoming.url === '/upload') uploads.add(incoming);
        if (incoming.url === '/refused') response.end('no');
        else incoming.resume().on('end', () => response.end('yes'));
      },
      isHandshake: ({ headers }) => headers.upgrade === 'websocket',
      upgrade: (_incoming, stream) => stream.end('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
      uploads,
      logger: createLogger({ level: 'silent', production: true }),
      deadlines,
    });
    short.server.listen(0, '127.0.0.1');
    await once(short.server, 'listening');
    url = `http://127.0.0.1:${(short.server.address() as AddressInfo).port}`;
  });
  afterEach(() => {
    for (const timer of dripping) clearInterval(timer);
    dripping = [];
  });
  afterAll(() => {
    short.cut();
    short.server.close();
  });

  /** Writes a byte at intervals, until the connection ends. */
  function drip(wire: WsWire, bytes: string): void {
    let at = 0;
    dripping.push(
      setInterval(() => {
        if (at < bytes.length && !wire.socket.destroyed) wire.write(bytes.charAt(at));
        at += 1;
      }, 50),
    );
  }

  it.each([
    ['a head', '', head('GET', '/', { h2c: false })],
    ['an upgrade', '', handshake()],
    ['an upgrade to HTTP/2', '', head('GET', '/')],
    [
      'a body',
      head('POST', '/', { h2c: false, headers: { 'Content-Length': '999' } }),
      'x'.repeat(999),
    ],
    [
      'a body in chunks',
      head('POST', '/', { h2c: false, headers: { 'Transfer-Encoding': 'chunked' } }),
      '1\r\nx\r\n'.repeat(100),
    ],
    [
      'the body of a request that offers an upgrade',
      head('POST', '/', { headers: { 'Content-Length': '999' } }),
      'x'.repeat(999),
    ],
  ])('%s that drips is answered with 408 in the envelope', async (_what, first, bytes) => {
    const kept = await dial({ url });
    kept.write(head('GET', '/', { h2c: false }));
    expect((await kept.answer()).status).toBe(200);
    // The connection is idle for longer than a head may take.
    await sleep(1.5 * deadlines.head);
    for (const wire of [await dial({ url }), kept]) {
      wire.write(first);
      drip(wire, bytes);
      const answer = await wire.answer();
      expect(envelopeOf(answer)).toMatchObject({ meta: { code: 408, reason: 'REQUEST_TIMEOUT' } });
      expect(await wire.rest()).toBe('');
    }
  });

  it('a body that drips after its answer ends the connection without a second answer', async () => {
    const wire = await dial({ url });
    wire.write(head('POST', '/refused', { h2c: false, headers: { 'Content-Length': '999' } }));
    drip(wire, 'x'.repeat(999));
    expect((await wire.answer()).body).toBe('no');
    expect(await wire.rest()).toBe('');
  });

  it('a connection that sent nothing ends without an answer', async () => {
    const wire = await dial({ url });
    expect(await wire.rest()).toBe('');
  });

  it('a connection stays open between requests for longer than a request may take', async () => {
    const wire = await dial({ url });
    wire.write(head('GET', '/', { h2c: false }));
    expect((await wire.answer()).headers['keep-alive']).toBe('timeout=60');
    await sleep(1.5 * deadlines.request);
    wire.write(handshake());
    expect((await wire.answer()).status).toBe(101);
  });

  it('of a whole request are not those of an upload, which ends by silence alone', async () => {
    const wire = await dial({ url });
    const chunk = '1\r\nx\r\n';
    wire.write('POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let sent = 0; sent < 5; sent += 1) {
      await sleep(deadlines.request / 2);
      wire.write(chunk);
    }
    wire.write('0\r\n\r\n');
    expect((await wire.answer()).body).toBe('yes');
  });

  it('of a node are longer than those of proxies', async () => {
    const wire = await dial();
    wire.write(head('GET', '/healthz', { h2c: false }));
    expect((await wire.answer()).headers['keep-alive']).toBe('timeout=75');
  });
});

/** Connections without the rest of a node, and without upgrades. */
async function open(
  serve: RequestListener,
  deadlines?: Deadlines,
): Promise<{ connections: Connections; server: Server; url: string }> {
  const connections = createConnections({
    serve,
    isHandshake: () => false,
    upgrade: () => undefined,
    logger: createLogger({ level: 'silent', production: true }),
    ...(deadlines && { deadlines }),
  });
  const { server } = connections;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { connections, server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe('a connection with thousands of requests at once', () => {
  it.each([
    ['plain ones', {}],
    ['offers of HTTP/2', { Connection: 'Upgrade', Upgrade: 'h2c' }],
  ])('yields to other clients between them: %s', async (_what, headers) => {
    const served: string[] = [];
    const { connections, server, url } = await open(({ url = '' }, response) => {
      served.push(url);
      response.end();
    });
    const wire = await dial({ url });
    let most = 0;
    let before = 0;
    let watching = setImmediate(function watch() {
      most = Math.max(most, served.length - before);
      before = served.length;
      watching = setImmediate(watch);
    });
    const requests = Array.from({ length: 500 }, (_, i) =>
      head('GET', `/${i}`, { h2c: false, headers: { Authorization: '', ...headers } }),
    );
    wire.write(requests.join(''));
    for (let i = 0; i < requests.length; i += 1) await wire.answer();
    clearImmediate(watching);
    expect(served).toEqual(requests.map((_, i) => `/${i}`));
    // The first request at once, then four a turn.
    expect(most).toBeLessThanOrEqual(5);
    connections.cut();
    server.close();
  });
});

describe('connections of a node that shuts down', () => {
  it('end after the answers to complete requests, even if more requests have begun to arrive', async () => {
    let end = (): void => undefined;
    const { connections, server, url } = await open((incoming, response) => {
      const { url } = incoming;
      if (url !== '/slow') {
        incoming.resume().on('end', () => response.end(url));
        return;
      }
      response.write('it is slow');
      end = () => response.end();
    });
    const plain = { h2c: false };
    const half = head('POST', '/half', { h2c: false, headers: { 'Content-Length': '9' } });
    const waiting = await Promise.all(
      ['', head('GET', '/behind', plain), half, half.slice(0, 50)].map(async (behind) => {
        const wire = await dial({ url });
        wire.write(head('GET', '/slow', plain), behind);
        // The head of its answer.
        await once(wire.socket, 'data');
        return { wire, end };
      }),
    );
    const unread = await dial({ url });
    const closed = once(server, 'close');
    server.close();
    connections.finish();
    expect(await unread.rest()).toBe('');
    for (const { end } of waiting) end();
    const answers = await Promise.all(waiting.map(({ wire }) => wire.rest()));
    for (const answer of answers) expect(answer).toContain('it is slow\r\n0\r\n\r\n');
    expect(answers.map((answer) => answer.split('HTTP/1.1 ').length - 1)).toEqual([1, 2, 2, 1]);
    expect(answers[1]).toMatch(/\/behind$/);
    expect(answers[2]).toContain('the server is going down');
    await closed;
  });

  it('lose nothing of a finished answer that waits to be read', async () => {
    const length = 9_000_000;
    const { connections, server, url } = await open((_request, response) =>
      response.end(Buffer.alloc(length, 'x')),
    );
    const wire = await dial({ url });
    wire.write(head('GET', '/', { h2c: false }));
    await once(wire.socket, 'data');
    wire.socket.pause();
    const closed = once(server, 'close');
    server.close();
    connections.finish();
    // Long enough for a cut of the connection.
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
    wire.socket.resume();
    expect((await wire.rest()).split('\r\n\r\n')[1]).toHaveLength(length);
    await closed;
  });
});

it('a head that is too large is answered with the envelope, and for HEAD without a body', async () => {
  const headers = { 'X-Large': 'x'.repeat(17_000) };
  const wires = { GET: await dial(), HEAD: await dial() };
  for (const [method, wire] of Object.entries(wires)) {
    wire.write(head(method, '/rooms', { h2c: false, headers }));
    const { status, body } = await wire.answer(method);
    expect({ status, hasBody: body !== '' }).toEqual({ status: 431, hasBody: method === 'GET' });
    expect(await wire.rest()).toBe('');
  }
});

it('a request whose body waits for an earlier answer is not late', async () => {
  const { connections, server, url } = await open(
    (incoming, response) => {
      let length = 0;
      incoming.on('data', (bytes: Buffer) => (length += bytes.length));
      incoming.on('end', () => {
        setTimeout(() => response.end(`${length} bytes`), incoming.url === '/slow' ? 3_000 : 0);
      });
    },
    { head: 800, request: 1_000, keepAlive: 60_000, silence: 60_000, check: 100 },
  );
  const wire = await dial({ url });
  wire.write(head('GET', '/first', { h2c: false }));
  await wire.answer();
  const headers = { 'Content-Length': '5000' };
  wire.write(
    head('GET', '/slow', { h2c: false }),
    head('POST', '/behind', { h2c: false, headers }),
    Buffer.alloc(5_000, 'x'),
  );
  const answers = [await wire.answer(), await wire.answer()];
  expect(answers.map(({ status, body }) => [status, body])).toEqual([
    [200, '0 bytes'],
    [200, '5000 bytes'],
  ]);
  connections.cut();
  server.close();
});
