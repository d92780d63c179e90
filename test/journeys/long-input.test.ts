import { request as httpRequest } from 'node:http';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { SECRET, type TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';
import { loadConfig } from '../../src/config/load.js';
import { ROUTES } from '../../src/http/routes.js';
import type { CommandType } from '../../src/protocol/v2/commands.js';

/**
 * CPU time of this process, client and server, for one input; 10 to 40 ms are usual on a machine that takes REFERENCE_MS
 * for a work of the same kind. A slower machine has as much more.
 */
const MOST_CPU_MS = 120;
const REFERENCE_MS = 20;
/** Other work of the process, a garbage collection say, may be in it: the smallest time of so many counts. */
const TRIES = 8;
/** Node takes 16 KiB of path and headers together. */
const HEAD_BYTES = 14_000;

const { limits } = loadConfig({});
// A server token may call all of them.
const ana = person({ levelOnEntity: 999 }, { server: true });

let world: ChatWorld;
let node: TestNode;
let room: number;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  room = await createRoom(node, ana);
});
afterAll(() => world.close());

/** JSON texts of values of about this length that would make a careless check slow. */
const VALUES: Readonly<Record<string, (bytes: number) => string>> = {
  'a letter of permissions': (bytes) => quoted('r', bytes),
  'letters of permissions': (bytes) => quoted('rwba', bytes),
  'different letters': (bytes) => `"${differentLetters(bytes)}"`,
  digits: (bytes) => quoted('9', bytes),
  'digits of a number': (bytes) => '9'.repeat(bytes),
  blanks: (bytes) => quoted(' ', bytes),
  dashes: (bytes) => quoted('-', bytes),
  'parts of a UUID': (bytes) => quoted('0000-', bytes),
  emoji: (bytes) => quoted('🚀', bytes),
  'escaped emoji': (bytes) => quoted('\\ud83d\\ude80', bytes),
  'half an emoji': (bytes) => quoted('\\ud83d', bytes),
  NULs: (bytes) => quoted('\\u0000', bytes),
  'lists in lists': (bytes) => '['.repeat(bytes / 2) + ']'.repeat(bytes / 2),
  'objects in objects': (bytes) => `${'{"a":'.repeat(bytes / 6)}1${'}'.repeat(bytes / 6)}`,
  'a long list': (bytes) => `[${'0,'.repeat(bytes / 2 - 2)}0]`,
  'a long list of objects': (bytes) => `[${'{},'.repeat(bytes / 3 - 2)}{}]`,
  'a long list of texts': (bytes) => `[${'"",'.repeat(bytes / 3 - 2)}""]`,
  'an object of many keys': (bytes) => `{${manyKeys(bytes)}}`,
};

/** Those that are costly by their structure; the fields of version 2 have the schemas of REST, whose texts are tried there. */
const STRUCTURES = Object.entries(VALUES)
  .filter(([name]) => /list|object/.test(name))
  .map(([, value]) => value);

function quoted(unit: string, bytes: number): string {
  return `"${unit.repeat((bytes - 2) / Buffer.byteLength(unit))}"`;
}

function differentLetters(bytes: number): string {
  // Of three bytes each; no surrogates, and no ends of lines, at which a pattern would stop.
  const codes = Array.from({ length: bytes / 3 - 1 }, (_, i) => 0x3000 + i);
  return String.fromCodePoint(...codes.map((code) => (code < 0xd800 ? code : code + 0x800)));
}

function manyKeys(bytes: number): string {
  return Array.from({ length: bytes / 12 }, (_, i) => `"k${i}":0`).join(',');
}

/** The result of some work, and its milliseconds of CPU. */
async function costOf<T>(run: () => Promise<T>): Promise<{ ms: number; result: T }> {
  const before = process.cpuUsage();
  const result = await run();
  const { user, system } = process.cpuUsage(before);
  return { ms: (user + system) / 1_000, result };
}

/** How many times as long as REFERENCE_MS this machine takes at the moment; 1 at least. */
async function slowness(): Promise<number> {
  const text = JSON.stringify(
    Array.from({ length: 20_000 }, (_, n) => ({ [`key ${n}`]: 'a text' })),
  );
  let least = Infinity;
  for (let tries = 0; tries < TRIES; tries += 1) {
    const { ms } = await costOf(() => Promise.resolve(JSON.stringify(JSON.parse(text))));
    least = Math.min(least, ms);
  }
  return Math.max(1, least / REFERENCE_MS);
}

