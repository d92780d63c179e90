import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createInterface, type Interface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDataDir, type DataDir } from '../harness/data-dir.js';

const CONTENDERS = 5;

/** Prints `ready`, opens the folder after a line on stdin, and prints `won` or the name of the error. */
const CONTENDER = `
import { once } from 'node:events';
import { startEmbeddedPostgres } from '${new URL('../../dist/src/store/embedded.js', import.meta.url).href}';
console.log('ready');
await once(process.stdin, 'data');
try {
  await startEmbeddedPostgres(process.argv[1]);
  console.log('won');
} catch (error) {
  console.log(error.name);
}
// A loser keeps running like the winner, so that a late process finds either of them alive.
setInterval(() => undefined, 180_000);
`;

interface Contender {
  readonly child: ChildProcess;
  readonly lines: Interface;
}

/** If the owner of the lock was killed, exactly one of the processes that try takes it over. */
describe('the lock of a data folder', () => {
  let folder: DataDir;
  const contenders: Contender[] = [];

  beforeEach(async () => {
    folder = await createDataDir();
  });
  afterEach(async () => {
    await killAll();
    await folder.remove();
  });

  it('belongs to exactly one of the processes that find a dead one', async () => {
    for (let round = 0; round < 4; round += 1) {
      const ready = await Promise.all(Array.from({ length: CONTENDERS }, contender));
      const words = ready.map(nextLine);
      for (const { child } of ready) child.stdin?.write('go\n');

      const losers = Array.from({ length: CONTENDERS - 1 }, () => 'DataDirInUseError');
      expect((await Promise.all(words)).toSorted()).toEqual([...losers, 'won']);
      await killAll();
      // Leaves a dead lock for the next round.
      expect(await readdir(folder.path)).toContainEqual(expect.stringMatching(/^lock/));
    }
  });

  async function contender(): Promise<Contender> {
    const child = spawn(
      process.execPath,
      ['--input-type=module', '--eval', CONTENDER, '--', folder.path],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: { PATH: process.env['PATH'], TMPDIR: folder.path },
      },
    );
    const started = { child, lines: createInterface(child.stdout) };
    contenders.push(started);
    expect(await nextLine(started)).toBe('ready');
    return started;
  }

  async function killAll(): Promise<void> {
    await Promise.all(
      contenders.splice(0).map(async ({ child }) => {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }),
    );
  }
});

async function nextLine({ lines }: Contender): Promise<string> {
  const [line] = (await once(lines, 'line')) as [string];
  return line;
}
