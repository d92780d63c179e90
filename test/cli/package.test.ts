import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import packageFile from '../../package.json' with { type: 'json' };
import { createRoom, request } from '../harness/api.js';
import { SECRET } from '../harness/node.js';
import { listening } from '../harness/node-process.js';
import { runProgram } from '../harness/process.js';
import { person } from '../harness/tokens.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

/** A folder in which the packed package is installed, as npm does it, with its dependencies alone. */
let folder: string;
let bin: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  const modules = join(folder, 'node_modules');
  const home = join(modules, packageFile.name);
  bin = join(home, packageFile.bin['nano-messaging']);
  await mkdir(home, { recursive: true });
  const pack = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder];
  const { stdout } = await run('npm', pack, { cwd: ROOT });
  await run('tar', ['-xzf', join(folder, stdout.trim()), '-C', home, '--strip-components=1']);
  await mkdir(join(modules, '.bin'));
  await chmod(bin, 0o755);
  await symlink(bin, join(modules, '.bin/nano-messaging'));
  for (const path of await dependencies()) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await symlink(join(ROOT, path), join(folder, path));
  }
});
afterAll(() => rm(folder, { recursive: true }));

/** The folders of what is installed beside the package: no devDependencies, and none within another one. */
async function dependencies(): Promise<string[]> {
  const lock = JSON.parse(await readFile(`${ROOT}/package-lock.json`, 'utf8')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(
      ([path, { dev, optional }]) =>
        dev !== true && optional !== true && /^node_modules\/(?!.*node_modules)/.test(path),
    )
    .map(([path]) => path);
}

describe('the packed package', () => {
  it('prints its version', async () => {
    const { stdout } = await run('npx', ['--no-install', 'nano-messaging', '--version'], {
      cwd: folder,
    });
    expect(stdout).toBe(`${packageFile.version}\n`);
  });

  it('starts the server in an empty folder', async () => {
    // A new embedded database takes long on a busy machine.
    await run(process.execPath, [bin, 'migrate'], {
      cwd: folder,
      env: { PATH: process.env['PATH'] },
    });
    const program = runProgram(bin, { cwd: folder, env: { PORT: '0', JWT_MASTER_SECRET: SECRET } });
    const node = await listening(program);
    const ana = person({ levelOnEntity: 999 });
    expect([await createRoom(node, ana), await createRoom(node, ana)]).toEqual([1, 2]);
    await request(node, 'POST', '/rooms/1/messages', { as: ana, body: { content: 'hi' } });
    program.child.kill('SIGTERM');
    expect(await program.exited()).toBe(0);
  });

  it('runs each block of docs/CLI.md, in their order, in the same folder', async () => {
    const page = await readFile(`${ROOT}/docs/CLI.md`, 'utf8');
    const blocks = [...page.matchAll(/```bash\n([\s\S]*?)```/g)].map(([, text]) => text);
    const { stdout } = await run('bash', ['-ec', blocks.join('')], {
      cwd: folder,
      env: { PATH: process.env['PATH'], HOME: folder },
    });
    expect(stdout).toMatch(/^(ey\S+\n){2}up to date\nepoch: \S+\nnodes +\d/);
  });
});
