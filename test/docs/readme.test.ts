import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../harness/api.js';
import { startBrowser } from '../harness/browser.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { SECRET, type TestNode } from '../harness/node.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let world: ChatWorld;
let node: TestNode;
let readme: string;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  readme = await readFile(`${ROOT}/README.md`, 'utf8');
});
afterAll(() => world.close());

/** The README's block of a language that contains `part`, for the port of this test's server. */
function block(language: string, part: string): string {
  const blocks = [...readme.matchAll(/```(\w+)\n([\s\S]*?)```/g)];
  const found = blocks.find(([, name, text]) => name === language && text?.includes(part));
  if (found?.[2] === undefined) throw new Error(`the README has no ${language} with ${part}`);
  return found[2].replaceAll('localhost:7777', new URL(node.url).host);
}

describe('the README', () => {
  it('has a shell example that creates a room, and a browser example that chats in it', async () => {
    const { stdout } = await promisify(execFile)('bash', ['-ec', block('bash', 'ROOM=')], {
      cwd: ROOT,
      env: { ...process.env, JWT_MASTER_SECRET: SECRET },
    });
    const [, token = '', room = ''] = /token: (\S+) room: (\d+)/.exec(stdout) ?? [];
    expect(stdout).toContain('"content":[]');

    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      const logged = new Promise<string[]>((resolve) => {
        const lines: string[] = [];
        page.on('console', (line) => {
          if (line.type() === 'log' && lines.push(line.text()) === 4) resolve(lines);
        });
      });
      const script = block('js', 'new WebSocket')
        .replace("'THE TOKEN'", `'${token}'`)
        .replace('const room = 1;', `const room = ${room};`);
      await page.goto(`${node.url}/healthz`);
      await page.evaluate(script);
      const words = (await logged).map((line) => (JSON.parse(line) as { data: unknown }).data);
      expect(words).toEqual([
        'START?',
        'READY',
        'CONNECTED',
        expect.objectContaining({ content: 'Fueled up and ready to go' }),
      ]);
    } finally {
      await browser.close();
    }
    const as = { userUUID: '', entityUUID: '', levelOnEntity: 0, token };
    const history = await request(node, 'GET', `/rooms/${room}/messages`, { as });
    expect(history.content).toMatchObject([{ content: 'Fueled up and ready to go' }]);
  });

  it('names scripts and files that exist', async () => {
    const { scripts } = JSON.parse(await readFile(`${ROOT}/package.json`, 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = [...readme.matchAll(/npm run (?:-s )?([\w-]+)/g)].map(([, script]) => script);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
    for (const [, path] of readme.matchAll(/\]\(([^)#]+)\)/g)) {
      await expect(readFile(`${ROOT}/${path}`, 'utf8')).resolves.not.toBe('');
    }
  });
});
