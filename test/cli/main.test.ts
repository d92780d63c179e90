import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import packageFile from '../../package.json' with { type: 'json' };
import { createDatabase, type TestDatabase } from '../harness/database.js';
import { SECRET } from '../harness/node.js';
import { listening } from '../harness/node-process.js';
import { runProgram } from '../harness/process.js';
import { postgresUrl } from '../harness/services.js';

const COMMANDS = [
  'start',
  'token',
  'tail',
  'export',
  'import',
  'migrate',
  'carry-over',
  'partition',
  'new-epoch',
  'size',
];

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
/** A file to which nothing can be written, as on a full disk. */
const FULL = '/dev/full';

let folder: string;
let database: TestDatabase;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  database = await createDatabase(postgresUrl());
});
afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true });
});

async function run(...args: string[]) {
  const program = runProgram('src/cli/main.js', { args, cwd: folder });
  const code = await program.exited();
  return { code, stdout: program.stdout(), stderr: program.stderr() };
}

describe('nano-messaging', () => {
  it('prints its version', async () => {
    for (const option of ['--version', '-v']) {
      expect(await run(option)).toEqual({
        code: 0,
        stdout: `${packageFile.version}\n`,
        stderr: '',
      });
    }
  });

  it('lists each command in its help', async () => {
    const help = await run('--help');
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(await run('-h')).toEqual(help);
    const listed = /Commands:\n([\s\S]*?)\n\n/.exec(help.stdout)?.[1] ?? '';
    expect([...listed.matchAll(/^ {2}(\S+)/gm)].map(([, name]) => name)).toEqual(COMMANDS);
  });

  it.each(COMMANDS)('explains %s, with an example and lines of a terminal', async (name) => {
    const { code, stdout, stderr } = await run(name, '--help');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^usage: nano-messaging /);
    expect(stdout).toMatch(/\n\nExamples?:\n {2}\S/);
    expect(stdout.split('\n').filter((line) => line.length > 120)).toEqual([]);
    expect(await run(name, '-h')).toEqual({ code, stdout, stderr });
  });

  it.each([
    [['dance'], 'unknown command: dance\nSee: nano-messaging --help\n'],
    [['\u001b[2J\u009b2J'], 'unknown command: \uFFFD[2J\uFFFD2J\nSee: nano-messaging --help\n'],
    [
      ['token', '--hours', '9'.repeat(20)],
      'hours must be 876000 or less\nSee: nano-messaging token --help\n',
    ],
    [['toString'], 'unknown command: toString\nSee: nano-messaging --help\n'],
    [['--port', '1'], 'unknown option: --port\nSee: nano-messaging --help\n'],
    [['start', 'now'], 'unexpected argument: now\nSee: nano-messaging start --help\n'],
    [['migrate', 'now'], 'unexpected argument: now\nSee: nano-messaging migrate --help\n'],
    [['partition'], 'partitions must be given\nSee: nano-messaging partition --help\n'],
    ...['1', '65', '4.5'].map((number): [string[], string] => [
      ['partition', '--partitions', number],
      'partitions must be a number from 2 to 64\nSee: nano-messaging partition --help\n',
    ]),
    [
      ['size', '--users', '-5'],
      "Option '--users' argument is ambiguous\nSee: nano-messaging size --help\n",
    ],
    [['new-epoch', '-x'], "Unknown option '-x'\nSee: nano-messaging new-epoch --help\n"],
  ])('does nothing for %j, says what is wrong, and exits with 2', async (args, stderr) => {
    expect(await run(...args)).toEqual({ code: 2, stdout: '', stderr });
  });

  it.each([[['--help']], [['start', '--help']], [['size', '--users', '10']]])(
    'ends without a word if nobody reads what %j prints',
    async (args) => {
      const program = runProgram('src/cli/main.js', { args, cwd: folder });
      program.child.stdout?.destroy();
      expect(await program.exited()).toBe(141);
      expect(program.stderr()).toBe('');
    },
  );

  it('prints its results though nobody reads what it says about them', async () => {
    const program = runProgram('src/cli/main.js', { args: ['token'], cwd: folder });
    program.child.stderr?.destroy();
    expect(await program.exited()).toBe(0);
    expect(program.stdout()).toMatch(/^ey\S+\n$/);
  });

  it.runIf(existsSync(FULL))('exits with 1 if its results cannot be written', async () => {
    const full = openSync(FULL, 'w');
    try {
      const child = spawn(process.execPath, [MAIN, 'size', '--users', '10'], {
        cwd: folder,
        stdio: ['ignore', full, 'pipe'],
      });
      let stderr = '';
      child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      const [code] = (await once(child, 'close')) as [number | null];
      expect(code).toBe(1);
      expect(stderr).toMatch(/^the output can't be written: ENOSPC[^\n]*\n$/);
    } finally {
      closeSync(full);
    }
  });

  it('makes no partitions in the embedded database', async () => {
    expect(await run('partition', '--partitions', '4')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'the embedded database has no use for partitions: set DATABASE_URL\n',
    });
  });

  it.each([[[]], [['start']]])('starts the server with %j, and ends it at SIGINT', async (args) => {
    const program = runProgram('src/cli/main.js', {
      args,
      cwd: folder,
      env: { PORT: '0', DATABASE_URL: database.url, JWT_MASTER_SECRET: SECRET },
    });
    const { url } = await listening(program);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    program.child.kill('SIGINT');
    expect(await program.exited()).toBe(0);
  });
});
