import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { build, preview } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { startBrowser } from '../harness/browser.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { NodeProcess } from '../harness/node-process.js';
import { eventually } from '../harness/eventually.js';
import { runProgram, type Program } from '../harness/process.js';
import { WEBHOOK_SECRET } from '../harness/receiver.js';
import { person, type Person } from '../harness/tokens.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const ana = person({ levelOnEntity: 100 }, { name: 'Ana' });
/** A user who may enter Ana's rooms. */
const bruno = person({ entityUUID: ana.entityUUID, levelOnEntity: 100 }, { name: 'Bruno' });

let world: ChatWorld;
let node: NodeProcess;
let browser: Browser;
/** A folder for copies of the examples, with their dependencies. */
let folder: string;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.startProcess();
  browser = await startBrowser();
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  const modules = join(folder, 'node_modules');
  await mkdir(modules);
  await symlink(ROOT, join(modules, 'nano-messaging'));
  for (const name of ['react', 'react-dom', 'standardwebhooks', 'ws']) {
    await symlink(`${ROOT}/node_modules/${name}`, join(modules, name));
  }
});
afterAll(async () => {
  await browser.close();
  await world.close();
  await rm(folder, { recursive: true });
});

const copied = new Set<string>();

/** Copies an example, for this test's node; returns its path. */
async function copyOf(name: string): Promise<string> {
  copied.add(name);
  const path = join(folder, name);
  await cp(`${ROOT}/examples/${name}`, path, { recursive: true });
  const names = await readdir(path, { recursive: true }).catch(() => ['']);
  for (const file of names.map((name) => join(path, name))) {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    const { host } = new URL(node.url);
    if (text !== undefined) await writeFile(file, text.replaceAll('localhost:7777', host));
  }
  return path;
}

it('page.html sends and shows a message', async () => {
  const room = await createRoom(node, ana);
  const page = await browser.newPage();
  const connected = page.waitForEvent('console', (line) => line.text().includes('CONNECTED'));
  await page.goto(`file://${await copyOf('page.html')}#room=${room}&token=${ana.token}`);
  await page.locator('input').fill('Fueled up and ready to go');
  await connected;
  await page.locator('input').press('Enter');
  await page.locator('li').waitFor();
  expect(await page.locator('li').allTextContents()).toEqual(['Fueled up and ready to go']);
});

/** Starts a bot, whose path this is, in a room. */
function startBot(path: string, room: number, { token }: Person): Program {
  return runProgram(path, { args: [String(room), token] });
}

it('bot.mjs answers each ping once, over a restart of its node, too', async () => {
  const room = await createRoom(node, ana);
  const client = await ChatClient.enter(node, ana, room);
  const bot = startBot(await copyOf('bot.mjs'), room, bruno);
  try {
    await bot.seen(/CONNECTED/);
    client.say('ping');
    client.say('no answer');
    expect((await client.messages(3)).toSorted()).toEqual(['no answer', 'ping', 'pong']);
    await bot.seen(/SENT/);

    await restartNode();
    const again = await ChatClient.enter(node, ana, room);
    again.say('ping');
    expect(await again.messages(2)).toEqual(['ping', 'pong']);
    await eventually(() => {
      expect(bot.stdout().match(/SENT/g)).toHaveLength(2);
    });
    await again.barrier();
  } finally {
    bot.child.kill();
  }
  expect(await bot.exited()).toBe('SIGTERM');
});

it('client-bot.mjs answers each ping once, over a restart of its node, too', async () => {
  const room = await createRoom(node, ana);
  const client = await ChatClient.enter(node, ana, room);
  const bot = startBot(await copyOf('client-bot.mjs'), room, bruno);
  try {
    await bot.seen(/has the permissions "rw"/);
    client.say('ping');
    client.say('no answer');
    expect((await client.messages(3)).toSorted()).toEqual(['no answer', 'ping', 'pong']);
    await bot.seen(/pong is stored/);

    await restartNode();
    const again = await ChatClient.enter(node, ana, room);
    again.say('ping');
    expect(await again.messages(2)).toEqual(['ping', 'pong']);
    await again.barrier();
  } finally {
    bot.child.kill();
  }
  expect(await bot.exited()).toBe('SIGTERM');
});

