import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDatabase, query, type TestDatabase } from '../harness/database.js';
import { eventually } from '../harness/eventually.js';
import { SECRET } from '../harness/node.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { postgresUrl } from '../harness/services.js';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
/** The exit takes some milliseconds; the rest is for a busy machine. A node that waited for its parts would take longer. */
const END_MS = 30_000;
const SHUTDOWN_TIMEOUT_MS = 3 * END_MS;

/** As in a container: process 1 of a namespace, for which the kernel ignores signals without a handler. */
const AS_PROCESS_1 = ['--fork', '--pid', '--kill-child'];
const canUnshare = spawnSync('unshare', [...AS_PROCESS_1, 'true']).status === 0;

interface Starting {
  /** Its output. */
  readonly output: () => string;
  /** Milliseconds of CPU that it has used. */
  workedFor(): number;
  /** Sends SIGTERM to the node; resolves with its exit code and the time that it took. */
  terminate(): Promise<{ code: number | null; ms: number }>;
  kill(): Promise<void>;
}

function start(env: Record<string, string>): Starting {
  const options = {
    env: {
      PATH: process.env['PATH'],
      PORT: '0',
      JWT_MASTER_SECRET: SECRET,
      SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_TIMEOUT_MS),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'],
  };
  const child = canUnshare
    ? spawn('unshare', [...AS_PROCESS_1, process.execPath, MAIN], options)
    : spawn(process.execPath, [MAIN], options);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  }
  const exited = once(child, 'exit') as Promise<[number | null]>;
  return {
    output: () => output,
    workedFor() {
      // utime and stime of proc(5), in hundredths of a second, behind the name in brackets.
      const fields = readFileSync(`/proc/${pidOf(child)}/stat`, 'utf8')
        .replace(/.*\)/, '')
        .split(' ');
      return (Number(fields[12]) + Number(fields[13])) * 10;
    },
    async terminate() {
      const begin = performance.now();
      process.kill(pidOf(child), 'SIGTERM');
      const [code] = await exited;
      return { code, ms: performance.now() - begin };
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The node itself: `unshare` waits for its only child. */
function pidOf(child: ChildProcess): number {
  const pid = child.pid ?? 0;
  if (!canUnshare) return pid;
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
}

describe('SIGTERM during a start exits with 0 at once', () => {
  let database: TestDatabase;
  let outlet: Outlet;
  let dataDir: string;
  let holder: Client;
  let node: Starting | undefined;

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'nano-test-'));
    database = await createDatabase(postgresUrl());
    outlet = await openOutlet(database.url);
    holder = new Client({ connectionString: database.url });
    await holder.connect();
  });
  afterEach(async () => {
    await node?.kill();
    await holder.end();
    await outlet.close();
    await database.drop();
    await rm(dataDir, { recursive: true });
  });

  async function seen(text: string): Promise<void> {
    await until(() => node?.output().includes(text) === true);
  }

  async function expectEnd(): Promise<void> {
    const end = await node?.terminate();
    expect(end).toEqual({ code: 0, ms: expect.any(Number) as number });
    expect(end?.ms).toBeLessThan(END_MS);
    expect(node?.output()).toContain('shutting down');
  }

  it('while the node waits for a missing database', async () => {
    await outlet.cut();
    node = start({ DATABASE_URL: outlet.url });
    await seen('waiting for the database');

    await expectEnd();
  });

  it('while the node waits for a silent database', async () => {
    outlet.stall();
    node = start({ DATABASE_URL: outlet.url });
    await until(() => outlet.connections > 0);

    await expectEnd();
  });

  it('while the node waits for the migration lock', async () => {
    await holder.query('BEGIN');
    await holder.query('SELECT pg_advisory_xact_lock(7777001)');
    node = start({ DATABASE_URL: database.url });
    await seen('waiting for the migration lock');

    await expectEnd();
  });

  it('within a statement of a migration, and leaves no lock behind', async () => {
    // CREATE TABLE rooms has to wait whether this one is committed.
    await holder.query('BEGIN');
    await holder.query('CREATE TABLE rooms (id integer)');
    node = start({ DATABASE_URL: database.url });
    await until(async () => (await backends(`wait_event_type = 'Lock'`)) > 0);

    await expectEnd();
    // Before the statement ends: Postgres checks whether its client still lives.
    await until(async () => (await backends(`application_name = 'nano-messaging'`)) === 0);
  });

  it('while the embedded database is created', async () => {
    node = start({ DATA_DIR: dataDir });
    await until(async () => (await readdir(dataDir)).includes('postgres'));
    // Creating it takes seconds of work.
    const before = node.workedFor();
    await until(() => (node?.workedFor() ?? 0) > before + 1_000);

    await expectEnd();
  });

  async function backends(condition: string): Promise<number> {
    const [row] = await query<{ count: number }>(
      database.url,
      `SELECT count(*)::int AS count FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid() AND ${condition}`,
    );
    return row?.count ?? 0;
  }
});

function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  return eventually(async () => {
    if (!(await isSo())) throw new Error('it does not come about');
  });
}
