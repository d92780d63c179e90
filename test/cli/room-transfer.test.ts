import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase } from '../../src/store/connect.js';
import { purgeOldest } from '../../src/store/retention.js';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { queryOnce } from '../proof/services.js';
import type { TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { runProgram, type Program } from '../harness/process.js';
import { QUIET } from '../harness/store-hosts.js';
import { person, type Person } from '../harness/tokens.js';

const CLI = 'src/cli/main.js';

let world: ChatWorld;
let node: TestNode;
let folder: string;
const ana = person({ levelOnEntity: 999 });
const ben = person();
const cleo = person();

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({ POLL_INTERVAL_MS: '500' });
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
});
afterAll(async () => {
  await world.close();
  await rm(folder, { recursive: true });
});

interface Result {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(args: string[], stdin: 'ignore' | number = 'ignore'): Promise<Result> {
  const program = runProgram(CLI, {
    args,
    stdin,
    cwd: folder,
    env: { DATABASE_URL: world.databaseUrl },
  });
  const code = await program.exited();
  return { code, stdout: program.stdout(), stderr: program.stderr() };
}

async function exported(room: number): Promise<string> {
  const { code, stdout, stderr } = await run(['export', String(room)]);
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: expect.stringMatching(/^exported: /) as string,
  });
  return stdout;
}

/** Imports a text, which the command reads from a file. */
async function imported(room: number, text: string | Buffer): Promise<Result> {
  const path = join(folder, `${room}.jsonl`);
  await writeFile(path, text);
  const file = await open(path);
  try {
    return await run(['import', String(room)], file.fd);
  } finally {
    await file.close();
  }
}

async function ask(as: Person, method: string, path: string, body?: unknown): Promise<Answer> {
  const answer = await request(node, method, path, { as, ...(body !== undefined && { body }) });
  expect(answer.status).toBeLessThan(300);
  return answer;
}

interface Message {
  readonly seq: number;
  readonly reply_to?: number;
  readonly rev?: number;
}

/** The history of a room, with numbers that count messages alone. */
async function history(as: Person, room: number): Promise<object[]> {
  const { content } = await ask(as, 'GET', `/rooms/${room}/messages?limit=1000`);
  const rows = (content as Message[]).toSorted((one, other) => one.seq - other.seq);
  const placeOf = (seq: number | undefined) => rows.findIndex((row) => row.seq === seq);
  return rows.map(({ seq, reply_to, rev, ...row }) => ({
    ...row,
    id: 0,
    room_id: 0,
    seq: placeOf(seq),
    reply_to: placeOf(reply_to),
    isChanged: rev !== undefined,
  }));
}

async function members(as: Person, room: number): Promise<object[]> {
  const { content } = await ask(as, 'GET', `/rooms/${room}/members`);
  return (content as Record<string, unknown>[]).map(
    ({ entity_UUID, permissions, level, accepted }) => ({
      entity_UUID,
      permissions,
      level,
      accepted,
    }),
  );
}

