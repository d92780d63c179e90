import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig, type DatabaseAddress } from '../../src/config/load.js';
import { connectDatabase } from '../../src/store/connect.js';
import { DataDirInUseError } from '../../src/store/data-dir-lock.js';
import { startEmbeddedPostgres } from '../../src/store/embedded.js';
import { migrate } from '../../src/store/migrate.js';
import { createRoom } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createDataDir, type DataDir } from '../harness/data-dir.js';
import { SECRET } from '../harness/node.js';
import { runProgram, type Program } from '../harness/process.js';
import { QUIET, storeOver } from '../harness/store-hosts.js';
import { person } from '../harness/tokens.js';
import { readAll, say, TestWriter } from '../harness/writers.js';

const IN_USE =
  'is in use by another process: stop that one, or give this one a DATA_DIR of its own';
const LISTENING = /listening on http:\/\/localhost:(\d+)/;

describe('the embedded Postgres', () => {
  let folder: DataDir;
  let dataDir: string;
  const programs: Program[] = [];

  beforeAll(async () => {
    folder = await createDataDir();
    dataDir = folder.path;
  });
  afterEach(async () => {
    for (const { child } of programs) child.kill('SIGKILL');
    await Promise.all(programs.splice(0).map((program) => program.exited()));
  });
  afterAll(() => folder.remove());

  it('answers at its address, to its own user only, and no more once it is closed', async () => {
    const postgres = await startEmbeddedPostgres(dataDir);
    const { address } = postgres;
    const answer = await queryOnce(address);
    const { mode } = await stat(address.host);
    await postgres.close();

    expect(answer).toEqual([{ answer: 42 }]);
    expect(mode & 0o777).toBe(0o700);
    await expect(queryOnce(address)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(existsSync(address.host)).toBe(false);
    expect(await readdir(dataDir)).toEqual(['postgres']);
  });

  it('refuses a second one of the same process, until the first is closed', async () => {
    const first = await startEmbeddedPostgres(dataDir);

    const second = startEmbeddedPostgres(dataDir);

    await expect(second).rejects.toBeInstanceOf(DataDirInUseError);
    await expect(second).rejects.toThrow(`${dataDir} ${IN_USE}`);
    await first.close();
    const third = await startEmbeddedPostgres(dataDir);
    await third.close();
  });

  it('refuses a second process, which says why and exits with 1', async () => {
    await startServer();

    const server = run('src/main.js');
    const migration = run('src/cli/main.js', ['migrate']);

    expect(await server.exited()).toBe(1);
    expect(server.stdout()).toContain(IN_USE);
    expect(await migration.exited()).toBe(1);
    expect(migration.stderr()).toContain(IN_USE);
    await expect(startEmbeddedPostgres(dataDir)).rejects.toBeInstanceOf(DataDirInUseError);
  });

  it('opens the folder of a killed process, with everything that was acknowledged', async () => {
    const server = await startServer();
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(server, ana);
    const client = await ChatClient.enter(server, ana, room);
    const words = Array.from({ length: 3_000 }, (_, n) => `word ${n}`);

    for (const word of words) client.say(word);
    const first = await client.messages(100);
    server.program.child.kill('SIGKILL');
    await client.closed();
    const rest = client.unread('message').map(({ data }) => (data as { content: string }).content);
    const acknowledged = [...first, ...rest];

    expect(await readdir(dataDir)).toContainEqual(expect.stringMatching(/^lock/));
    const database = await connectDatabase(loadConfig({ DATA_DIR: dataDir }), QUIET);
    const { log } = storeOver(database);
    const pending = await migrate(database, QUIET);
    const entries = await readAll(log, room);
    const { rulesHead = 0 } = (await log.state(room)) ?? {};
    const appended = await say(log, new TestWriter(room, { rulesHead }), 'after');
    await database.close();

    expect(pending).toEqual([]);
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
    const stored = entries.filter(({ kind }) => kind === 'message').map(({ content }) => content);
    expect(stored.length).toBeGreaterThanOrEqual(acknowledged.length);
    expect(stored).toEqual(words.slice(0, stored.length));
    expect(acknowledged).toEqual(stored.slice(0, acknowledged.length));
    expect(appended).toEqual({ seq: entries.length + 1, known: false });
  });

  it('makes its folder for its own user only, and refuses a path that is too long', async () => {
    const long = join(dataDir, 'inner', 'x'.repeat(100));

    await expect(startEmbeddedPostgres(long)).rejects.toThrow('the path of DATA_DIR is too long');

    for (const folder of [long, join(dataDir, 'inner')]) {
      expect((await stat(folder)).mode & 0o777).toBe(0o700);
    }
  });

  function run(file: string, args: string[] = []): Program {
    const program = runProgram(file, {
      args,
      env: {
        DATA_DIR: dataDir,
        // The place of a killed process's socket.
        TMPDIR: dataDir,
        PORT: '0',
        HOST: '127.0.0.1',
        JWT_MASTER_SECRET: SECRET,
      },
      cwd: dataDir,
    });
    programs.push(program);
    return program;
  }

  async function startServer(): Promise<{ program: Program; url: string; chatUrl: string }> {
    const program = run('src/main.js');
    const [, port] = await program.seen(LISTENING);
    return {
      program,
      url: `http://127.0.0.1:${port}`,
      chatUrl: `ws://127.0.0.1:${port}/chat`,
    };
  }
});

async function queryOnce(address: DatabaseAddress): Promise<unknown[]> {
  const { host, port, database, username } = address;
  const client = new Client({ host, port, database, user: username });
  await client.connect();
  try {
    return (await client.query<{ answer: number }>('SELECT 42 AS answer')).rows;
  } finally {
    await client.end();
  }
}
