import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { delimiter } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { NodeProcess } from '../harness/node-process.js';
import { person } from '../harness/tokens.js';

const SEED = Number(process.env['PROPERTY_SEED'] ?? 20_260_115);
const RUNS = Number(process.env['PROPERTY_RUNS'] ?? 150);
/** The time for each Node; a slow machine has fewer runs. */
const TIME_LIMIT_MS = 60_000;

/** The Node of the tests, and those of the environment, in the form of PATH. */
const NODES = [process.execPath, ...(process.env['TEST_NODES']?.split(delimiter) ?? [])];

const { token } = person({ levelOnEntity: 999 });
const ROOM = JSON.stringify({ name: 'a room', level_admin: 1, type: 'group' });

const H2C =
  'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n';
const WEBSOCKET =
  'Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

const offers = fc.constantFrom(
  '',
  '',
  H2C,
  WEBSOCKET,
  WEBSOCKET.replace('websocket', 'h2c, websocket'),
  WEBSOCKET.replace('13', '7'),
  'Connection: Upgrade\r\nUpgrade: nonsense\r\n',
  'Connection: close, Upgrade\r\nUpgrade: h2c\r\n',
  'Connection: close\r\n',
  'Expect: 100-continue\r\n',
  `Expect: 100-continue\r\n${H2C}`,
  'Expect: a pony\r\n',
);

const paths = fc.constantFrom(
  '/chat',
  '/rooms',
  '/healthz',
  '/nowhere',
  'http://x/chat',
  '*',
  '/rooms/1/messages',
);

const bodies = fc.constantFrom(
  '\r\n',
  `Content-Length: ${ROOM.length}\r\n\r\n${ROOM}`,
  `Content-Length: ${ROOM.length + 50}\r\n\r\n${ROOM}`,
  `Transfer-Encoding: chunked\r\n\r\n${ROOM.length.toString(16)}\r\n${ROOM}\r\n0\r\n\r\n`,
  `Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
  'Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\u001f\u008b__',
);

/** A request that may offer an upgrade and may have a body. */
const requests = fc
  .tuple(
    fc.constantFrom('GET', 'GET', 'GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'CONNECT', 'BREW'),
    paths,
    fc.constantFrom('1.1', '1.1', '1.1', '1.0'),
    fc.constantFrom('Host: x\r\n', 'Host: x\r\n', ''),
    offers,
    bodies,
  )
  .map(
    ([method, path, version, host, offer, body]) =>
      `${method} ${path} HTTP/${version}\r\n${host}Authorization: Bearer ${token}\r\n` +
      `Content-Type: application/json\r\n${offer}${body}`,
  );

const FRAMES = [
  Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x7b, 0x7d]),
  Buffer.from([0x89, 0x80, 0, 0, 0, 0]),
  Buffer.from([0x88, 0x80, 0, 0, 0, 0]),
  Buffer.from([0xff, 0xff, 0xff]),
];

const bytes = fc.oneof(
  { weight: 8, arbitrary: requests.map((text) => Buffer.from(text, 'latin1')) },
  // More requests than are parsed at once.
  {
    weight: 1,
    arbitrary: fc
      .tuple(requests, fc.integer({ min: 10, max: 300 }))
      .map(([text, times]) => Buffer.from(text.repeat(times), 'latin1')),
  },
  { weight: 2, arbitrary: fc.constantFrom(...FRAMES) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((raw) => Buffer.from(raw)) },
  // A head that ends early.
  {
    weight: 1,
    arbitrary: fc
      .tuple(requests, fc.nat(200))
      .map(([text, length]) => Buffer.from(text.slice(0, length), 'latin1')),
  },
);

/** The next step of a client after some bytes; pauses in milliseconds. */
type Next = 'more' | 'pause' | 'half close' | 'stop reading';

const steps = fc.record({
  bytes,
  next: fc.constantFrom<Next>(
    'more',
    'more',
    'more',
    'pause',
    'pause',
    'half close',
    'stop reading',
  ),
  pause: fc.nat(4),
});

const clients = fc.record({
  steps: fc.array(steps, { minLength: 1, maxLength: 5 }),
  end: fc.constantFrom('reset', 'reset', 'end', 'destroy', 'leave'),
  delay: fc.nat(6),
});

type Client = typeof clients extends fc.Arbitrary<infer T> ? T : never;

/** Takes all steps; returns the socket if it is left open. */
async function play(node: NodeProcess, client: Client): Promise<Socket | undefined> {
  const { hostname, port } = new URL(node.url);
  const socket = connect({
    host: hostname,
    port: Number(port),
    allowHalfOpen: true,
    noDelay: true,
  });
  socket.on('error', () => undefined).resume();
  await once(socket, 'connect');
  for (const step of client.steps) {
    if (socket.writable) socket.write(step.bytes);
    if (step.next === 'pause') await sleep(step.pause);
    else if (step.next === 'half close') socket.end();
    else if (step.next === 'stop reading') socket.pause();
  }
  await sleep(client.delay);
  if (client.end === 'leave') return socket;
  if (client.end === 'reset') socket.resetAndDestroy();
  else if (client.end === 'destroy') socket.destroy();
  else socket.end(() => socket.destroy());
  return undefined;
}

describe.each(NODES.map((path) => [execFileSync(path, ['--version']).toString().trim(), path]))(
  'a node on Node %s',
  (_version, path) => {
    let world: ChatWorld;
    let node: NodeProcess;
    const left: Socket[] = [];

    beforeAll(async () => {
      world = await createChatWorld();
      node = await world.startProcess({ LOG_LEVEL: 'info', SHUTDOWN_TIMEOUT_MS: '10000' }, path);
    });
    afterAll(async () => {
      for (const socket of left) socket.destroy();
      await world.close();
    });

    it('survives anything that clients send over raw sockets', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(clients, { minLength: 1, maxLength: 4 }), async (together) => {
          const sockets = await Promise.all(together.map((client) => play(node, client)));
          left.push(...sockets.filter((socket) => socket !== undefined));
          // Twice, since the process may end a turn later.
          for (const path of ['/healthz', '/readyz']) {
            const isServed = await request(node, 'GET', path).then(
              ({ status }) => status === 200,
              () => false,
            );
            expect({ isServed, stderr: node.program.stderr() }).toEqual({
              isServed: true,
              stderr: '',
            });
          }
        }),
        // A dead node would fail any smaller case as well.
        {
          seed: SEED,
          numRuns: RUNS,
          interruptAfterTimeLimit: TIME_LIMIT_MS,
          endOnFailure: true,
        },
      );
    });

    it('shuts down in order afterwards', async () => {
      expect(await node.end('SIGTERM')).toBe(0);
    });
  },
);
