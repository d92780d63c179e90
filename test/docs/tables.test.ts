import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { HANDLERS } from '../../src/chat/v1/dispatch.js';
import { environmentSchema, SOCKET_LIMITS } from '../../src/config/variables.js';
import { ERRORS, type ErrorCode } from '../../src/errors.js';
import { ROUTES } from '../../src/http/routes.js';
import { CLOSE_CODES } from '../../src/protocol/close-codes.js';
import { QUERY_WORDS, STATUS_WORDS } from '../../src/protocol/v1/events.js';
import { STATUS_WORDS as STATUS_WORDS_V2 } from '../../src/protocol/v2/events.js';
import { createRoom, putRule } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(`${ROOT}/${path}`, 'utf8');
const protocol = read('docs/PROTOCOL.md');
const httpApi = read('docs/HTTP-API.md');

/** The rows of the only table that has these columns, each as its cells by column. */
function table(markdown: string, ...columns: string[]): Record<string, string>[] {
  const tables = [...markdown.matchAll(/^\|(?:.*\n\|)+.*/gm)].map(([text]) =>
    text.split('\n').map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    ),
  );
  const found = tables.filter(([header]) => columns.every((column) => header?.includes(column)));
  const [[header = [], , ...rows] = []] = found;
  expect(found, `tables with ${columns.join(', ')}`).toHaveLength(1);
  return rows.map((cells) =>
    Object.fromEntries(header.map((column, index) => [column, cells[index] ?? ''])),
  );
}

