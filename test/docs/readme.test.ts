import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { startBrowser } from '../harness/browser.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { NodeProcess } from '../harness/node-process.js';
import { SECRET } from '../harness/node.js';
import { runProgram } from '../harness/process.js';
import { person } from '../harness/tokens.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LANGUAGES: Readonly<Record<string, string>> = { '.html': 'html', '.mjs': 'js' };
const PATIENCE_MS = 30_000;

let world: ChatWorld;
let node: NodeProcess;
let readme: string;
/** A folder for copies of the examples, with the dependencies of this repository. */
let folder: string;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.startProcess();
  readme = await readFile(`${ROOT}/README.md`, 'utf8');
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  await symlink(`${ROOT}/node_modules`, join(folder, 'node_modules'));
});
afterAll(async () => {
  await world.close();
  await rm(folder, { recursive: true });
});

const forThisNode = (text: string): string =>
  text.replaceAll('localhost:7777', new URL(node.url).host);

/** The README's block of a language that contains `part`. */
function block(language: string, part: string): string {
  const blocks = [...readme.matchAll(/```(\w+)\n([\s\S]*?)```/g)];
  const found = blocks.find(([, name, text]) => name === language && text?.includes(part));
  if (found?.[2] === undefined) throw new Error(`the README has no ${language} with ${part}`);
  return found[2];
}

/** Copies an example for this test's node; returns its path. */
async function example(name: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, forThisNode(await readFile(`${ROOT}/examples/${name}`, 'utf8')));
  return path;
}

describe('the README', () => {
  it('shows each file of examples/ as it is', async () => {
    const names = await readdir(`${ROOT}/examples`);
    expect(names).not.toEqual([]);
    for (const name of names) {
      const text = await readFile(`${ROOT}/examples/${name}`, 'utf8');
      expect(readme).toContain(`\`\`\`${LANGUAGES[extname(name)]}\n${text}\`\`\`\n`);
      expect(readme).toContain(`(examples/${name})`);
    }
  });

  it('has a shell example that creates a room, and a page that chats in it', async () => {
    const shell = forThisNode(block('bash', 'ROOM='));
    const { stdout } = await promisify(execFile)('bash', ['-ec', shell], {
      cwd: ROOT,
      env: { ...process.env, JWT_MASTER_SECRET: SECRET },
    });
    const [, token = '', room = ''] = /token: (\S+) room: (\d+)/.exec(stdout) ?? [];
    expect(stdout).toContain('"content":[]');

    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      const connected = page.waitForEvent('console', (line) => line.text().includes('CONNECTED'));
      await page.goto(`file://${await example('page.html')}#room=${room}&token=${token}`);
      await page.locator('input').fill('Fueled up and ready to go');
      await connected;
      await page.locator('input').press('Enter');
      await page.locator('li').waitFor();
      expect(await page.locator('li').allTextContents()).toEqual(['Fueled up and ready to go']);
    } finally {
      await browser.close();
    }
    const as = { userUUID: '', entityUUID: '', levelOnEntity: 0, token };
    const history = await request(node, 'GET', `/rooms/${room}/messages`, { as });
    expect(history.content).toMatchObject([{ content: 'Fueled up and ready to go' }]);
  });

  it('has a bot that answers each message once, over a restart of its node, too', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ana, room);
    const { entityUUID } = ana;
    const bot = runProgram(await example('bot.mjs'), {
      args: [String(room), person({ entityUUID, levelOnEntity: 100 }).token],
    });
    try {
      await bot.seen(/CONNECTED/);
      client.say('ping');
      client.say('no answer');
      expect((await client.messages(3)).toSorted()).toEqual(['no answer', 'ping', 'pong']);
      await bot.seen(/SENT/);

      await node.end('SIGTERM');
      node = await world.startProcess({ PORT: new URL(node.url).port });
      const again = await ChatClient.enter(node, ana, room);
      again.say('ping');
      expect(await again.messages(2)).toEqual(['ping', 'pong']);
      await vi.waitFor(() => {
        expect(bot.stdout().match(/SENT/g)).toHaveLength(2);
      }, PATIENCE_MS);
      await again.barrier();
    } finally {
      bot.child.kill();
    }
    expect(await bot.exited()).toBe('SIGTERM');
  });

  it('names scripts and files that exist', async () => {
    const { scripts } = JSON.parse(await readFile(`${ROOT}/package.json`, 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = [...readme.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, script]) => script);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
    for (const [, path] of readme.matchAll(/\]\(([^)#]+)\)/g)) {
      await expect(readFile(`${ROOT}/${path}`, 'utf8')).resolves.not.toBe('');
    }
  });
});