/** A room with all kinds of entries; returns its id. */
async function livelyRoom(): Promise<number> {
  const room = await createRoom(node, ana, { name: 'lively' });
  await ask(ana, 'PATCH', `/rooms/${room}`, { data: { colour: 'red' } });
  await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
  const send = async (as: Person, body: object): Promise<number> => {
    const { content } = await ask(as, 'POST', `/rooms/${room}/messages`, body);
    return (content as Message).seq;
  };
  const first = await send(ana, { content: 'a zebra crosses\nthe road', mentions: [ben.userUUID] });
  const second = await send(ben, { content: 'which one?', reply_to: first });
  await putRule(node, ana, room, { userUUID: cleo.userUUID, permissions: 'r', level: 7 });
  const third = await send(ana, { content: 'soon gone', data: { card: [1, 'é'] } });
  await send(ben, { content: 'about that', reply_to: third });
  await ask(ben, 'PATCH', `/rooms/${room}/messages/${second}`, { content: 'which zebra?' });
  const v2 = await ChatClient.enterV2(node, ben, room);
  for (const [emoji, on, target] of [
    ['👍', true, first],
    ['🎉', true, first],
    ['🎉', false, first],
    ['👀', true, third],
  ] as const) {
    v2.send({ type: 'reaction', room_id: room, target, emoji, on, ref: `${emoji} ${on}` });
    // The entry, and the answer behind it.
    expect((await v2.next()).type).toBe('reaction');
    expect((await v2.next()).type).toBe('status');
  }
  await v2.close();
  await ask(ana, 'DELETE', `/rooms/${room}/messages/${third}`);
  await send(ana, { data: { only: 'data' } });
  const dora = person();
  await putRule(node, ana, room, { userUUID: dora.userUUID, permissions: 'rw' });
  const fourth = await send(dora, { content: 'erased soon', reply_to: second });
  await ask(dora, 'PATCH', `/rooms/${room}/messages/${fourth}`, { content: 'erased sooner' });
  await send(ana, { content: 'what was that?', reply_to: fourth });
  await ask(person({}, { server: true }), 'DELETE', `/users/${dora.userUUID}/messages`);
  await send(dora, { content: 'I am back' });
  return room;
}

/** The direct room of Ana and another user. */
async function directRoom({ userUUID }: Person): Promise<number> {
  const { content } = await ask(ana, 'POST', '/rooms', { type: 'user2user', userUUID });
  return (content as { room: { id: number } }).room.id;
}

/** A file of messages of a foreign chat. */
function foreign(contents: readonly string[], more: readonly object[] = []): string {
  const messages = contents.map((content, index) => ({
    kind: 'message',
    seq: 10 * (index + 1),
    emitter: ben.userUUID,
    createdAt: new Date(Date.UTC(2020, 0, 1, 0, 0, index)).toISOString(),
    content,
  }));
  const head = {
    kind: 'room',
    format: 1,
    name: 'foreign',
    type: 'group',
    level_admin: 999,
    max_entity_rules: 10,
    entries: contents.length + more.filter((line) => 'seq' in line).length,
  };
  return [head, ...messages, ...more].map((line) => `${JSON.stringify(line)}\n`).join('');
}

/** Of a file that is imported in several transactions. */
const words = Array.from({ length: 1_200 }, (_, index) => `word ${index}`);
const BEGUN_LINES = 700;

/** An import of a file, of which it was given a part: it waits for the rest behind its first transaction. */
async function begunImport(room: number, text: string): Promise<Program> {
  const before = await headOf(room);
  const program = runProgram(CLI, {
    args: ['import', String(room)],
    stdin: 'pipe',
    cwd: folder,
    env: { DATABASE_URL: world.databaseUrl },
  });
  program.child.stdin?.write(`${text.split('\n').slice(0, BEGUN_LINES).join('\n')}\n`);
  await eventually(async () => {
    expect(await headOf(room)).toBeGreaterThan(before);
  });
  return program;
}

function restOf(text: string): string {
  return text.split('\n').slice(BEGUN_LINES).join('\n');
}

async function headOf(room: number): Promise<number> {
  const sql = `SELECT head::int FROM rooms WHERE id = ${room}`;
  const [row] = await queryOnce<{ head: number }>(world.databaseUrl, sql);
  return row?.head ?? 0;
}

/** The next texts that a session of version 1 is sent. */
async function texts(client: ChatClient, count: number): Promise<string[]> {
  const contents: string[] = [];
  while (contents.length < count) {
    const { type, data } = await client.next();
    const { content } = data as { content: string };
    if (type === 'message' && content !== '') contents.push(content);
  }
  return contents;
}

