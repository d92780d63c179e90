import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Client } from 'pg';
import { startPGlite } from '../../src/store/pglite-thread.js';
import { createRoom, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { copyEmptyTemplate, createDataDir, type DataDir } from '../harness/data-dir.js';
import { listening } from '../harness/node-process.js';
import { SECRET } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { runProgram, type Program } from '../harness/process.js';
import { mountSmallDisk, type SmallDisk } from '../harness/small-disk.js';
import { person } from '../harness/tokens.js';

/** An empty database has 39 MB, and a segment of its log 16: there is room for messages, and for no segment more. */
const TOO_SMALL = 'size=54m';

const probe = mountSmallDisk('size=1m');
probe?.remove();

let program: Program | undefined;
let dataDir: DataDir;

beforeEach(async () => {
  dataDir = await createDataDir();
});
afterEach(async () => {
  program?.child.kill('SIGKILL');
  await program?.exited();
  program = undefined;
  await dataDir.remove();
});

function start(path: string): Program {
  program = runProgram('src/main.js', {
    env: { PORT: '0', HOST: '127.0.0.1', DATA_DIR: path, JWT_MASTER_SECRET: SECRET },
  });
  return program;
}

/** The last line of a failed start. */
async function complaint(path: string): Promise<string> {
  const failing = start(path);
  expect(await failing.exited()).toBe(1);
  return failing.stdout().trim().split('\n').at(-1) ?? '';
}

describe.runIf(probe)('an embedded database whose disk', () => {
  let disk: SmallDisk;

  beforeEach(async () => {
    const mounted = mountSmallDisk(TOO_SMALL);
    if (mounted === undefined) throw new Error('it could be mounted before');
    disk = mounted;
    await copyEmptyTemplate(disk.path);
  });
  afterEach(() => {
    disk.remove();
  });

  it('is full ends the process with a line, and a start, too; with more room everything is there', async () => {
    const full = start(disk.path);
    const node = await listening(full);
    const ana = person({ levelOnEntity: 999 });
    const room = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ana, room);
    let stored = 0;
    let refused = 0;
    const say = (): void => {
      if (client.socket.readyState === client.socket.OPEN) {
        // Postgres must not be able to compress it.
        client.say(randomBytes(3_000).toString('base64'), { ref: crypto.randomUUID() });
      }
    };
    client.socket.on('message', (data: Buffer) => {
      const { data: word } = JSON.parse(data.toString()) as { data: unknown };
      if (word === 'SENT') stored += 1;
      else if (word === 'UNAVAILABLE') refused += 1;
      else return;
      if (refused < 1_000) say();
    });
    for (let n = 0; n < 50; n += 1) say();

    expect(await full.exited()).toBe(1);
    expect(full.stdout()).toMatch(
      /FATAL: exiting: the embedded database: .*No space left on device/,
    );
    await client.closed();
    expect(stored).toBeGreaterThan(100);

    expect(await complaint(disk.path)).toMatch(
      /could not start: the embedded database: .*No space left on device/,
    );

    disk.remount('size=150m');
    const again = await listening(start(disk.path));
    const { meta, content } = await request(again, 'GET', `/rooms/${room}/messages?limit=1`, {
      as: ana,
    });
    expect(meta.code).toBe(200);
    const [newest] = content as { seq: number }[];
    expect(newest?.seq).toBeGreaterThanOrEqual(stored);
  });

  it('is full for messages is not ready, and works again as soon as there is room', async () => {
    disk.remount('size=200m');
    const node = await listening(start(disk.path));
    const ana = person({ levelOnEntity: 999 });
    const room = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ana, room);
    expect((await request(node, 'GET', '/readyz')).status).toBe(200);
    const filler = join(disk.path, 'filler');
    fillDisk(filler);

    // Its write-ahead log has room left in the present segment.
    let word: unknown;
    while (word !== 'UNAVAILABLE') word = (await say(client)).at(-1);
    await readiness(node, 503);
    const { meta } = await request(node, 'GET', '/readyz');
    expect(meta).toMatchObject({ reason: 'UNAVAILABLE', detail: 'not ready: database' });
    expect((await request(node, 'GET', '/healthz')).status).toBe(200);

    await rm(filler);
    await readiness(node, 200);
    expect(await say(client)).toEqual(['message', 'SENT']);
    const history = await request(node, 'GET', `/rooms/${room}/messages?limit=1000`, { as: ana });
    const seqs = (history.content as { seq: number }[]).map(({ seq }) => seq);
    expect(new Set(seqs).size).toBe(seqs.length);
    await client.close();
  });

  it('has no room for a new one ends the start with a line', async () => {
    disk.remount('size=200m');
    await rm(join(disk.path, 'postgres'), { recursive: true });
    disk.remount('size=10m');

    expect(await complaint(disk.path)).toContain('No space left on device');
  });

  it('is read-only ends the start with a line', async () => {
    disk.remount('ro');

    expect(await complaint(disk.path)).toMatch(
      /could not start: DATA_DIR can't be used: .*read-only file system/,
    );
  });
});

/** Fills the disk. */
function fillDisk(path: string): void {
  const file = openSync(path, 'w');
  expect(() => {
    for (;;) writeSync(file, Buffer.alloc(4_096));
  }).toThrow('ENOSPC');
  closeSync(file);
}

/** Sends a message of a quarter of a page, and returns the words up to its answer. */
async function say(client: ChatClient): Promise<unknown[]> {
  client.say('x'.repeat(1_800), { ref: crypto.randomUUID() });
  const frames = [await client.next()];
  while (frames.at(-1)?.type === 'message') frames.push(await client.next());
  return frames.map(({ type, data }) => (type === 'message' ? type : data));
}

function readiness(node: { url: string }, status: number): Promise<void> {
  return eventually(async () => {
    expect((await request(node, 'GET', '/readyz')).status).toBe(status);
  });
}

describe('an embedded database', () => {
  it('whose folder is a file, or in one, ends the start with a line', async () => {
    const file = join(dataDir.path, 'file');
    await writeFile(file, '');

    expect(await complaint(file)).toContain(`DATA_DIR can't be used: EEXIST`);
    expect(await complaint(join(file, 'inner'))).toContain(`DATA_DIR can't be used: ENOTDIR`);
  });

  it('whose path is longer than that of a socket may be ends the start with a line', async () => {
    const long = join(dataDir.path, 'x'.repeat(120));

    expect(await complaint(long)).toMatch(/could not start: the path of DATA_DIR is too long: /);
  });

  it('that stops answering is given up, with the reason', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'nano-socket-'));
    const thread = await startPGlite({
      folder: join(dataDir.path, 'postgres'),
      socket: join(folder, '.s.PGSQL.5432'),
      maxConnections: 1,
      pingIntervalMs: 500,
    });
    const client = new Client({ host: folder, user: 'postgres', database: 'postgres' });
    client.on('error', () => undefined);
    await client.connect();
    const answer = client.query(`DO 'BEGIN LOOP END LOOP; END'`).catch((error: unknown) => error);

    expect(await thread.failed).toMatchObject({ message: 'the embedded database: it hangs' });
    expect(await answer).toBeInstanceOf(Error);
    await thread.close();
    await rm(folder, { recursive: true });
  });
});
