import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { runProgram } from '../harness/process.js';
import { person } from '../harness/tokens.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
const ana = person({ levelOnEntity: 999 });
let world: ChatWorld;
let node: TestNode;
let roomId: number;
/** An application that gives its user a token. */
let application: Server;
/** A folder in which the packed package is installed, and of its dependencies `ws` alone. */
let folder: string;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  roomId = await createRoom(node, ana);
  application = createServer((_, response) => response.end(ana.token)).listen(0, '127.0.0.1');
  await once(application, 'listening');
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  const home = join(folder, 'node_modules/nano-messaging');
  await mkdir(home, { recursive: true });
  const pack = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder];
  const { stdout } = await run('npm', pack, { cwd: ROOT });
  await run('tar', ['-xzf', join(folder, stdout.trim()), '-C', home, '--strip-components=1']);
  await symlink(`${ROOT}/node_modules/ws`, join(folder, 'node_modules/ws'));
});
afterAll(async () => {
  application.close();
  await world.close();
  await rm(folder, { recursive: true });
});

/** Puts a program beside the package, with the addresses of this test; returns its path. */
async function place(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  const { port } = application.address() as AddressInfo;
  const placed = text
    .replaceAll('localhost:7777', new URL(node.url).host)
    .replaceAll('localhost:8080', `127.0.0.1:${port}`)
    .replaceAll('room(1)', `room(${roomId})`)
    .replaceAll('roomId: 1', `roomId: ${roomId}`)
    .replaceAll('/rooms/1', `/rooms/${roomId}`);
  await writeFile(path, placed);
  return path;
}

describe('nano-messaging/client, of the packed package,', () => {
  it('runs each block of docs/CLIENT.md in Node, in their order', async () => {
    const page = await readFile(`${ROOT}/docs/CLIENT.md`, 'utf8');
    const blocks = [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text);
    expect(blocks.length).toBeGreaterThan(5);
    const path = await place('page.mjs', `${blocks.join('')}chat.close();\n`);
    const program = runProgram(path);
    const code = await program.exited();
    expect({ code, stderr: program.stderr() }).toEqual({ code: 0, stderr: '' });
    expect(program.stdout()).toContain('DELETED');
    const { content } = await request(node, 'GET', `/rooms/${roomId}/messages?limit=9`, {
      as: ana,
    });
    expect((content as { content: string }[]).map(({ content }) => content)).toEqual([
      'hi',
      'fine',
    ]);
  });

  it('is bundled for a browser without anything of Node', async () => {
    await place(
      'main.js',
      "import { ChatClient } from 'nano-messaging/client';\nself.chat = ChatClient;",
    );
    await writeFile(join(folder, 'index.html'), '<script type="module" src="/main.js"></script>');
    await build({ root: folder, logLevel: 'error', build: { outDir: 'out', minify: false } });
    const { stdout } = await run('cat out/assets/*.js', { cwd: folder, shell: true });
    expect(stdout).toContain('nano-messaging.v2');
    expect(stdout).not.toMatch(/^import\b|\bnode:|require\(/m);
  });
});
