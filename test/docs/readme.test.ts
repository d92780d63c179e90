import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { startBrowser } from '../harness/browser.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { listening, type NodeProcess } from '../harness/node-process.js';
import { SECRET } from '../harness/node.js';
import { runProgram } from '../harness/process.js';
import { person, sign } from '../harness/tokens.js';
import { FAULT_NAMES } from '../proof/faults.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const packageFile = JSON.parse(readFileSync(`${ROOT}/package.json`, 'utf8')) as {
  readonly engines: { readonly node: string };
  readonly license: string;
  readonly scripts: Readonly<Record<string, string>>;
};
const readme = readFileSync(`${ROOT}/README.md`, 'utf8');
const spanish = readFileSync(`${ROOT}/README.es.md`, 'utf8');
let world: ChatWorld;
let node: NodeProcess;
/** A folder for programs that import this package. */
let folder: string;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.startProcess();
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  await mkdir(join(folder, 'node_modules'));
  await symlink(ROOT, join(folder, 'node_modules/nano-messaging'));
});
afterAll(async () => {
  await world.close();
  await rm(folder, { recursive: true });
});

/** The blocks of a page, each with its language. */
const blocksOf = (markdown: string): string[] =>
  [...markdown.matchAll(/^```(\w+\n[\s\S]*?)^```$/gm)].map(([, text = '']) => text);

/** The README's block of a language that contains `part`, for this test's node. */
function block(language: string, part: string): string {
  const start = `${language}\n`;
  const found = blocksOf(readme).find((text) => text.startsWith(start) && text.includes(part));
  if (found === undefined) throw new Error(`the README has no ${language} with ${part}`);
  return found.slice(start.length).replaceAll('localhost:7777', new URL(node.url).host);
}

describe('the README', () => {
  it('begins with two windows, in which Ana and Bruno talk', async () => {
    expect(readme).toContain('become Ana in one and Bruno in the other');
    // As `npm start` runs it in a folder without a .env, but for the embedded database, which is slow to start.
    const other = await createChatWorld();
    const env = { PORT: '0', DATABASE_URL: other.databaseUrl };
    const server = runProgram('src/main.js', { cwd: folder, env });
    const browser = await startBrowser();
    try {
      const { url } = await listening(server);
      const [ana, bruno] = await Promise.all(
        ['Ana', 'Bruno'].map(async (name) => {
          const page = await (await browser.newContext({ locale: 'en' })).newPage();
          await page.goto(url);
          await page.getByRole('button', { name }).click();
          await page.getByRole('link', { name: 'Welcome' }).click();
          return page;
        }),
      );
      await ana?.getByRole('textbox', { name: 'Message' }).fill('Hi Bruno');
      await ana?.keyboard.press('Enter');
      await bruno?.getByRole('article').getByText('Hi Bruno').waitFor();
    } finally {
      await browser.close();
      server.child.kill();
    }
    expect(await server.exited()).toBe(0);
    await other.close();
  });

  it('has commands that create a room, read its history, and give permissions', async () => {
    const commands = block('bash', 'ROOM=') + block('bash', '"permissions"');
    const { stdout } = await promisify(execFile)('bash', ['-ec', commands], {
      cwd: ROOT,
      env: { ...process.env, JWT_MASTER_SECRET: SECRET },
    });
    expect(stdout).toMatch(/"content":\[\].*token: \S+ room: \d+\n.*"code":201/s);
  });

  it('has claims of a token that the server takes', async () => {
    const claims = JSON.parse(block('json', 'userUUID')) as { exp: number };
    const as = { ...person(), token: sign(claims) };
    const { content } = await request(node, 'GET', '/test/token', { as });
    expect(content).toMatchObject(claims);
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

  it('has badges that are true', async () => {
    const { engines, license } = packageFile;
    const badges = [...readme.matchAll(/!\[([^\]]+)\]\((docs\/images\/badge-\w+\.svg)\)/g)];
    const labels = await Promise.all(
      badges.map(async ([, , path]) => {
        const image = await readFile(`${ROOT}/${path}`, 'utf8');
        return /<title>(.+)<\/title>/.exec(image)?.[1];
      }),
    );
    const versions = (await readdir(`${ROOT}/src/protocol`)).filter((name) => /^v\d$/.test(name));
    expect(labels).toEqual([
      `node: ${engines.node.replace('>=', '≥ ')}`,
      `license: ${license}`,
      `protocol: ${versions.toSorted().join(' + ')}`,
    ]);
  });

  it('has each fault of the proof', () => {
    const [, table = ''] = /^\| Broken .*\n\|.*\n((?:\|.*\n)+)/m.exec(readme) ?? [];
    const named = [...table.matchAll(/`([\w-]+)`/g)].map(([, name]) => name);
    expect(new Set(named)).toEqual(new Set(FAULT_NAMES));
  });

  it('links to each page of docs/', async () => {
    const pages = (await readdir(`${ROOT}/docs`)).filter((name) => name.endsWith('.md'));
    expect(pages.filter((name) => !readme.includes(`](docs/${name})`))).toEqual([]);
  });

  it('names scripts that exist', () => {
    const { scripts } = packageFile;
    const named = [...readme.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, script]) => script);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
  });
});

describe('the README in Spanish', () => {
  it('has the commands of the quick start, and others of the README alone', () => {
    const quickStart = readme.slice(
      readme.indexOf('## Quick'),
      readme.indexOf('### In production'),
    );
    expect(blocksOf(spanish)).toEqual(expect.arrayContaining(blocksOf(quickStart)));
    expect(blocksOf(readme)).toEqual(expect.arrayContaining(blocksOf(spanish)));
  });
});
