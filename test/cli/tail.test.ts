import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { ChatClient } from '../harness/chat-client.js';
import { SECRET, type TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { runProgram, type Program } from '../harness/process.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
let folder: string;
const ana = person({ levelOnEntity: 999 }, { name: 'Ana' });

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
});
afterAll(async () => {
  await world.close();
  await rm(folder, { recursive: true });
});

function tail(room: number | string, ...args: string[]): Program {
  return runProgram('src/cli/main.js', {
    args: ['tail', String(room), '--url', node.url, ...args],
    cwd: folder,
    env: { JWT_MASTER_SECRET: SECRET },
  });
}

async function expectEnd(program: Program, signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
  program.child.kill(signal);
  expect(await program.exited()).toBe(0);
}

async function seenOnStderr(program: Program, text: string): Promise<void> {
  await eventually(() => {
    expect(program.stderr()).toContain(text);
  });
}

describe('the command tail', () => {
  it('prints the last messages, then all that happens, a line each, and ends at SIGINT', async () => {
    const room = await createRoom(node, ana);
    const writer = await ChatClient.enterV2(node, ana, room);
    const say = async (command: object): Promise<number> => {
      writer.send({ room_id: room, ref: JSON.stringify(command).slice(0, 64), ...command });
      for (;;) {
        const frame = await writer.next();
        if (frame['ref'] !== undefined && frame['seq'] !== undefined) return Number(frame['seq']);
      }
    };
    for (const content of ['one', 'two', 'three']) await say({ type: 'message', content });
    const program = tail(room, '--lines', '2', '--token', ana.token);
    await program.seen(/three\n/);
    const seq = await say({ type: 'message', content: 'four\nlines \u001b[2Jof\u202E text' });
    await say({ type: 'reaction', target: seq, emoji: '👍', on: true });
    await say({ type: 'edit', target: seq, content: 'five' });
    await say({ type: 'delete', target: seq });
    await putRule(node, ana, room, { userUUID: person().userUUID, permissions: 'r' });
    await program.seen(/: r\n/);
    await expectEnd(program);

    const lines = program.stdout().trim().split('\n');
    expect(
      lines.map((line) => line.replace(/^\d+ \S+Z /, '').replace(/[0-9a-f-]{36}/, 'UUID')),
    ).toEqual([
      'Ana: two',
      'Ana: three',
      'Ana: four ⏎ lines \uFFFD[2Jof\uFFFD text',
      `Ana puts 👍 on ${seq}`,
      `Ana edits ${seq}: five`,
      `Ana deletes ${seq}`,
      'Ana gives UUID: r',
    ]);
    await writer.close();
  });

  it('prints entries as JSON', async () => {
    const room = await createRoom(node, ana);
    const program = tail(room, '--json', '--lines', '0', '--token', ana.token);
    await seenOnStderr(program, 'following');
    const answer = await request(node, 'POST', `/rooms/${room}/messages`, {
      as: ana,
      body: { content: 'hi \u009b2J \u202e' },
    });
    await program.seen(/\n/);
    expect(program.stdout()).toContain('"hi \\u009b2J \\u202e"');
    await expectEnd(program, 'SIGTERM');
    expect(JSON.parse(program.stdout())).toMatchObject({
      type: 'message',
      room_id: room,
      seq: (answer.content as { seq: number }).seq,
      content: 'hi \u009b2J \u202e',
      emitter: ana.userUUID,
    });
  });

  it('signs a token for the user that the options describe', async () => {
    const room = await createRoom(node, ana);
    const program = tail(room, '--user', ana.userUUID, '--entity', ana.entityUUID, '--level', '1');
    await seenOnStderr(program, 'following');
    await expectEnd(program);
  });

  it('goes on after a restart of the server, with each message once', async () => {
    const room = await createRoom(node, ana);
    const server = await world.startProcess();
    const port = new URL(server.url).port;
    const program = runProgram('src/cli/main.js', {
      args: ['tail', String(room), '--url', server.url, '--token', ana.token],
      cwd: folder,
    });
    const say = (content: string) =>
      request(node, 'POST', `/rooms/${room}/messages`, { as: ana, body: { content } });
    await say('before');
    await program.seen(/before\n/);
    await server.end('SIGTERM');
    await seenOnStderr(program, 'not connected');
    await say('meanwhile');
    await world.startProcess({ PORT: port });
    await program.seen(/meanwhile\n/);
    await say('after');
    await program.seen(/after\n/);
    await expectEnd(program);
    const said = program
      .stdout()
      .trim()
      .split('\n')
      .map((line) => line.split(': ')[1]);
    expect(said).toEqual(['before', 'meanwhile', 'after']);
  });

  it('ends with 1 when its token is refused later', async () => {
    const room = await createRoom(node, ana);
    const server = await world.startProcess();
    const program = runProgram('src/cli/main.js', {
      args: ['tail', String(room), '--url', server.url, '--token', ana.token],
      cwd: folder,
    });
    await seenOnStderr(program, 'following');
    await server.end('SIGTERM');
    // As it refuses one that has expired.
    const env = { PORT: new URL(server.url).port, JWT_MASTER_SECRET: 'x'.repeat(32) };
    await world.startProcess(env);
    expect(await program.exited()).toBe(1);
    expect(program.stderr()).toMatch(/\nUNAUTHORIZED: the token is refused\n$/);
  });

  it('ends with 1 and the reason when the user is put out', async () => {
    const room = await createRoom(node, ana);
    const ben = person();
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    const program = tail(room, '--token', ben.token);
    await seenOnStderr(program, 'following');
    await request(node, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, { as: ana });
    expect(await program.exited()).toBe(1);
    expect(program.stderr()).toContain('the room is closed: REVOKED\n');
  });

  it('ends without a word if nobody reads on', async () => {
    const room = await createRoom(node, ana);
    const program = tail(room, '--token', ana.token);
    await seenOnStderr(program, 'following');
    program.child.stdout?.destroy();
    const stop = new AbortController();
    const exited = program.exited().finally(() => {
      stop.abort();
    });
    // The first write after the end may still fit into the pipe's buffer.
    while (!stop.signal.aborted) {
      await request(node, 'POST', `/rooms/${room}/messages`, { as: ana, body: { content: 'hi' } });
    }
    expect(await exited).toBe(141);
    expect(program.stderr()).not.toContain('EPIPE');
  });

  it.each<[name: string, args: string[], code: number, problem: string]>([
    ['no id', ['lobby'], 2, 'room must be the id of a room\nSee: nano-messaging tail --help\n'],
    [
      'no number of lines',
      ['1', '--lines', 'all'],
      2,
      'lines must be a number\nSee: nano-messaging tail --help\n',
    ],
    [
      'no URL of HTTP',
      ['1', '--url', 'ftp://x'],
      2,
      'url must be an address with http or https\nSee: nano-messaging tail --help\n',
    ],
    ['a bad token', ['1', '--token', 'x'], 1, 'UNAUTHORIZED'],
    ['a room that does not exist', ['999999', '--token', ana.token], 1, 'room'],
    [
      'no server',
      ['1', '--url', 'http://127.0.0.1:1', '--token', 'x'],
      1,
      'no server answers at http://127.0.0.1:1',
    ],
  ])('with %s ends, and says why', async (_, args, code, problem) => {
    const [room = '', ...options] = args;
    const program = options.includes('--url')
      ? runProgram('src/cli/main.js', { args: ['tail', ...args], cwd: folder })
      : tail(room, ...options);
    expect(await program.exited()).toBe(code);
    expect(program.stdout()).toBe('');
    expect(program.stderr()).toContain(problem);
    expect(program.stderr()).not.toContain('    at ');
  });
});
