import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createDatabase, type TestDatabase } from '../harness/database.js';
import { SECRET } from '../harness/node.js';
import { listening } from '../harness/node-process.js';
import { eventually } from '../harness/eventually.js';
import { runProgram } from '../harness/process.js';
import { postgresUrl, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

const MAIN = 'src/main.js';
const CLI = 'src/cli/main.js';

let dataDir: string;
let database: TestDatabase;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'nano-test-'));
  database = await createDatabase(postgresUrl());
});
afterEach(async () => {
  await database.drop();
  await rm(dataDir, { recursive: true });
});

/** The environment of a node on the servers of the test run. */
function serverEnv(): Record<string, string> {
  return {
    PORT: '0',
    DATA_DIR: dataDir,
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl(),
    REDIS_PREFIX: database.url,
    JWT_MASTER_SECRET: SECRET,
  };
}

describe('the process', () => {
  it('starts with the embedded defaults, logs that, and accepts a token of createJWT', async () => {
    const env = { PORT: '0', DATA_DIR: dataDir };
    const program = runProgram(MAIN, { env, cwd: dataDir });
    const node = await listening(program);
    await program.seen(/embedded/);
    await program.seen(/npx nano-messaging token/);
    expect((await stat(join(dataDir, 'jwt-secret'))).mode & 0o777).toBe(0o600);

    const created = runProgram(CLI, { args: ['token'], env, cwd: dataDir });
    expect(await created.exited()).toBe(0);
    const who = { ...person(), token: created.stdout().trim() };
    const room = await createRoom(node, who);
    const client = await ChatClient.enter(node, who, room);
    client.say('embedded');
    expect(await client.messages(1)).toEqual(['embedded']);

    program.child.kill('SIGTERM');
    expect(await client.closed()).toMatchObject({ code: 1012 });
    expect(await program.exited()).toBe(0);
  });

  it.each([
    ['', 'localhost', '127.0.0.1'],
    ['127.0.0.1', 'localhost', '127.0.0.1'],
    ['127.0.0.2', '127\\.0\\.0\\.2', '127.0.0.2'],
    ['[::1]', '\\[::1\\]', '[::1]'],
  ])('logs the address that it listens on, with HOST=%s', async (HOST, said, reached) => {
    const program = runProgram(MAIN, { env: { ...serverEnv(), HOST } });
    const [, port = ''] = await program.seen(
      new RegExp(`listening on http://${said}:(\\d+) \\(WebSocket: ws://${said}:\\1/chat\\)`),
    );

    await program.seen(new RegExp(`chat page: http://${said}:${port}/\n`));

    expect((await fetch(`http://${reached}:${port}/healthz`)).status).toBe(200);
    program.child.kill('SIGTERM');
    expect(await program.exited()).toBe(0);
  });

  it('refuses an unreadable .env, in one line', async () => {
    await mkdir(join(dataDir, '.env'));
    const program = runProgram(MAIN, { env: serverEnv(), cwd: dataDir });

    expect(await program.exited()).toBe(1);
    expect(program.stderr()).toBe(
      'The configuration cannot be used:\n  .env cannot be read: EISDIR\n',
    );
  });

  it('stores the messages that it has received before it exits at SIGTERM, and closes sockets with 1012', async () => {
    const program = runProgram(MAIN, { env: serverEnv() });
    const node = await listening(program);
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ana, room);
    const idle = await ChatClient.open(node.chatUrl);
    await idle.expect('START?');
    const words = Array.from({ length: 300 }, (_, i) => `word ${i}`);
    for (const word of words) client.say(word);
    // After the first echo, the others are in flight.
    const [first] = await client.messages(1);
    program.child.kill('SIGTERM');
    expect(await idle.closed()).toMatchObject({ code: 1012 });
    expect(await client.closed()).toMatchObject({ code: 1012 });
    expect(await program.exited()).toBe(0);

    const echoed = [first, ...client.unread('message').map(({ data }) => contentOf(data))];
    const again = runProgram(MAIN, { env: serverEnv() });
    const history = await request(await listening(again), 'GET', `/rooms/${room}/messages`, {
      as: ana,
    });
    const stored = (history.content as { content: string }[]).map(({ content }) => content);
    // Every echoed message is stored, in order; every stored message was echoed.
    expect(stored).toEqual(echoed);
    expect(words.slice(0, stored.length)).toEqual(stored);
    again.child.kill('SIGTERM');
    expect(await again.exited()).toBe(0);
  });

  it('may start twice at once on a fresh database: one migrates, both run', async () => {
    const programs = [1, 2].map(() => runProgram(MAIN, { env: serverEnv() }));
    for (const program of programs) {
      const node = await listening(program);
      // Redis may be connected after the node listens.
      await eventually(async () => {
        expect((await request(node, 'GET', '/readyz')).status).toBe(200);
      });
    }
    for (const program of programs) program.child.kill('SIGTERM');
    expect(await Promise.all(programs.map((program) => program.exited()))).toEqual([0, 0]);
  });

  it('warns in production if it has no Redis or asks a public host over http, and not elsewhere', async () => {
    const env = { ...serverEnv(), NODE_ENV: 'production' };
    // Nobody sends anything that it would be asked about.
    const hook = {
      HOOK_URL: 'http://app.example',
      WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 1).toString('base64')}`,
    };
    const lone = runProgram(MAIN, { env: { ...env, ...hook, REDIS_URL: '' } });
    await listening(lone);
    lone.child.kill('SIGTERM');
    expect(await lone.exited()).toBe(0);
    const one = runProgram(MAIN, { env });
    await listening(one);
    one.child.kill('SIGTERM');
    expect(await one.exited()).toBe(0);

    expect(lone.stdout().match(/"level":40,.*no REDIS_URL/g)).toHaveLength(1);
    expect(lone.stdout().match(/"level":40,.*\["HOOK_URL"\].*http to a public host/g)).toHaveLength(
      1,
    );
    expect(one.stdout()).not.toMatch(/no REDIS_URL|http to a public host/);
  });

  it('lists all problems of its configuration and exits with 1', async () => {
    const program = runProgram(MAIN, {
      env: { PORT: 'x', LOG_LEVEL: 'loud', NODE_ENV: 'production', JWT_MASTER_SECRET: 'hush-hush' },
    });
    expect(await program.exited()).toBe(1);
    for (const name of ['PORT', 'LOG_LEVEL', 'JWT_MASTER_SECRET', 'DATABASE_URL']) {
      expect(program.stderr()).toContain(name);
    }
    expect(program.stderr()).not.toContain('hush-hush');
  });

  it.each([
    [
      'a database that nobody has migrated',
      {},
      'the database has no tables yet: run "npx nano-messaging migrate"',
    ],
    ['a wrong password', { password: 'hush-hush' }, 'password authentication failed'],
    ['a missing database', { pathname: '/nothing' }, 'database "nothing" does not exist'],
  ])('exits with 1 and one line if it is given %s', async (_, difference, complaint) => {
    const program = runProgram(MAIN, {
      env: {
        ...serverEnv(),
        NODE_ENV: 'production',
        MIGRATE_ON_START: 'false',
        DATABASE_URL: Object.assign(new URL(database.url), difference).href,
      },
    });

    expect(await program.exited()).toBe(1);
    const lines = program.stdout().trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 60,
      msg: expect.stringContaining(complaint) as string,
    });
    expect(program.stdout() + program.stderr()).not.toContain('hush-hush');
  });

  it('exits with 1 if its port is taken', async () => {
    const first = runProgram(MAIN, { env: serverEnv() });
    const { port } = new URL((await listening(first)).url);
    const second = runProgram(MAIN, { env: { ...serverEnv(), PORT: port } });
    expect(await second.exited()).toBe(1);
    expect(second.stdout()).toContain('EADDRINUSE');
    first.child.kill('SIGINT');
    expect(await first.exited()).toBe(0);
  });

  it('logs requests and the ends of sessions as JSON, without tokens or message contents', async () => {
    const program = runProgram(MAIN, { env: { ...serverEnv(), NODE_ENV: 'production' } });
    const node = await listening(program);
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ana, room);
    client.say('a secret between us');
    await client.messages(1);
    client.send({ type: 'quit' });
    await client.closed();
    await program.seen(/session ended/);
    program.child.kill('SIGTERM');
    await once(program.child, 'close');

    const lines = program
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toContainEqual(
      expect.objectContaining({ method: 'POST', path: '/rooms', status: 200, user: ana.userUUID }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ msg: 'session ended', reason: 'NORMAL', user: ana.userUUID }),
    );
    expect(program.stdout()).not.toContain(ana.token);
    expect(program.stdout()).not.toContain('a secret between us');
  });
});

function contentOf(data: unknown): string {
  return (data as { content: string }).content;
}