describe('a room that was exported and imported', () => {
  it('has the same history, members, reactions and settings, and its words are found', async () => {
    const room = await livelyRoom();
    const copy = await createRoom(node, ana, { name: 'copy' });
    const text = await exported(room);
    expect(text).not.toContain('soon gone');
    expect(text).not.toContain('erased soon');

    expect(await imported(copy, text)).toEqual({
      code: 0,
      stdout: '',
      stderr: 'imported: 16 entries, 0 of them before\n',
    });

    expect(await history(ben, copy)).toEqual(await history(ben, room));
    expect(await members(ana, copy)).toEqual(await members(ana, room));
    const { content } = await ask(ana, 'GET', `/rooms/${copy}`);
    expect(content).toMatchObject({
      name: 'lively',
      data: { colour: 'red' },
    });
    const found = await ask(ben, 'GET', `/messages?q=zebra&room=${copy}`);
    expect((found.content as { content: string }[]).map((row) => row.content)).toEqual([
      'which zebra?',
      'a zebra crosses\nthe road',
    ]);
    expect((await ask(ben, 'GET', `/messages?q=gone&room=${copy}`)).content).toEqual([]);
    // Numbers follow each other up to the head.
    const [row] = await queryOnce<{ entries: number; first: number; last: number }>(
      world.databaseUrl,
      `SELECT count(*)::int AS entries, min(seq)::int AS first, max(seq)::int AS last FROM messages WHERE room_id = ${copy}`,
    );
    const head = await headOf(copy);
    expect(row).toEqual({ entries: head, first: 1, last: head });
    // Exported again, it says the same.
    expect(entriesOf(await exported(copy))).toEqual(entriesOf(text));
  });

  it('knows a message that is sent again, and the names, the unread messages and the levels of its users', async () => {
    const dora = person({}, { name: 'Dora' });
    const room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    await putRule(node, ana, room, { userUUID: dora.userUUID, permissions: 'rw' });
    const first = { content: 'first', ref: 'r1' };
    const sent = await ask(dora, 'POST', `/rooms/${room}/messages`, first);
    await ask(ana, 'POST', `/rooms/${room}/messages`, { content: 'second' });
    await ask(ben, 'PUT', `/rooms/${room}/read`, { upto: (sent.content as Message).seq });
    await putRule(node, ana, room, { userUUID: cleo.userUUID, permissions: 'r' });
    await ask(ana, 'POST', `/rooms/${room}/messages`, { content: 'third' });
    const unread = (id: number): Promise<number[]> =>
      Promise.all(
        [ana, ben, cleo, dora].map(async (as) => {
          const { content } = await ask(as, 'GET', `/rooms/${id}`);
          return (content as { unread: number }).unread;
        }),
      );
    const before = await unread(room);
    expect(before).toEqual([1, 2, 1, 2]);
    await ask(ben, 'PUT', `/rooms/${room}/notify`, { level: 'mentions' });
    // Who has read nothing.
    await ask(cleo, 'PUT', `/rooms/${room}/notify`, { level: 'none' });
    const levels = (id: number): Promise<unknown[]> =>
      Promise.all(
        [ana, ben, cleo, dora].map(async (as) => {
          const { content } = await ask(as, 'GET', '/me/rooms');
          return (content as { id: number; notify: string }[]).find((one) => one.id === id)?.notify;
        }),
      );
    expect(await levels(room)).toEqual(['all', 'mentions', 'none', 'all']);
    const text = await exported(room);
    // As in another installation.
    await queryOnce(world.databaseUrl, `DELETE FROM user_profiles WHERE uuid = '${dora.userUUID}'`);
    const copy = await createRoom(node, ana);

    expect((await imported(copy, text)).code).toBe(0);

    const again = await ask(dora, 'POST', `/rooms/${copy}/messages`, first);
    expect(again).toMatchObject({ status: 200 });
    const other = { content: 'other', ref: 'r1' };
    expect(
      await request(node, 'POST', `/rooms/${copy}/messages`, { as: dora, body: other }),
    ).toMatchObject({ status: 409, meta: { reason: 'REF_USED' } });
    expect(await history(ana, copy)).toEqual(await history(ana, room));
    expect(await unread(copy)).toEqual(before);
    expect(await levels(copy)).toEqual(await levels(room));
    const { content: users } = await ask(ben, 'GET', `/users?ids=${dora.userUUID}`);
    expect(users).toMatchObject([{ name: 'Dora' }]);
  });

  it('leaves out what is about messages that were deleted by their age', async () => {
    const room = await createRoom(node, ana);
    const path = `/rooms/${room}/messages`;
    const send = async (body: object): Promise<number> =>
      ((await ask(ana, 'POST', path, body)).content as Message).seq;
    const old = await send({ content: 'old' });
    const older = await send({ content: 'old, too' });
    await queryOnce(
      world.databaseUrl,
      `UPDATE messages SET "createdAt" = "createdAt" - interval '31 days' WHERE room_id = ${room}`,
    );
    await ask(ana, 'PATCH', `${path}/${old}`, { content: 'edited' });
    const reaction = { emoji: '👍', on: true };
    const v2 = await ChatClient.enterV2(node, ana, room);
    v2.send({ type: 'reaction', room_id: room, target: old, ...reaction, ref: 'old' });
    expect((await v2.next()).type).toBe('reaction');
    const young = await send({ content: 'young', reply_to: old });
    await send({ content: 'younger', reply_to: young });
    await ask(ana, 'DELETE', `${path}/${older}`);
    await v2.close();
    const database = await connectDatabase(loadConfig({ DATABASE_URL: world.databaseUrl }), QUIET);
    await purgeOldest(database.sequelize, room, 30);
    await database.close();
    const copy = await createRoom(node, ana);

    expect(await imported(copy, await exported(room))).toEqual({
      code: 0,
      stdout: '',
      stderr: 'imported: 2 entries, 0 of them before\n',
    });
    expect(await history(ana, copy)).toEqual(await history(ana, room));
  });

  it('goes on live, for sessions of both versions that have it open', async () => {
    const room = await livelyRoom();
    const text = await exported(room);
    const copy = await createRoom(node, ana);
    const [v1, v2] = [
      await ChatClient.enter(node, ana, copy),
      await ChatClient.enterV2(node, ana, copy),
    ];

    expect((await imported(copy, text)).code).toBe(0);

    const rows = (await history(ana, room)) as { content: string }[];
    const shown = rows.map(({ content }) => content).filter((content) => content !== '');
    expect(shown).toHaveLength(5);
    const late = await ChatClient.enter(node, ana);
    late.send({ type: 'select_room', room_id: copy, after: 0 });
    for (const client of [v1, late]) expect(await texts(client, 5)).toEqual(shown);
    const seqs: number[] = [];
    const head = await headOf(copy);
    while (seqs.at(-1) !== head) {
      const { data } = await v2.next();
      seqs.push((data as Message).seq);
    }
    expect(seqs).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index));
    v1.say('and on');
    expect(await texts(late, 1)).toEqual(['and on']);
    await Promise.all([v1.close(), v2.close(), late.close()]);
  });
});