/** Ends the node, and starts another one in its place. */
async function restartNode(): Promise<void> {
  await node.end('SIGTERM');
  node = await world.startProcess({ PORT: new URL(node.url).port });
}

it('react shows a room by a hook, through an edit and a restart of its node', async () => {
  const room = await createRoom(node, ana);
  const client = await ChatClient.enterV2(node, bruno);
  const root = await copyOf('react');
  await build({ root, logLevel: 'warn' });
  const site = await preview({ root, preview: { host: '127.0.0.1', port: 0 } });
  try {
    const page = await browser.newPage();
    const url = site.resolvedUrls?.local[0] ?? '';
    await page.goto(`${url}#room=${room}&token=${ana.token}`);
    const items = page.locator('li[aria-busy=false]');
    const shown = async (...texts: string[]): Promise<void> => {
      await eventually(async () => {
        expect(await items.allTextContents()).toEqual(texts);
      });
    };
    await page.getByLabel('Message').fill('hi');
    await page.getByLabel('Message').press('Enter');
    await shown('Ana hi');
    client.send({ type: 'message', room_id: room, content: 'hello', ref: 'a1' });
    const [sent] = await client.expect('SENT');
    await shown('Ana hi', 'Bruno hello');
    client.send({
      type: 'edit',
      room_id: room,
      target: sent?.['seq'],
      content: 'Hello!',
      ref: 'a2',
    });
    await shown('Ana hi', 'Bruno Hello!');

    await restartNode();
    await page.getByLabel('Message').fill('still here');
    await page.getByLabel('Message').press('Enter');
    await shown('Ana hi', 'Bruno Hello!', 'Ana still here');
  } finally {
    await site.close();
  }
});

it('hook.mjs rejects links and replaces a word', async () => {
  const hook = runProgram(await copyOf('hook.mjs'), { env: { WEBHOOK_SECRET, PORT: '0' } });
  try {
    const [, port = ''] = await hook.seen(/listening on (\d+)/);
    const asking = await world.start({ HOOK_URL: `http://127.0.0.1:${port}`, WEBHOOK_SECRET });
    const room = await createRoom(asking, ana);
    const client = await ChatClient.enter(asking, ana, room);

    client.say('no links: https://app.example', { ref: 'a' });
    client.say('darn it', { ref: 'b' });

    expect(await client.next()).toMatchObject({ data: 'INVALID', reason: 'No links, please.' });
    expect(await client.messages(1)).toEqual(['**** it']);
    await client.close();
    expect((await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: '{}' })).status).toBe(
      400,
    );
  } finally {
    hook.child.kill();
  }
});

it('webhooks.mjs says whom to notify of a message', async () => {
  const receiver = runProgram(await copyOf('webhooks.mjs'), {
    args: ['0'],
    env: { WEBHOOK_SECRET },
  });
  try {
    const [, WEBHOOK_URL = ''] = await receiver.seen(/listening on (\S+)/);
    const poster = await world.start({ WEBHOOK_URL, WEBHOOK_SECRET });
    const room = await createRoom(poster, ana);
    const guest = person({}, { name: 'Guest' });
    // Until a token has told their name, nobody knows that they are a user.
    await request(poster, 'GET', '/test/token', { as: guest });
    await putRule(poster, ana, room, { userUUID: guest.userUUID, permissions: 'r' });

    const client = await ChatClient.enter(poster, ana, room);
    client.say('hi');
    await receiver.seen(new RegExp(`notify ${guest.userUUID}: hi \\(1 unread\\)`));
    expect(receiver.stdout()).not.toContain(`notify ${ana.userUUID}`);
    expect(await fetch(WEBHOOK_URL, { method: 'POST', body: '{}' })).toMatchObject({ status: 401 });
    await client.close();
  } finally {
    receiver.child.kill();
  }
});

it('runs each example, and the README lists each', async () => {
  const names = new Set(await readdir(`${ROOT}/examples`));
  // test/docs/tutorial.test.ts runs this one.
  expect(copied.add('express')).toEqual(names);
  const readme = await readFile(`${ROOT}/README.md`, 'utf8');
  const listed = [...readme.matchAll(/^\| \[[^\]]+\]\(examples\/([\w.-]+)\)/gm)];
  expect(new Set(listed.map(([, name]) => name))).toEqual(names);
});