/** The texts in backticks. */
const codes = (text = ''): string[] =>
  [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
const code = (text = ''): string => codes(text)[0] ?? '';

describe('the tables of PROTOCOL.md', () => {
  it('have every close code, and whether to reconnect', () => {
    const documented = table(protocol, 'Code', 'Name', 'Reconnect').map((row) => [
      code(row['Name']),
      { code: Number(row['Code']), reconnect: /^(yes|no)\b/.exec(row['Reconnect'] ?? '')?.[1] },
    ]);
    const served = Object.entries(CLOSE_CODES).map(([name, { code, reconnect }]) => [
      name,
      { code, reconnect: reconnect ? 'yes' : 'no' },
    ]);
    expect(documented).toEqual(served);
  });

  it.each([
    { type: 'query', words: QUERY_WORDS, column: 'Means' },
    { type: 'status', words: STATUS_WORDS, column: 'Keys beside it' },
  ])('have every word of a $type', ({ type, words, column }) => {
    const section = protocol.split(/^### /m).find((text) => text.startsWith(`\`${type}\``));
    const documented = table(section ?? '', 'Word', column).map((row) => code(row['Word']));
    expect(documented.toSorted()).toEqual(words.toSorted());
  });

  it('have every word of an answer of version 2', () => {
    const [, section = ''] = protocol.split('## Version 2: server → client');
    const documented = table(section, 'Word', 'Keys beside it').map((row) => code(row['Word']));
    expect(documented.toSorted()).toEqual(STATUS_WORDS_V2.toSorted());
  });

  it('have the word of each reason of version 2', () => {
    const documented = table(protocol, 'Reason', 'Word').map((row) => [
      code(row['Reason']),
      code(row['Word']),
    ]);
    expect(documented).not.toEqual([]);
    for (const [reason, word] of documented) {
      const { status, word: inVersion1 } = ERRORS[reason as ErrorCode];
      expect(word).toBe(status === 404 ? 'NOTFOUND' : inVersion1);
    }
  });

  it('have the word of each error over a socket', () => {
    const documented = table(protocol, 'Error', 'Word').map((row) => [
      code(row['Error']),
      code(row['Word']),
    ]);
    expect(documented).not.toEqual([]);
    for (const [error, word] of documented) expect(ERRORS[error as ErrorCode]?.word).toBe(word);
  });

  it('have the limits of a socket, with their defaults and meanings', () => {
    const documented = table(protocol, 'Variable', 'Default', 'Beyond it').map((row) => [
      code(row['Variable']),
      { fallback: Number(row['Default']), meaning: row['Limits'] },
    ]);
    const served = Object.entries(SOCKET_LIMITS.shape).map(([name, schema]) => [
      name,
      { fallback: schema.parse(undefined), meaning: schema.description },
    ]);
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(served));
  });
});

describe('the table of README.md', () => {
  it('has variables that are read, with their defaults', () => {
    const defaults = environmentSchema.parse({}) as Readonly<
      Record<string, string | number | boolean | undefined>
    >;
    const rows = table(read('README.md'), 'Variable', 'Meaning', 'Default');
    const documented = rows.flatMap((row) =>
      codes(row['Variable']).map((name) => ({ name, text: row['Default'] })),
    );
    expect(Object.keys(environmentSchema.shape)).toEqual(
      expect.arrayContaining(documented.map(({ name }) => name)),
    );
    const withDefault = documented.filter(({ name }) => defaults[name] !== undefined);
    expect(withDefault).not.toEqual([]);
    for (const { name, text } of withDefault) expect(text).toContain(String(defaults[name]));
  });
});

describe('the tables of HTTP-API.md', () => {
  it('have every error, with its status, word and meaning', () => {
    const documented = table(httpApi, 'Reason', 'Status', 'Word').map((row) => [
      code(row['Reason']),
      { status: Number(row['Status']), word: code(row['Word']), when: row['When'] },
    ]);
    const served = Object.entries(ERRORS).map(([error, { status, word, when }]) => [
      error,
      { status, word, when },
    ]);
    expect(documented).toEqual(served);
  });

  const accessOf = (who = ''): string => {
    if (who.startsWith('anybody')) return 'open';
    if (who.startsWith('the application')) return 'server';
    return who.startsWith('the chat page') ? 'page' : 'token';
  };

  it('have every route, and which of them need no token', () => {
    const documented = table(httpApi, 'Route', 'Who').map((row) => ({
      route: code(row['Route']),
      access: accessOf(row['Who']),
    }));
    const served = ROUTES.map(({ method, path, access }) => ({
      route: `${method} ${path}`,
      access,
    }));
    const byRoute = (one: { route: string }, other: { route: string }): number =>
      one.route.localeCompare(other.route);
    expect(documented.toSorted(byRoute)).toEqual(served.toSorted(byRoute));
  });

  it.each(ROUTES.map((route) => ({ ...route, name: `${route.method} ${route.path}` })))(
    'have every field and parameter of $name',
    ({ name, query, body }) => {
      const section = httpApi.split(/^## /m).find((text) => text.startsWith(`\`${name}\`\n`));
      const rows = [...(section ?? '').matchAll(/^\| (`[^|]*)\|/gm)];
      const documented = rows.flatMap(([, cell]) => codes(cell));
      const ofBody =
        typeof body === 'function' ? body({ contentCharacters: 8_000, dataBytes: 4_096 }) : body;
      const taken = [query, ofBody].flatMap((schema) => {
        const form = schema && z.toJSONSchema(schema, { io: 'input' });
        return [form, ...(form?.anyOf ?? [])].flatMap((one) => Object.keys(one?.properties ?? {}));
      });
      expect(documented.toSorted()).toEqual([...new Set(taken)].toSorted());
    },
  );
});

describe('the table of states', () => {
  const rows = table(protocol, 'State', '`quit`');
  const admin = person({ levelOnEntity: 999 });
  const reader = person();
  let world: ChatWorld;
  let node: TestNode;
  let room: number;

  beforeAll(async () => {
    world = await createChatWorld();
    node = await world.start();
    room = await createRoom(node, admin);
    await putRule(node, admin, room, { userUUID: reader.userUUID, permissions: 'r' });
  });
  afterAll(() => world.close());

  it('has the states and the commands of the session', () => {
    const served = Object.entries(HANDLERS).flatMap(([command, handlers]) =>
      Object.keys(handlers).map((state) => `${state} ${command}`),
    );
    const documented = rows.flatMap(({ State, ...cells }) =>
      Object.keys(cells)
        .flatMap(codes)
        .filter((command) => command !== 'type')
        .map((command) => `${code(State)} ${command}`),
    );
    expect(documented.toSorted()).toEqual(served.toSorted());
  });

  /** The frames of a column; if the column is a command, malformed ones, too. */
  const FRAMES: Record<string, () => unknown[]> = {
    '`token`': () => [
      { type: 'token', content: admin.token },
      { type: 'token', content: 'no token' },
      { type: 'token' },
    ],
    '`select_room`': () => [
      { type: 'select_room', room_id: room },
      { type: 'select_room', room_id: room, after: 0 },
      { type: 'select_room', room_id: room, after: 1_000 },
      { type: 'select_room', room_id: 'no room' },
      { type: 'select_room' },
    ],
    '`message`': () => [
      { type: 'message', content: 'hi' },
      { type: 'message', content: 'hi', ref: 'a1' },
      { type: 'message', content: '' },
      { type: 'message' },
    ],
    '`quit`': () => [{ type: 'quit' }],
    'another `type`': () => [{ type: 'dance' }, {}],
    'not a JSON object': () => [[], null],
  };

  /** All answers to one frame in a state: words, `message`, a close code. */
  async function answers(state: string, who: typeof admin, frame: unknown): Promise<string[]> {
    const client =
      state === 'greeting'
        ? await ChatClient.open(node.chatUrl)
        : await ChatClient.enter(node, who, state === 'room' ? room : undefined);
    if (state === 'greeting') await client.expect('START?');
    const frames: ServerFrame[] = [];
    client.socket.on('message', (data: Buffer) => {
      frames.push(JSON.parse(data.toString()) as ServerFrame);
    });
    client.raw(JSON.stringify(frame));
    const isQuit = (frame as { type?: unknown } | null)?.type === 'quit';
    // Its answer comes after all answers to the frame.
    if (!isQuit) client.send({ type: 'quit' });
    const closed = await client.closed();
    return [
      ...frames.map(({ type, data }) => (type === 'message' ? 'message' : String(data))),
      ...(isQuit || closed.code !== CLOSE_CODES.NORMAL.code ? [String(closed.code)] : []),
    ];
  }

  const cells = rows.flatMap(({ State, ...cells }) =>
    Object.entries(cells).map(([column, cell]) => [code(State), column, cell] as const),
  );

  it.each(cells)('has every answer in %s to %s', async (state, column, cell) => {
    const frames = FRAMES[column]?.() ?? [];
    const people = state === 'room' ? [admin, reader] : [admin];
    const given = await Promise.all(
      people.flatMap((who) => frames.map((frame) => answers(state, who, frame))),
    );
    expect(new Set(given.flat())).toEqual(new Set(codes(cell)));
  });
});

describe('the table of answers of version 2', () => {
  const rows = table(protocol, 'Command', 'Needs', 'Answers');
  const admin = person({ levelOnEntity: 999 });
  const reader = person();
  const stranger = person();
  let world: ChatWorld;
  let node: TestNode;
  let room: number;
  let message: unknown;

  beforeAll(async () => {
    world = await createChatWorld();
    node = await world.start();
    room = await createRoom(node, admin);
    await putRule(node, admin, room, { userUUID: reader.userUUID, permissions: 'r' });
    const client = await ChatClient.enterV2(node, admin);
    client.send({ type: 'message', room_id: room, content: 'hi', ref: 'a1' });
    const [sent] = await client.expect('SENT');
    message = sent?.['seq'];
    await client.close();
  });
  afterAll(() => world.close());

  /** Frames of each command, without its type. */
  const FRAMES: Record<string, () => object[]> = {
    token: () => [{ content: admin.token }, { content: 'no token' }],
    join: () => [
      { rooms: [{ room_id: room }] },
      { rooms: [{ room_id: 2_000_000_000 }] },
      { rooms: [{ room_id: room, after: 1_000_000 }] },
      { rooms: [] },
    ],
    leave: () => [{ room_id: room }, {}],
    message: () => [
      { room_id: room, content: 'hi', ref: 'a2' },
      { room_id: 2_000_000_000, content: 'hi' },
      { room_id: room },
    ],
    edit: () => [
      { room_id: room, target: message, content: 'new' },
      { room_id: room, target: 1_000_000, content: 'new' },
      { room_id: room, target: message },
    ],
    reaction: () => [
      { room_id: room, target: message, emoji: '👍', on: true },
      { room_id: room, target: 1_000_000, emoji: '👍', on: true },
      { room_id: room, target: message, emoji: '', on: true },
    ],
    delete: () => [
      { room_id: room, target: message },
      { room_id: room, target: 1_000_000 },
      { room_id: room },
    ],
    read: () => [
      { room_id: room, upto: 1 },
      { room_id: 2_000_000_000, upto: 1 },
      { room_id: room },
    ],
    typing: () => [{ room_id: room, ref: 'a3' }, { room_id: 2_000_000_000 }, {}],
    ping: () => [{}, { ref: '' }],
    quit: () => [{}, { ref: '' }],
  };

  /** The words of the answers to one frame; a close code, unless that is the answer to the `quit` behind it. */
  async function answers(who: Person, type: string, frame: object): Promise<string[]> {
    const client = await ChatClient.enterV2(node, who);
    client.send({ type, ...frame });
    const isQuit = type === 'quit' && Object.keys(frame).length === 0;
    if (!isQuit) client.send({ type: 'quit' });
    const { code } = await client.closed();
    const words = client.unread('status').map(({ data }) => String(data));
    return isQuit ? [...words, String(code)] : words;
  }

  it('has each command', () => {
    expect(rows.map((row) => code(row['Command'])).toSorted()).toEqual(
      Object.keys(FRAMES).toSorted(),
    );
  });

  // Deletions come last: nothing can be done with a deleted message.
  it.each(
    Object.keys(FRAMES)
      .filter((type) => type !== 'delete')
      .concat('delete'),
  )('has every answer to %s', async (type) => {
    const row = rows.find(({ Command }) => code(Command) === type);
    const given: string[] = [];
    for (const who of [stranger, reader, admin]) {
      for (const frame of FRAMES[type]?.() ?? []) given.push(...(await answers(who, type, frame)));
    }
    expect(new Set(given)).toEqual(new Set(codes(row?.['Answers'])));
  });
});