/** The lines of entries, with numbers that count entries alone. */
function entriesOf(text: string): object[] {
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const entries = lines.filter((line) => 'seq' in line);
  const placeOf = (seq: unknown) => entries.findIndex((entry) => entry['seq'] === seq);
  return entries.map(({ seq, target, reply_to, ...entry }) => ({
    ...entry,
    seq: placeOf(seq),
    target: placeOf(target),
    reply_to: placeOf(reply_to),
  }));
}

describe('an import', () => {
  it('of another chat keeps its order and dates, and its last messages are the newest', async () => {
    const room = await createRoom(node, ana);
    expect((await imported(room, foreign(['one', 'two', 'three']))).code).toBe(0);
    const rows = await history(ana, room);
    expect(rows).toMatchObject([
      { content: 'one', emitter: ben.userUUID, createdAt: '2020-01-01T00:00:00.000Z' },
      { content: 'two' },
      { content: 'three', createdAt: '2020-01-01T00:00:02.000Z' },
    ]);
    const { content } = await ask(ana, 'GET', '/me/rooms');
    const listed = (content as { id: number; last_message: object }[]).find(
      ({ id }) => id === room,
    );
    expect(listed?.last_message).toMatchObject({ content: 'three' });
  });

  it('goes on after a kill where it was, and a third one has nothing to do', async () => {
    const room = await createRoom(node, ana);
    const before = await headOf(room);
    const text = foreign(words);
    const program = await begunImport(room, text);
    program.child.kill('SIGKILL');
    await program.exited();
    const then = await headOf(room);
    expect(then - before).toBeLessThan(1_200);

    const second = await imported(room, text);
    expect(second).toEqual({
      code: 0,
      stdout: '',
      stderr: `imported: 1200 entries, ${then - before} of them before\n`,
    });
    const stored = await queryOnce<{ content: string }>(
      world.databaseUrl,
      `SELECT content FROM messages WHERE room_id = ${room} AND kind = 'message' ORDER BY seq`,
    );
    expect(stored.map(({ content }) => content)).toEqual(words);
    const after = await headOf(room);
    expect(await imported(room, text)).toMatchObject({
      stderr: 'imported: 1200 entries, 1200 of them before\n',
    });
    expect(await headOf(room)).toBe(after);
  });

  it('refuses a file with a malformed line, and names it', async () => {
    const room = await createRoom(node, ana);
    const before = await members(ana, room);
    const lines = foreign(['one', 'two']);
    expect(await imported(room, `${lines}{"kind":`)).toEqual({
      code: 1,
      stdout: '',
      stderr: 'line 4: is not JSON\n',
    });
    const hostile = { kind: 'rule', '\u001b[2J\u202e': 1, ['x'.repeat(10_000)]: 1 };
    const { stderr } = await imported(room, `${lines}${JSON.stringify(hostile)}\n`);
    expect(stderr).toMatch(/^line 4: .*\uFFFD\[2J\uFFFD.*\n$/);
    expect(stderr.length).toBeLessThan(1_000);
    expect(await members(ana, room)).toEqual(before);
  });

  it('ends if its room is deleted meanwhile', async () => {
    const room = await createRoom(node, ana);
    const text = foreign(words);
    const program = await begunImport(room, text);
    await ask(ana, 'DELETE', `/rooms/${room}`);
    program.child.stdin?.end(restOf(text));
    expect(await program.exited()).toBe(1);
    expect(program.stderr()).toBe('line 502: the room was deleted\n');
  });

  it('stops if somebody writes in the room meanwhile, and loses, doubles and reorders nothing', async () => {
    const room = await createRoom(node, ana);
    const text = foreign(words);
    const program = await begunImport(room, text);
    const { content } = await ask(ana, 'POST', `/rooms/${room}/messages`, { content: 'mine' });
    const { seq } = content as Message;
    program.child.stdin?.end(restOf(text));
    expect(await program.exited()).toBe(1);
    const problem = `line 502: the room has another entry at this place, ${seq}: it was not empty, or somebody has written in it\n`;
    expect(program.stderr()).toBe(problem);
    // So does the next attempt.
    expect(await imported(room, text)).toMatchObject({ code: 1, stderr: problem });
    const shown = (await history(ana, room)) as { content: string }[];
    expect(shown.map((row) => row.content)).toEqual([...words.slice(0, 500), 'mine']);
  });

  it('goes on if somebody writes behind its last message', async () => {
    const room = await createRoom(node, ana);
    const text = foreign(words.slice(0, 500));
    const program = await begunImport(room, text);
    await ask(ana, 'POST', `/rooms/${room}/messages`, { content: 'mine' });
    program.child.stdin?.end();
    expect(await program.exited()).toBe(0);
    const shown = (await history(ana, room)) as { content: string }[];
    expect(shown.map((row) => row.content)).toEqual([...words.slice(0, 500), 'mine']);
  });

  it('refuses a room with messages, and stores nothing in it', async () => {
    const room = await createRoom(node, ana);
    await ask(ana, 'POST', `/rooms/${room}/messages`, { content: 'mine' });
    const before = await headOf(room);
    const { code, stderr } = await imported(room, foreign(['one']));
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^line 2: the room has another entry at this place, \d+: it was not empty/,
    );
    expect(await headOf(room)).toBe(before);
  });

  it('takes the file of a direct room, which has no name, into the direct room of two users', async () => {
    const before = await directRoom(ben);
    await ask(ana, 'POST', `/rooms/${before}/messages`, { content: 'between us' });
    const dora = person();
    const room = await directRoom(dora);
    const text = (await exported(before)).replaceAll(ben.userUUID, dora.userUUID);

    expect(await imported(room, text)).toMatchObject({
      code: 0,
      stderr: 'imported: 1 entries, 0 of them before\n',
    });

    expect(await history(dora, room)).toEqual(await history(ben, before));
    const { content } = await ask(dora, 'GET', `/rooms/${room}`);
    expect(content).toMatchObject({ name: '', type: 'user2user' });
  });

  it('lets nobody else into a direct room', async () => {
    const room = await directRoom(ben);
    const rule = {
      kind: 'rule',
      entity_UUID: cleo.userUUID,
      level: 0,
      permissions: 'rw',
      accepted: true,
    };
    const text = foreign([], [rule]).replace('group', 'user2user');
    expect(await imported(room, text)).toMatchObject({
      code: 1,
      stderr: 'line 2: entity_UUID is not one of the two users of the room\n',
    });
  });
});

