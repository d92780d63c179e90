import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChatClient as Library, type Room } from '../../src/client/node.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { query, type TestDatabase } from '../harness/database.js';
import { startNodeProcess, type NodeProcess } from '../harness/node-process.js';
import { openOutlet } from '../harness/outlet.js';
import { runProgram } from '../harness/process.js';
import { createMigratedDatabase, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';
import { until } from '../harness/until.js';

const WORKERS = 2;

const ana = person({ levelOnEntity: 999 });

/** A line of the log in production. */
interface Line {
  readonly msg: string;
  readonly level: number;
  readonly pid: number;
  readonly worker?: number;
  readonly [key: string]: unknown;
}

// A process has ended (`end`, `exited`) when its output is closed, which its workers share: none of them is left then.
describe('with WORKERS, a process', () => {
  let database: TestDatabase;
  let node: NodeProcess;

  beforeEach(async () => {
    database = await createMigratedDatabase();
  });
  afterEach(async () => {
    await node.end('SIGKILL');
    await database.drop();
  });

  function env(): Record<string, string> {
    return {
      NODE_ENV: 'production',
      WORKERS: String(WORKERS),
      DATABASE_URL: database.url,
      REDIS_URL: redisUrl(),
      REDIS_PREFIX: new URL(database.url).pathname.slice(1),
      // Only what hangs takes that long.
      SHUTDOWN_TIMEOUT_MS: '60000',
    };
  }

  async function start(more: Record<string, string> = {}): Promise<void> {
    node = await startNodeProcess({ ...env(), ...more });
    await node.program.seen(/all workers listen/);
  }

  const lines = (msg: string): Line[] => linesOf(node.program.stdout(), msg);

  /** The numbers of the workers that have logged it; 0: the process itself has. */
  const workersOf = (msg: string): number[] =>
    lines(msg)
      .map(({ worker = 0 }) => worker)
      .toSorted((a, b) => a - b);

  /** The process of a worker: the last one that has listened. */
  function pidOf(worker: number): number {
    return lines('listening on').findLast((line) => line.worker === worker)?.pid ?? 0;
  }

  async function openRoom(): Promise<number> {
    const room = await createRoom(node, ana);
    const { entityUUID } = ana;
    await putRule(node, ana, room, { entity_UUID: entityUUID, permissions: 'rw', level: 0 });
    return room;
  }

  it('serves one port, and clients of different workers chat', async () => {
    await start();
    const room = await openRoom();
    const people = Array.from({ length: 4 }, () => person({ entityUUID: ana.entityUUID }));
    const clients: ChatClient[] = [];
    for (const who of people) clients.push(await ChatClient.enter(node, who, room));

    for (const [index, client] of clients.entries()) {
      client.say(`from ${index}`);
      for (const reader of clients) expect(await reader.messages(1)).toEqual([`from ${index}`]);
    }

    await Promise.all(clients.map((client) => client.close()));
    await expect.poll(() => lines('session ended')).toHaveLength(people.length);
    const users = lines('session ended').map(({ user }) => user);
    expect(new Set(users)).toEqual(new Set(people.map(({ userUUID }) => userUUID)));
    expect(workersOf('session ended')).toEqual([1, 1, 2, 2]);
    expect(lines('migrating')).toEqual([]);
    expect(await node.end('SIGTERM')).toBe(0);
  });

  it('replaces a worker that was killed, whose clients come back with nothing lost', async () => {
    await start();
    const room = await openRoom();
    const library = Array.from({ length: 8 }, () => {
      const { token } = person({ entityUUID: ana.entityUUID });
      const client = new Library(node.url, { token: () => token });
      return { client, room: client.room(room) };
    });
    await Promise.all(library.map((reader) => until(reader.room, () => reader.room.isLive)));
    const [{ room: writer }] = library as [{ room: Room; client: Library }];
    const over = new AbortController();
    let sent = 0;
    const writing = (async () => {
      for (; !over.signal.aborted; sent += 1) {
        await writer.send(`message ${sent}`);
        await delay(5);
      }
    })();

    for (const [worker, failures] of [
      [1, 0],
      [2, 0],
      [2, 1],
    ] as const) {
      const pid = pidOf(worker);
      process.kill(pid, 'SIGKILL');
      await expect.poll(() => pidOf(worker)).not.toBe(pid);
      expect(lines('worker ended').at(-1)).toMatchObject({
        worker,
        signal: 'SIGKILL',
        delayMs: 100 * 2 ** failures,
      });
      const mark = sent;
      await until(writer, () => sent > mark + 10);
    }
    over.abort();
    await writing;

    const texts = Array.from({ length: sent }, (_, n) => `message ${n}`);
    for (const { client, room } of library) {
      await until(room, () => room.messages.length >= sent);
      expect(room.messages.map(({ content }) => content)).toEqual(texts);
      client.close();
    }
    expect(await node.end('SIGTERM')).toBe(0);
  });

  it('has all workers shut down at SIGTERM, and stores what they received', async () => {
    await start();
    const room = await openRoom();
    const clients = await Promise.all(
      Array.from({ length: 4 }, () => ChatClient.enter(node, ana, room)),
    );
    for (const client of clients) {
      for (let n = 0; n < 50; n += 1) client.say(`message ${n}`);
    }
    // After the first one, the others are on their way.
    await Promise.all(clients.map((client) => client.messages(1)));

    expect(await node.end('SIGTERM')).toBe(0);

    for (const client of clients) expect(await client.closed()).toMatchObject({ code: 1012 });
    const [stored] = await query<{ head: number; count: number }>(
      database.url,
      `SELECT head::int, (SELECT count(*)::int FROM messages WHERE room_id = id) AS count
       FROM rooms WHERE id = $1`,
      [room],
    );
    expect(stored?.count).toBe(stored?.head);
    expect(workersOf('shutting down')).toEqual([0, 1, 2]);
  });

  it('takes a signal that reaches its workers as well for one', async () => {
    await start();

    const pids = [1, 2].map(pidOf);
    // As from a terminal: a worker that ended before its owner knew why would be started again.
    const ended = node.end('SIGINT');
    for (const pid of pids) process.kill(pid, 'SIGINT');

    expect(await ended).toBe(0);
    expect(lines('worker ended')).toEqual([]);
  });

  it('kills a worker that does not end in time, and exits with 1', async () => {
    await start({ SHUTDOWN_TIMEOUT_MS: '8000' });
    process.kill(pidOf(2), 'SIGSTOP');

    expect(await node.end('SIGTERM')).toBe(1);

    expect(lines('shutdown timed out').map(({ worker }) => worker)).toEqual([undefined]);
  });

  it('kills its workers at a second signal', async () => {
    const postgres = await openOutlet(database.url);
    await start({ DATABASE_URL: postgres.url, SHUTDOWN_TIMEOUT_MS: '600000' });
    const client = await ChatClient.enter(node, ana, await openRoom());
    postgres.stall();
    client.say('never stored');
    node.program.child.kill('SIGTERM');
    await expect.poll(() => lines('shutting down')).toHaveLength(WORKERS + 1);

    expect(await node.end('SIGTERM')).toBe(1);

    await postgres.close();
  });

  it('takes its workers along if it is killed', async () => {
    await start();

    expect(await node.end('SIGKILL')).toBe('SIGKILL');
  });

  it('has metrics of each worker on a port of its own', async () => {
    await start({ METRICS_PORT: '0' });
    const served = lines('metrics are served');
    expect(workersOf('metrics are served')).toEqual([1, 2]);
    const starts = served.map(async ({ port }) => {
      const text = await (await fetch(`http://127.0.0.1:${String(port)}/metrics`)).text();
      return /^process_start_time_seconds (\S+)$/m.exec(text)?.[1];
    });

    expect(new Set(await Promise.all(starts)).size).toBe(WORKERS);
    expect((await request(node, 'GET', '/healthz')).status).toBe(200);
    expect(await node.end('SIGTERM')).toBe(0);
  });
});

describe('with WORKERS, a start', () => {
  let database: TestDatabase;

  beforeEach(async () => {
    database = await createMigratedDatabase();
  });
  afterEach(() => database.drop());

  it.each([
    { of: 'a database that does not exist', name: 'nothing', message: 'does not exist' },
    { of: 'a port that is taken', name: undefined, message: 'EADDRINUSE' },
  ])('that fails because of $of is told once, and exits with 1', async ({ name, message }) => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const url = new URL(database.url);
    if (name !== undefined) url.pathname = name;
    const program = runProgram('src/main.js', {
      env: {
        NODE_ENV: 'production',
        JWT_MASTER_SECRET: 'x'.repeat(32),
        WORKERS: '3',
        PORT: String((taken.address() as AddressInfo).port),
        HOST: '127.0.0.1',
        DATABASE_URL: url.href,
        REDIS_URL: redisUrl(),
      },
    });

    expect(await program.exited()).toBe(1);
    const fatal = linesOf(program.stdout(), '').filter(({ level }) => level >= 50);
    expect(fatal).toHaveLength(1);
    expect(fatal[0]).toMatchObject({ worker: 1, msg: expect.stringContaining(message) as string });
    expect(program.stderr()).toBe('');
    taken.close();
  });

  it('is refused without Redis, in one message', async () => {
    const program = runProgram('src/main.js', {
      env: { WORKERS: '3', DATABASE_URL: database.url },
    });

    expect(await program.exited()).toBe(1);
    expect(program.stderr()).toBe(
      'The configuration cannot be used:\n  REDIS_URL (or REDIS_URLS) must be given beside WORKERS above 1\n',
    );
  });

  it('that a signal interrupts ends all with 0', async () => {
    const program = runProgram('src/cli/main.js', {
      env: {
        NODE_ENV: 'production',
        JWT_MASTER_SECRET: 'x'.repeat(32),
        WORKERS: '3',
        PORT: '0',
        // No Postgres answers there: the first worker waits.
        DATABASE_URL: 'postgres://ana@127.0.0.1:1/chat',
        REDIS_URL: redisUrl(),
      },
    });
    await program.seen(/"worker":1/);
    program.child.kill('SIGTERM');

    expect(await program.exited()).toBe(0);
  });
});

function linesOf(output: string, msg: string): Line[] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
    .filter((line) => line.msg.startsWith(msg));
}