interface Answer {
  readonly status: number;
  readonly bytes: number;
}

async function call(
  method: string,
  path: string,
  { body, token = ana.token }: { body?: string; token?: string } = {},
): Promise<Answer> {
  const outgoing = httpRequest(node.url + path, {
    method,
    agent: false,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
  });
  const answered = once(outgoing, 'response') as Promise<[import('node:http').IncomingMessage]>;
  outgoing.end(body);
  const [response] = await answered;
  let bytes = 0;
  for await (const chunk of response) bytes += (chunk as Buffer).length;
  return { status: response.statusCode ?? 0, bytes };
}

/** An object of the largest size, with a long field beside others. */
function filled(others: object, field: string, value: (bytes: number) => string, bytes: number) {
  const start = JSON.stringify({ ...others, [field]: undefined }).slice(0, -1);
  const comma = start === '{' ? '' : ',';
  const text = (size: number): string => `${start}${comma}"${field}":${value(size)}}`;
  return text(bytes - Buffer.byteLength(text(24)) - 24);
}

/** Inputs that cost too much, or whose answers are larger than they are. */
async function slowOf(
  values: readonly string[],
  send: (value: string) => Promise<Answer>,
): Promise<string[]> {
  const slow: string[] = [];
  for (const value of values) {
    const { ms: first, result } = await costOf(() => send(value));
    let ms = first;
    for (let tries = 1; ms > MOST_CPU_MS && tries < TRIES; tries += 1) {
      ms = Math.min(ms, (await costOf(() => send(value))).ms);
    }
    const isSlow = ms > MOST_CPU_MS && ms > MOST_CPU_MS * (await slowness());
    if (isSlow) slow.push(`${ms} ms: ${value.slice(0, 80)}`);
    if (result.bytes > value.length + 1_000) slow.push(`${result.bytes} bytes of answer`);
    if (result.status >= 500) slow.push(`${result.status}: ${value.slice(0, 80)}`);
  }
  return slow;
}

describe('the longest body', () => {
  const uuid = randomUUID();
  const message = { content: 'a', data: {}, reply_to: 1, mentions: [], ref: 'a', emitter: uuid };
  const settings = { name: 'a room', data: {}, level_admin: 1, max_entity_rules: 1 };
  /** The fields of each body, with values that are right. */
  const bodies: Record<string, object> = {
    'POST /rooms': { name: 'a room', level_admin: 1, type: 'group', max_entity_rules: 1 },
    [`PUT /rooms/${uuid}`]: { ...settings, type: 'group', entity_owner: uuid, rules: [] },
    'PATCH /rooms/ROOM': settings,
    'PUT /rooms/ROOM/members': {
      userUUID: uuid,
      entity_UUID: uuid,
      entityUUID: uuid,
      permissions: 'rw',
      level: 0,
    },
    'PUT /rooms/ROOM/members/bulk': { members: [] },
    'PUT /rooms/ROOM/invitation': { accepted: true, use_parent_entity: true },
    'PUT /rooms/ROOM/read': { upto: 1, back: true, emitter: uuid },
    'PUT /rooms/ROOM/notify': { level: 'none', emitter: uuid },
    'POST /rooms/ROOM/messages': message,
    'PATCH /rooms/ROOM/messages/1': { content: 'a', data: {}, ref: 'a', emitter: uuid },
    'POST /rooms/ROOM/messages/1/report': { reason: 'a' },
    'POST /sessions/revoke': { userUUID: uuid },
    'POST /dev/token': { name: 'Ana' },
  };
  const fields = Object.entries(bodies).flatMap(([route, body]) =>
    [...Object.keys(body), 'other'].map((field) => [route, field, body] as const),
  );

  it('is that of each route that takes one', () => {
    const tried = Object.keys(bodies).map((route) =>
      route.replace('ROOM', ':id').replace(uuid, ':uuid').replace(/\b1\b/, ':seq'),
    );
    const withBodies = ROUTES.filter(({ body }) => body).map(
      ({ method, path }) => `${method} ${path}`,
    );
    expect(tried.toSorted()).toEqual(withBodies.toSorted());
  });

  it.each(fields)('costs no more than a moment: %s with it in %s', async (route, field, others) => {
    const [method = '', path = ''] = route.split(' ');
    const bodies = Object.values(VALUES).map((value) =>
      filled(others, field, value, limits.bodyBytes),
    );

    const slow = await slowOf(bodies, (body) =>
      call(method, path.replace('ROOM', String(room)), { body }),
    );

    expect(slow).toEqual([]);
  });

  it.each(Object.keys(bodies))(
    'costs no more than a moment, and is not repeated: %s with unknown keys',
    async (route) => {
      const [method = '', path = ''] = route.split(' ');
      const bodies = [
        `{${manyKeys(limits.bodyBytes)}}`,
        `{"${'k'.repeat(limits.bodyBytes - 10)}":0}`,
        `{"${differentLetters(limits.bodyBytes - 10)}":0}`,
        `{${'"k":0,'.repeat(limits.bodyBytes / 6 - 2)}"k":0}`,
        `${' '.repeat(limits.bodyBytes - 2)}{}`,
      ];

      const slow = await slowOf(bodies, (body) =>
        call(method, path.replace('ROOM', String(room)), { body }),
      );

      expect(slow).toEqual([]);
    },
  );
});

