import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const WHAT_TO_RUN = 'npm ci --include=dev && npm prune --omit=dev';

/** A checkout as `npm ci --omit=dev --ignore-scripts` leaves it: nothing built, and no TypeScript. */
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  for (const path of ['package.json', 'scripts']) {
    await cp(`${ROOT}/${path}`, join(folder, path), { recursive: true });
  }
  await mkdir(join(folder, 'node_modules'));
});
afterEach(() => rm(folder, { recursive: true }));

function npm(...args: string[]): Promise<{ code: number; output: string }> {
  const env = { ...process.env, NODE_ENV: 'production' };
  return new Promise((resolve) => {
    execFile('npm', args, { cwd: folder, env }, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), output: stdout + stderr });
    });
  });
}

/** The date of a file, in milliseconds. */
const dated = async (path: string): Promise<number> => (await stat(join(folder, path))).mtimeMs;

async function put(path: string, text: string): Promise<void> {
  await mkdir(join(folder, path, '..'), { recursive: true });
  await writeFile(join(folder, path), text);
}

describe('npm ci and npm start in production', () => {
  it('name the command to run if nothing is built, and only the start fails', async () => {
    const installed = await npm('run', 'prepare');
    expect(installed).toMatchObject({ code: 0, output: expect.stringContaining(WHAT_TO_RUN) });

    const started = await npm('start');
    expect(started).toMatchObject({ code: 1, output: expect.stringContaining(WHAT_TO_RUN) });
  });

  it('use an existing build', async () => {
    await put('dist/src/main.js', 'console.log("started");');

    const installed = await npm('run', 'prepare');
    expect(installed.code).toBe(0);
    expect(installed.output).not.toContain(WHAT_TO_RUN);
    expect(await npm('start')).toMatchObject({
      code: 0,
      output: expect.stringContaining('started'),
    });
  });

  it('build if TypeScript is installed, and fail if it does', async () => {
    await rm(join(folder, 'node_modules'), { recursive: true });
    await symlink(`${ROOT}/node_modules`, join(folder, 'node_modules'));
    await put('src/main.ts', 'console.log("built");\n');
    await put('src/client/index.ts', 'export const version = 1;\n');
    await put('web/vite.config.ts', "export default { build: { outDir: '../dist/web' } };\n");
    await put('web/index.html', '<!doctype html>\n');
    await put(
      'tsconfig.build.json',
      JSON.stringify({
        compilerOptions: { rootDir: '.', outDir: 'dist', types: [], module: 'nodenext' },
        include: ['src'],
      }),
    );

    expect(await npm('start')).toMatchObject({ code: 0, output: expect.stringContaining('built') });

    // The page is built anew if a source has changed since, and only then.
    expect(await dated('dist/web/client.js')).toBeGreaterThan(0);
    const before = await dated('dist/web/index.html');
    expect((await npm('run', 'prepare')).code).toBe(0);
    expect(await dated('dist/web/index.html')).toBe(before);
    await put('web/index.html', '<!doctype html><title>new</title>\n');
    expect((await npm('run', 'prepare')).code).toBe(0);
    expect(await readFile(join(folder, 'dist/web/index.html'), 'utf8')).toContain('new');

    await put('src/main.ts', 'const wrong: number = "text";\n');
    expect((await npm('run', 'prepare')).code).not.toBe(0);
  });
});