describe('both commands', () => {
  it.each([['export'], ['import']])('%s refuses a room that does not exist', async (command) => {
    expect(await run([command, '999999'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: 'there is no room 999999\n',
    });
    expect(await run([command, 'lobby'])).toMatchObject({
      code: 2,
      stderr: `room must be the id of a room\nSee: nano-messaging ${command} --help\n`,
    });
  });

  it('show how far they are, on a terminal', async () => {
    const room = await createRoom(node, ana);
    const path = join(folder, 'progress.jsonl');
    await writeFile(path, foreign(['one']));
    const main = join(import.meta.dirname, '../../dist', CLI);
    for (const command of [`import ${room} < ${path}`, `export ${room} > ${path}`]) {
      const { stdout } = await promisify(execFile)(
        'script',
        ['-qec', `node ${main} ${command}`, '/dev/null'],
        {
          env: { PATH: process.env['PATH'], DATABASE_URL: world.databaseUrl },
        },
      );
      expect(stdout).toContain('[########################################] 100 %');
    }
  });

  it('import does not wait for somebody to type lines', async () => {
    const main = join(import.meta.dirname, '../../dist', CLI);
    const typed = promisify(execFile)('script', ['-qec', `node ${main} import 1`, '/dev/null'], {
      env: { PATH: process.env['PATH'], DATABASE_URL: world.databaseUrl },
    });
    await expect(typed).rejects.toMatchObject({
      code: 2,
      stdout: expect.stringContaining('there is no file on stdin') as string,
    });
  });

  it('export ends without a word if nobody reads on', async () => {
    const room = await createRoom(node, ana);
    await imported(room, foreign(Array.from({ length: 2_000 }, () => 'x'.repeat(500))));
    const program = runProgram(CLI, {
      args: ['export', String(room)],
      cwd: folder,
      env: { DATABASE_URL: world.databaseUrl },
    });
    if (program.child.stdout === null) throw new Error('no stdout');
    await once(program.child.stdout, 'data');
    program.child.stdout.destroy();
    expect(await program.exited()).toBe(141);
    expect(program.stderr()).toBe('');
  });
});
