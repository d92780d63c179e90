import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { NodeProcess } from '../harness/node-process.js';
import { SECRET } from '../harness/node.js';
import { runProgram } from '../harness/process.js';
import { person } from '../harness/tokens.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let world: ChatWorld;
let node: NodeProcess;
let readme: string;
/** A folder for programs that import this package. */
let folder: string;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.startProcess();
  readme = await readFile(`${ROOT}/README.md`, 'utf8');
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  await mkdir(join(folder, 'node_modules'));
  await symlink(ROOT, join(folder, 'node_modules/nano-messaging'));
});
afterAll(async () => {
  await world.close();
  await rm(folder, { recursive: true });
});

/** The README's block of a language that contains `part`, for this test's node. */
function block(language: string, part: string): string {
  const blocks = [...readme.matchAll(/```(\w+)\n([\s\S]*?)```/g)];
  const found = blocks.find(([, name, text]) => name === language && text?.includes(part));
  if (found?.[2] === undefined) throw new Error(`the README has no ${language} with ${part}`);
  return found[2].replaceAll('localhost:7777', new URL(node.url).host);
}

describe('the README', () => {
  it('has commands that create a room, and read its history', async () => {
    const { stdout } = await promisify(execFile)('bash', ['-ec', block('bash', 'ROOM=')], {
      cwd: ROOT,
      env: { ...process.env, JWT_MASTER_SECRET: SECRET },
    });
    expect(stdout).toMatch(/"content":\[\].*token: \S+ room: \d+/s);
  });

  it('has a program that sends and hears a message, with the client library', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const path = join(folder, 'program.mjs');
    const program = block('js', 'ChatClient').replace('room(1)', `room(${room})`);
    await writeFile(path, `const fetchToken = () => '${ana.token}';\n${program}`);
    const running = runProgram(path);
    await running.seen(/hi/);
    running.child.kill();
    expect(await running.exited()).toBe('SIGTERM');
  });

  it('names scripts that exist', async () => {
    const { scripts } = JSON.parse(await readFile(`${ROOT}/package.json`, 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = [...readme.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, script]) => script);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
  });
});