describe('the longest path, query and header', () => {
  const texts = Object.values(VALUES).map((value) => {
    const text = value(HEAD_BYTES / 9);
    return encodeURIComponent((text.startsWith('"') ? text.slice(1, -1) : text).toWellFormed());
  });
  const long = ['9', 'r', '-', '0000-', '/', '.', '%20', '%F0%9F%9A%80'].map((unit) =>
    unit.repeat(HEAD_BYTES / unit.length),
  );

  it.each([
    'GET /rooms/VALUE/messages',
    'GET /VALUE',
    'DELETE /rooms/VALUE',
    'DELETE /rooms/ROOM/members/VALUE',
    ...['ref', 'emitter'].map((name) => `DELETE /rooms/ROOM/messages/1?${name}=VALUE`),
    ...['dateFrom', 'dateTo', 'timezone', 'before', 'after', 'limit', 'other'].map(
      (name) => `GET /rooms/ROOM/messages?${name}=VALUE`,
    ),
    ...['2026-01-15T', '2026-01-15T09:30:00.', '2026-W'].map(
      (start) => `GET /rooms/ROOM/messages?dateFrom=${start}VALUE`,
    ),
    ...['accepted', 'limit', 'offset'].map((name) => `GET /rooms?${name}=VALUE`),
    ...['limit', 'cursor', 'q', 'type'].map((name) => `GET /me/rooms?${name}=VALUE`),
    ...['q', 'q=a&room', 'q=a&limit', 'q=a&cursor'].map((name) => `GET /messages?${name}=VALUE`),
    ...['after', 'limit'].map((name) => `GET /rooms/ROOM/entries?${name}=VALUE`),
    ...['limit', 'cursor'].map((name) => `GET /rooms/ROOM/members?${name}=VALUE`),
    'GET /rooms/ROOM/messages?thread=VALUE',
    'GET /rooms/ROOM/messages/VALUE',
    'GET /users?ids=VALUE',
  ])('cost no more than a moment: %s', async (route) => {
    const [method = '', path = ''] = route.replace('ROOM', String(room)).split(' ');

    const slow = await slowOf([...texts, ...long], (value) =>
      call(
        method,
        path.replace('VALUE', () => value),
      ),
    );

    expect(slow).toEqual([]);
  });

  it.each(['dateFrom', 'timezone', 'limit', 'x'])(
    'cost no more than a moment: %s a thousand times',
    async (name) => {
      const query = `${name}=1&`.repeat(HEAD_BYTES / (name.length + 3));

      const slow = await slowOf([query, '&'.repeat(HEAD_BYTES), '='.repeat(HEAD_BYTES)], (value) =>
        call('GET', `/rooms/${room}/messages?${value}`),
      );

      expect(slow).toEqual([]);
    },
  );

  it('cost no more than a moment: tokens', async () => {
    const others = { ...ana, token: undefined };
    const claims = ['userUUID', 'entityUUID', 'levelOnEntity', 'exp', 'aud', 'other'].flatMap(
      (name) =>
        Object.values(VALUES).map((value) => {
          // Base64url makes four of three.
          const payload = filled(others, name, value, HEAD_BYTES * 0.7);
          return jwt.sign(payload, SECRET);
        }),
    );
    const raw = ['.', 'a.', 'A', '-', 'e30.'].map((unit) => unit.repeat(HEAD_BYTES / unit.length));

    const slow = await slowOf([...claims, ...raw], (token) => call('GET', '/rooms', { token }));

    expect(slow).toEqual([]);
  });
});

