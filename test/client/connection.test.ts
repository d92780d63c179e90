import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { ChatClient } from '../../src/client/node.js';
import { CLOSE_CODES } from '../../src/protocol/close-codes.js';
import { deferred } from '../harness/deferred.js';

/** A server that says what a test wants it to say. */
let server: WebSocketServer;
/** The sockets that came, in their order. */
let sockets: WebSocket[];
let frames: Record<string, unknown>[];
let waiting: (() => void)[];
/** The server's, with a path for each test: a client of the test before may be on its way. */
let url: URL;
const clients: ChatClient[] = [];

beforeAll(async () => {
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  url = new URL(`http://127.0.0.1:${port}/0`);
  server.on('connection', (socket, { url: path }) => {
    if (path !== `${url.pathname}/chat`) {
      socket.terminate();
      return;
    }
    sockets.push(socket);
    socket.on('message', (data: Buffer) => {
      frames.push(JSON.parse(data.toString()) as Record<string, unknown>);
      look();
    });
    socket.on('close', look);
    look();
  });
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

beforeEach(() => {
  url.pathname += '0';
  sockets = [];
  frames = [];
  waiting = [];
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  vi.spyOn(Math, 'random').mockReturnValue(0.5);
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  for (const socket of server.clients) socket.terminate();
  // Before the timers: it may be one of the false ones that was spied on.
  vi.restoreAllMocks();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function look(): void {
  for (const resolve of waiting.splice(0)) resolve();
}

/** Resolves once it is so, which is looked at whenever something has happened. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise<void>((resolve) => waiting.push(resolve));
}

function connect(token: () => string | Promise<string> = () => 'a token'): ChatClient {
  const client = new ChatClient(url, { token });
  clients.push(client);
  client.on('state', look);
  return client;
}

function say(frame: object, n = sockets.length - 1): void {
  sockets[n]?.send(JSON.stringify(frame));
}

const user = { userUUID: 'u', entityUUID: 'e', limits: { rooms: 128, frame: 131_072 } };
const READY = { type: 'status', data: 'READY', ...user };

/** Lets a client in whose socket has come as the n-th. */
async function letIn(client: ChatClient, n: number, more = {}): Promise<void> {
  await until(() => sockets.length === n);
  const before = frames.length;
  say({ type: 'query', data: 'START?' });
  await until(() => frames.slice(before).some(({ type }) => type === 'token'));
  say({ ...READY, ...more });
  await until(() => client.state === 'online');
}

/** Lets time pass, while the server says something every 20 s. */
async function pass(client: ChatClient, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 20_000) {
    await vi.advanceTimersByTimeAsync(Math.min(left, 20_000));
    const heard = new Promise<void>((resolve) => {
      const end = client.on('invited', () => {
        end();
        resolve();
      });
    });
    say({ type: 'invited', data: { room_id: 1, permissions: 'r' } });
    await heard;
  }
}

function cut(n = sockets.length - 1): void {
  sockets[n]?.terminate();
}

it('waits between attempts for a random part of a bound that doubles from 0.5 to 20 s', async () => {
  const client = connect();
  await letIn(client, 1);
  for (const [n, wait] of [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000].entries()) {
    cut();
    await until(() => client.state === 'offline');
    await vi.advanceTimersByTimeAsync(wait - 1);
    expect(client.state).toBe('offline');
    await vi.advanceTimersByTimeAsync(1);
    expect(client.state).toBe('connecting');
    await until(() => sockets.length === n + 2);
  }
  // From the beginning, once it was online again.
  await letIn(client, 9);
  cut();
  await until(() => client.state === 'offline');
  await vi.advanceTimersByTimeAsync(250);
  expect(client.state).toBe('connecting');
});

it('waits at least for as long as the server asks', async () => {
  const client = connect();
  await letIn(client, 1);
  say({ type: 'status', data: 'DRAIN', retry_after_ms: 5_000 });
  say({ type: 'status', data: 'PONG' });
  sockets[0]?.close(CLOSE_CODES.RESTART.code);
  await until(() => client.state === 'offline');
  await vi.advanceTimersByTimeAsync(5_249);
  expect(client.state).toBe('offline');
  await vi.advanceTimersByTimeAsync(1);
  expect(client.state).toBe('connecting');
});

it('waits no more for what one server asked once another one has let it in', async () => {
  const platform = stubBrowser();
  const client = connect();
  await letIn(client, 1);
  say({ type: 'status', data: 'DRAIN', retry_after_ms: 3_600_000 });
  sockets[0]?.close(CLOSE_CODES.RESTART.code);
  await until(() => client.state === 'offline');
  platform.dispatchEvent(new Event('online'));
  await letIn(client, 2);
  cut();
  await until(() => client.state === 'offline');
  await vi.advanceTimersByTimeAsync(250);
  expect(client.state).toBe('connecting');
});

it.each(['online', 'visibilitychange'])('connects at once at the event %s', async (name) => {
  const platform = stubBrowser();
  const client = connect();
  await letIn(client, 1);
  cut();
  await until(() => client.state === 'offline');
  platform.visibilityState = 'hidden';
  platform.dispatchEvent(new Event('visibilitychange'));
  expect(client.state).toBe('offline');
  if (name === 'visibilitychange') platform.visibilityState = 'visible';
  platform.dispatchEvent(new Event(name));
  await letIn(client, 2);
  client.close();
  platform.dispatchEvent(new Event(name));
  expect(client.state).toBe('stopped');
});

it('a tab that wakes gives up a connection that does not answer within 3 s', async () => {
  const platform = stubBrowser();
  const client = connect();
  await letIn(client, 1);
  platform.dispatchEvent(new Event('visibilitychange'));
  await until(() => frames.at(-1)?.['type'] === 'ping');
  say({ type: 'status', data: 'PONG' });
  await until(() => sockets[0]?.readyState === 1);
  platform.dispatchEvent(new Event('online'));
  await vi.advanceTimersByTimeAsync(3_000);
  expect(client.state).toBe('offline');
  await vi.advanceTimersByTimeAsync(250);
  await letIn(client, 2);
});

it('gives up a connection over which nothing comes for 35 s', async () => {
  const client = connect();
  await letIn(client, 1);
  await vi.advanceTimersByTimeAsync(25_000);
  await until(() => frames.at(-1)?.['type'] === 'ping');
  await vi.advanceTimersByTimeAsync(9_999);
  expect(client.state).toBe('online');
  await vi.advanceTimersByTimeAsync(1);
  expect(client.state).toBe('offline');
});

it('any frame is a sign of life', async () => {
  const client = connect();
  await letIn(client, 1);
  await pass(client, 200_000);
  expect(client.state).toBe('online');
  // Also behind a ping.
  await vi.advanceTimersByTimeAsync(14_000);
  await pass(client, 20_000);
  expect(client.state).toBe('online');
});

it('gives up an attempt that is not let in within 10 s', async () => {
  const client = connect();
  await until(() => sockets.length === 1);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(client.state).toBe('offline');
});

it('asks for a token before each connect, and for another one before it ends', async () => {
  const given: string[] = [];
  const client = connect(() => {
    given.push(`token ${given.length + 1}`);
    return given.at(-1) ?? '';
  });
  await letIn(client, 1, { expires_in_ms: 130_000 });
  const tokens = (): unknown[] =>
    frames.filter(({ type }) => type === 'token').map(({ content }) => content);
  expect(tokens()).toEqual(['token 1']);
  await pass(client, 69_999);
  expect(given).toHaveLength(1);
  await pass(client, 1);
  await until(() => tokens().length === 2);
  say({ type: 'status', data: 'BADAUTH', reason: 'UNAUTHORIZED' });
  // Again in half of what is left.
  await pass(client, 30_000);
  await until(() => tokens().length === 3);
  expect(client.state).toBe('online');
  cut();
  await until(() => client.state === 'offline');
  await vi.advanceTimersByTimeAsync(250);
  await letIn(client, 2);
  expect(tokens()).toEqual(given);
  expect(given).toHaveLength(4);
});

it('says that a token was refused, or that there is none, and tries again with another', async () => {
  const answers = [
    () => 'refused',
    async () => {
      await until(() => sockets.length === 2);
      throw new Error('the session has ended');
    },
    () => 'good',
  ];
  const client = connect(() => (answers.shift() ?? (() => ''))());
  const states: unknown[] = [];
  client.on('state', (...state) => states.push(state));
  await until(() => sockets.length === 1);
  say({ type: 'query', data: 'START?' });
  await until(() => frames.length === 1);
  say({ type: 'status', data: 'BADAUTH', reason: 'UNAUTHORIZED' });
  await until(() => client.state === 'offline');
  await vi.advanceTimersByTimeAsync(500);
  await until(() => states.length === 3);
  await vi.advanceTimersByTimeAsync(1_000);
  await letIn(client, 3);
  expect(states).toEqual([
    ['offline', 'UNAUTHORIZED'],
    ['connecting', undefined],
    ['offline', 'NO_TOKEN'],
    ['connecting', undefined],
    ['online', undefined],
  ]);
});

it('stops if a token is that of another user', async () => {
  const client = connect();
  await letIn(client, 1);
  const sent = client.room(1).send('as the first one');
  cut();
  await until(() => client.state === 'offline');
  client.reconnect();
  await until(() => sockets.length === 2);
  say({ type: 'query', data: 'START?' });
  say({ ...READY, userUUID: 'another' });
  await until(() => client.state === 'stopped');
  await expect(sent).rejects.toMatchObject({ reason: 'CLOSED' });
});

it.each([
  [1000, 'NORMAL'],
  [1002, 'PROTOCOL'],
  [1008, 'PROTOCOL'],
  [1009, 'TOO_BIG'],
  [4400, 'BAD_JSON'],
])('stops behind the close code %i', async (code, reason) => {
  const client = connect();
  const reasons: unknown[] = [];
  client.on('state', (_, why) => reasons.push(why));
  await letIn(client, 1);
  sockets[0]?.close(code);
  await until(() => client.state === 'stopped');
  expect(reasons.at(-1)).toBe(reason);
  client.reconnect();
  expect(client.state).toBe('stopped');
  expect(client.room(1).phase).toBe('closed');
});

it.each([1001, 1011, 1012, 1013, 4401, 4408, 4429])(
  'comes back behind the close code %i',
  async (code) => {
    const client = connect();
    await letIn(client, 1);
    sockets[0]?.close(code);
    await until(() => client.state === 'offline');
    await vi.advanceTimersByTimeAsync(250);
    await letIn(client, 2);
    expect(client.state).toBe('online');
  },
);

/** The events of a browser, and the visibility of its tab. */
function stubBrowser(): EventTarget & { visibilityState: string } {
  const target = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  vi.stubGlobal('document', target);
  vi.stubGlobal('addEventListener', target.addEventListener.bind(target));
  return target;
}

it('leaves no timer behind when it is closed while a page is loaded', async () => {
  const ended = deferred();
  const fetch = async (): Promise<never> => {
    await ended.promise;
    throw new Error('no answer');
  };
  const client = new ChatClient(url, { token: () => 'a token', fetch });
  clients.push(client);
  client.on('state', look);
  const room = client.room(1);
  room.on('change', look);
  await letIn(client, 1);
  await until(() => frames.some(({ type }) => type === 'join'));
  const { ref } = frames.find(({ type }) => type === 'join') ?? {};
  say({ type: 'status', data: 'CONNECTED', room_id: 1, ref, head: 0, from: 0, epoch: 'e' });
  await until(() => room.phase === 'joined');
  client.close();
  // The sockets of both sides have timers of their own until then.
  await until(() => sockets[0]?.readyState === WebSocket.CLOSED);
  const begin = vi.spyOn(globalThis, 'setTimeout');
  ended.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  expect(begin).not.toHaveBeenCalled();
});

it('a request whose token takes for ever is rejected with NO_TOKEN', async () => {
  const waiting = new AbortController();
  vi.spyOn(AbortSignal, 'timeout').mockReturnValue(waiting.signal);
  const client = connect(() => new Promise<never>(() => undefined));
  const asked = client.request('GET', '/me/rooms');
  waiting.abort();
  await expect(asked).rejects.toMatchObject({ reason: 'NO_TOKEN' });
});

it('tries again if a WebSocket is not allowed to be made', async () => {
  let isAllowed = false;
  class Socket extends WebSocket {
    constructor(address: string, protocol: string) {
      if (!isAllowed) throw new Error('insecure');
      super(address, protocol);
    }
  }
  const client = new ChatClient(url, { token: () => 'a token', WebSocket: Socket });
  clients.push(client);
  client.on('state', look);
  expect(client.state).toBe('offline');
  await vi.advanceTimersByTimeAsync(500);
  expect(client.state).toBe('offline');
  isAllowed = true;
  client.reconnect();
  await letIn(client, 1);
});
