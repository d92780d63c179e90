import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eventually } from '../harness/eventually.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { findFreePort } from '../harness/server-process.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** For six builds and the starts of embedded databases, each of which may take as long as anything that is waited for. */
const TIMEOUT_MS = 10 * PATIENCE_MS;

/** A checkout of its own: the other tests must not run its build. */
let folder: string;
let dev: ChildProcess;
let output: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  const paths = ['package.json', 'tsconfig.json', 'tsconfig.build.json', '.sequelizerc'];
  for (const path of [...paths, 'src', 'web', 'scripts', 'migrations']) {
    await cp(`${ROOT}/${path}`, join(folder, path), { recursive: true });
  }
  await symlink(`${ROOT}/node_modules`, join(folder, 'node_modules'));
});
afterEach(() => rm(folder, { recursive: true }));

/** `npm run dev` as a terminal runs it: in a process group that Ctrl-C reaches as a whole. */
function startDev(port: number): void {
  output = '';
  dev = spawn('npm', ['run', 'dev'], {
    cwd: folder,
    detached: true,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [dev.stdout, dev.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
}

const seen = (text: string): Promise<void> =>
  eventually(() => {
    expect(output).toContain(text);
  });

async function change(path: string, from: string, to: string): Promise<void> {
  const source = await readFile(join(folder, path), 'utf8');
  expect(source).toContain(from);
  await writeFile(join(folder, path), source.replace(from, to));
}

it(
  'npm run dev restarts the node after a change of it or of the page, keeps it over an error, and leaves no process',
  async () => {
    startDev(await findFreePort());
    // The streams close when the last process that writes to them has ended.
    const ended = once(dev, 'close');
    try {
      await seen('listening on');

      await change('src/main.ts', 'listening on', 'open at');
      await seen('open at');

      await change('web/src/i18n/en.ts', "'Welcome'", "'Good to see you'");
      await eventually(() => {
        expect(output.match(/open at/g)).toHaveLength(2);
      });
      const assets = await readdir(join(folder, 'dist/web/assets'));
      const page = assets.find((name) => /^index-.*\.js$/.test(name)) ?? '';
      expect(await readFile(join(folder, 'dist/web/assets', page), 'utf8')).toContain(
        'Good to see you',
      );

      await change('src/main.ts', 'await start();', 'const wrong: number = await start();');
      await seen('error TS2322');
      await seen('dev: not restarted');
      const broken = 'await start();\nthrow new Error("oh");';
      await change('src/main.ts', 'const wrong: number = await start();', broken);
      await seen('Error: oh');
      await seen('dev: the node ended with 1');
      // The place in the source, not in the build.
      expect(output).toMatch(/\/src\/main\.ts:\d+/);
      await change('src/main.ts', broken, 'await start();');
      await eventually(() => {
        expect(output.match(/open at/g)).toHaveLength(4);
      });
    } finally {
      process.kill(-(dev.pid ?? 0), 'SIGINT');
    }
    await ended;
    // The nodes had the port and the data folder one after the other, and each ended on request.
    expect(output.match(/shutting down/g)).toHaveLength(4);
    expect(output).not.toMatch(/EADDRINUSE|in use by another process/);
  },
  TIMEOUT_MS,
);
