import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase } from '../harness/database.js';
import { SECRET } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { findFreePort } from '../harness/server-process.js';
import { createMigratedDatabase } from '../harness/services.js';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
/** A file to which nothing can be written, as on a full disk. */
const FULL = '/dev/full';

describe('a node that cannot write its log', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createMigratedDatabase();
  });
  afterAll(() => database.drop());

  async function start(
    NODE_ENV: string,
    stdout: 'pipe' | number,
  ): Promise<{ child: ChildProcess; url: string }> {
    const PORT = String(await findFreePort());
    const child = spawn(process.execPath, [MAIN], {
      cwd: '/',
      env: {
        PATH: process.env['PATH'],
        NODE_ENV,
        PORT,
        HOST: '127.0.0.1',
        LOG_LEVEL: 'debug',
        JWT_MASTER_SECRET: SECRET,
        DATABASE_URL: database.url,
      },
      stdio: ['ignore', stdout, 'ignore'],
    });
    return { child, url: `http://127.0.0.1:${PORT}` };
  }

  /** The node keeps answering, though the log line of each answer is lost. */
  async function expectAlive(url: string): Promise<void> {
    await eventually(() => fetch(`${url}/healthz`));
    for (let count = 0; count < 20; count += 1) {
      expect((await fetch(`${url}/rooms`)).status).toBe(401);
    }
  }

  async function end(child: ChildProcess): Promise<unknown> {
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const [code] = (await exited) as [number | null];
    return code;
  }

  const environments = ['production', 'development'];

  it.each(environments)('keeps serving without a reader, in %s', async (environment) => {
    const { child, url } = await start(environment, 'pipe');
    await eventually(() => fetch(`${url}/healthz`));
    child.stdout?.destroy();
    await expectAlive(url);
    expect(await end(child)).toBe(0);
  });

  it.runIf(existsSync(FULL)).each(environments)(
    'keeps serving if the disk is full, in %s',
    async (environment) => {
      const full = openSync(FULL, 'w');
      const { child, url } = await start(environment, full);
      closeSync(full);
      await expectAlive(url);
      expect(await end(child)).toBe(0);
    },
  );
});
