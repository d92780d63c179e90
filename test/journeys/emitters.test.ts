import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createDatabase, type TestDatabase } from '../harness/database.js';
import { SECRET } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { findFreePort } from '../harness/server-process.js';
import { postgresUrl, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const RECORDER = new URL('../harness/record-emitters.mjs', import.meta.url).href;

/** Numbers of live emitters of a class: all, those without a listener for `error`, and those that were made to fail. */
type Census = Readonly<Record<string, { all: number; bare: number; failed: number }>>;

let database: TestDatabase;
let child: ChildProcess;
let node: { readonly url: string; readonly chatUrl: string };
let asked = 0;

beforeAll(async () => {
  database = await createDatabase(postgresUrl());
  const port = await findFreePort();
  child = fork(MAIN, {
    execArgv: ['--import', RECORDER],
    cwd: '/',
    env: {
      PATH: process.env['PATH'],
      PORT: String(port),
      HOST: '127.0.0.1',
      JWT_MASTER_SECRET: SECRET,
      DATABASE_URL: database.url,
      REDIS_URL: redisUrl(),
    },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  node = { url: `http://127.0.0.1:${port}`, chatUrl: `ws://127.0.0.1:${port}/chat` };
  await eventually(() => fetch(`${node.url}/healthz`));
});
afterAll(async () => {
  child.kill('SIGKILL');
  await database.drop();
});

async function census(fail?: readonly string[]): Promise<Census> {
  asked += 1;
  const id = asked;
  child.send({ id, fail });
  for (;;) {
    const [message] = (await once(child, 'message')) as [{ id: number; answer: Census }];
    if (message.id === id) return message.answer;
  }
}

/**
 * Each class that emits `error`, and whose instances live for longer than a turn: without a listener, the event would
 * end the process. Add the emitters of each new library here.
 */
const EMITTERS = [
  // ioredis
  'Redis',
  // pg
  'Client',
  'Connection',
  // node:net and node:http: all streams, the server, and its requests and answers
  'Socket',
  'Server',
  // ws
  'WebSocketServer',
  'WebSocket',
  // koa
  'Application',
  // pino-pretty
  'Transform',
];

it('each event emitter of a library has an error listener', async () => {
  const ana = person({ levelOnEntity: 999 });
  const room = await createRoom(node, ana);
  const client = await ChatClient.enter(node, ana, room);
  client.say('hi');
  expect(await client.messages(1)).toEqual(['hi']);
  const found = await census();
  for (const name of EMITTERS) {
    expect([name, found[name]?.all ?? 0, found[name]?.bare]).toEqual([name, expect.any(Number), 0]);
  }
  await client.close();
});

it.each(EMITTERS)('an error of any %s does not end the node', async (name) => {
  const ana = person({ levelOnEntity: 999 });
  const room = await createRoom(node, ana);
  const client = await ChatClient.enter(node, ana, room);
  const before = await census([name]);
  expect(before[name]?.failed).toBeGreaterThan(0);
  await eventually(async () => {
    expect((await request(node, 'GET', '/readyz')).status).toBe(200);
    expect((await request(node, 'GET', '/rooms', { as: ana })).status).toBe(200);
  });
  const next = await ChatClient.enter(node, ana, room);
  next.say('still there');
  expect(await next.messages(1)).toEqual(['still there']);
  await Promise.all([client.close(), next.close()]);
  expect(child.exitCode).toBeNull();
});