describe('the longest frame', () => {
  it.each([
    ['token', 'content'],
    ['select_room', 'room_id'],
    ['select_room', 'after'],
    ['message', 'content'],
    ['message', 'msg'],
    ['message', 'ref'],
    ['message', 'other'],
    ['quit too', 'other'],
  ])('costs no more than a moment: %s with it in %s', async (type, field) => {
    const others = {
      type,
      ...(type === 'select_room' && { room_id: room }),
      ...(type === 'message' && { content: 'a' }),
    };
    const frames = Object.values(VALUES).map((value) =>
      filled(others, field, value, limits.frameBytes),
    );
    const client = await ChatClient.enter(node, ana, room);

    const slow = await slowOf(frames, async (frame) => {
      client.raw(frame);
      client.send({ type: 'select_room', room_id: room });
      let bytes = 0;
      for (;;) {
        const answer = await client.next();
        if (answer.data === 'CONNECTED') return { status: 200, bytes };
        bytes += answer.type === 'message' ? 0 : JSON.stringify(answer).length;
      }
    });

    expect(slow).toEqual([]);
    await client.close();
  });
});

describe('the longest frame of version 2', () => {
  const fields: { readonly [T in CommandType]: readonly string[] } = {
    token: ['content', 'ref'],
    join: ['rooms', 'max', 'with'],
    leave: ['room_id'],
    message: ['content', 'data', 'reply_to', 'mentions', 'ref', 'other'],
    edit: ['target', 'content', 'data'],
    delete: ['target'],
    reaction: ['target', 'emoji', 'on'],
    read: ['upto', 'back'],
    typing: ['room_id'],
    ping: ['ref'],
    quit: ['ref'],
  };
  const right = { rooms: [], target: 1, content: 'a', emoji: 'a', on: true, upto: 1 };

  it.each(Object.entries(fields).flatMap(([type, names]) => names.map((name) => [type, name])))(
    'costs no more than a moment: %s with it in %s',
    async (type, field) => {
      const others = { type, room_id: room, ...right };
      const frames = STRUCTURES.map((value) => filled(others, field, value, limits.frameBytes));
      const client = await ChatClient.enterV2(node, ana);

      const slow = await slowOf(frames, async (frame) => {
        client.raw(frame);
        client.send({ type: 'ping', ref: 'end' });
        return { status: 200, bytes: await until(client, 'PONG') };
      });

      expect(slow).toEqual([]);
      await client.close();
    },
  );

  /** Waits for a word; the bytes of the answers before it. */
  async function until(client: ChatClient, word: string): Promise<number> {
    for (let bytes = 0; ;) {
      const answer = await client.next();
      if (answer.data === word) return bytes;
      bytes += JSON.stringify(answer).length;
    }
  }
});

describe('the patterns of the server', () => {
  const folder = new URL('../../src/', import.meta.url);
  const patterns = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .flatMap((path) => patternsOf(readFileSync(new URL(path, folder), 'utf8')));

  it('have no backreference, and no unbounded repetition within another', () => {
    expect(patterns).toContain('^[1-9]\\d{0,5}$');
    expect(patterns.filter(isDangerous)).toEqual([]);
  });

  it('are told from dangerous patterns by these checks', () => {
    const dangerous = [
      '^(?!.*(.).*\\1)[rwba]{1,4}$',
      '(a+)+$',
      '(?:[a-z]*,)*',
      '(\\d+|x){2,}',
      '(?<a>x)\\k<a>',
    ];
    expect(dangerous.filter(isDangerous)).toEqual(dangerous);
    expect(['^a+b*$', '(ab)+', '(a{2})+', '[(+)]+', '\\(+\\)+'].filter(isDangerous)).toEqual([]);
  });
});

/** The regular expressions of a source text without comments. */
function patternsOf(source: string): string[] {
  const code = source.replaceAll(/^\s*(?:\/\*\*?|\*|\/\/).*$/gm, '');
  const literals = code.matchAll(
    /(?<=[(=,:[!&|?]\s*)\/((?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\[\n])+)\/[a-z]*/g,
  );
  return [...literals].map(([, pattern = '']) => pattern);
}

function isDangerous(pattern: string): boolean {
  // Literal characters and classes repeat nothing.
  const bare = pattern.replaceAll(/\[(?:\\.|[^\]\\])*\]/g, 'c').replaceAll(/\\[^1-9k]/g, 'c');
  const nested = /\((?:[^()]|\([^()]*\))*(?:[+*]|,\})(?:[^()]|\([^()]*\))*\)(?:[+*]|\{\d*,\})/;
  return /\\[1-9k]/.test(bare) || nested.test(bare);
}
