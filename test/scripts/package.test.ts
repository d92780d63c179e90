import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

it('the package has the built page and what the server needs, and no sources', async () => {
  const { stdout } = await promisify(execFile)(
    'npm',
    ['pack', '--dry-run', '--json', '--ignore-scripts'],
    { cwd: ROOT },
  );
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  expect(paths).toEqual(
    expect.arrayContaining([
      'dist/src/main.js',
      'dist/web/index.html',
      'dist/web/client.js',
      'migrations/20260101000001-create-rooms.cjs',
      'package.json',
    ]),
  );
  expect(paths).toContainEqual(expect.stringMatching(/^dist\/web\/assets\/.*\.js$/));
  expect(paths.filter((path) => /^(?:src|web|test)\/|\.tsbuildinfo$|\.tsx$/.test(path))).toEqual(
    [],
  );
});
