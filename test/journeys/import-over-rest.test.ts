import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

const MEDIA_TYPE = 'application/x-ndjson';
const FIRST_DAY = Date.UTC(2020, 0, 1);

interface Answer {
  readonly status: number;
  readonly meta: {
    reason?: string;
    detail?: string;
    errors?: { field: string; message: string }[];
  };
  readonly content: { entries?: number; added?: number };
}

describe('an import by a server token, on two nodes,', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const server = person({}, { server: true });
  let world: ChatWorld;
  let east: TestNode;
  let west: TestNode;
  let room: number;

  beforeAll(async () => {
    world = await createChatWorld();
    // What west shows, it was told of.
    [east, west] = await Promise.all([world.start(), world.start({ POLL_INTERVAL_MS: '3600000' })]);
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    room = await createRoom(east, ana);
  });

  /** The lines of a file with so many messages of ben, a second apart, and a rule for him. */
  function linesOf(messages: number, content = 'Fueled up'): string[] {
    const head = {
      kind: 'room',
      format: 1,
      name: 'imported',
      type: 'group',
      level_admin: 900,
      max_entity_rules: 20,
      entries: messages,
    };
    const rule = {
      kind: 'rule',
      entity_UUID: ben.userUUID,
      level: 0,
      permissions: 'rw',
      accepted: false,
    };
    const entries = Array.from({ length: messages }, (_, index) => ({
      kind: 'message',
      seq: index + 1,
      emitter: ben.userUUID,
      createdAt: new Date(FIRST_DAY + 1_000 * index).toISOString(),
      content: `${content} ${index}`,
      ref: String(index),
    }));
    return [head, rule, ...entries].map((line) => `${JSON.stringify(line)}\n`);
  }

  async function post(
    body: Iterable<string>,
    { as = server, to = room, type = MEDIA_TYPE }: { as?: Person; to?: number; type?: string } = {},
  ): Promise<Answer> {
    const outgoing = httpRequest(`${east.url}/rooms/${to}/import`, {
      method: 'POST',
      agent: false,
      headers: { authorization: `Bearer ${as.token}`, 'content-type': type },
    });
    // What was refused is not sent to its end.
    outgoing.on('error', () => undefined);
    const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
    Readable.from(body).pipe(outgoing);
    const [response] = await answered;
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += chunk as string;
    outgoing.destroy();
    return { status: response.statusCode ?? 0, ...(JSON.parse(text) as Omit<Answer, 'status'>) };
  }

  interface Row {
    readonly seq: number;
    readonly content: string;
    readonly emitter: string;
    readonly createdAt: string;
  }

  async function history(): Promise<Row[]> {
    const path = `/rooms/${room}/messages?limit=1000`;
    return (await request(west, 'GET', path, { as: server })).content as Row[];
  }

  async function memberUUIDs(): Promise<string[]> {
    const { content } = await request(west, 'GET', `/rooms/${room}/members`, { as: server });
    return (content as { entity_UUID: string }[]).map(({ entity_UUID: uuid }) => uuid);
  }

  it('keeps order, senders and dates, and comes to live sessions before the rules', async () => {
    const watcher = await ChatClient.enterV2(west, ana, room);
    const guest = await ChatClient.enterV2(west, ben);

    expect(await post(linesOf(3))).toMatchObject({
      status: 200,
      content: { entries: 3, added: 3 },
    });

    const rows = await history();
    const first = rows[0]?.seq ?? 0;
    expect(rows).toMatchObject(
      [0, 1, 2].map((index) => ({
        seq: first + index,
        emitter: ben.userUUID,
        content: `Fueled up ${index}`,
        createdAt: new Date(FIRST_DAY + 1_000 * index).toISOString(),
      })),
    );
    const frames = await watcher.take(5);
    expect(frames.map(({ type }) => type)).toEqual([
      'message',
      'message',
      'message',
      'room',
      'member',
    ]);
    expect(await guest.next()).toMatchObject({ type: 'invited', data: { room_id: room } });
    // The same file again has nothing to add.
    expect((await post(linesOf(3))).content).toEqual({ entries: 3, added: 0 });
    await Promise.all([watcher.close(), guest.close()]);
  });

  it('of messages from before 1970 leaves lists of rooms and the search with pages that go on', async () => {
    const reader = person();
    const rooms = [room, await createRoom(east, ana)];
    const days = ['1969-07-20', '1969-07-21'];
    for (const [index, to] of rooms.entries()) {
      const lines = linesOf(1).map((line) =>
        line.replaceAll(ben.userUUID, reader.userUUID).replace('2020-01-01', days[index] ?? ''),
      );
      expect(await post(lines, { to })).toMatchObject({ status: 200 });
    }
    for (const [path, idOf] of [
      ['/me/rooms?limit=1', (item) => item['id']],
      ['/messages?q=fueled&limit=1', (item) => item['room_id']],
    ] satisfies [string, (item: Record<string, unknown>) => unknown][]) {
      const first = await request(west, 'GET', path, { as: reader });
      const next = path.replace(/\?.*/, first.meta.next ?? '');
      const second = await request(west, 'GET', next, { as: reader });
      const found = [first, second].flatMap(({ content }) => content as Record<string, unknown>[]);
      expect(found.map((item) => idOf(item))).toEqual(rooms.toReversed());
    }
  });

  it('has any length', async () => {
    const messages = 2_600;
    const text = 'x'.repeat(200);
    expect(await post(linesOf(messages, text))).toMatchObject({
      status: 200,
      content: { entries: messages, added: messages },
    });
    expect(await history()).toHaveLength(1_000);
  });

  it('that ends early lets nobody in, and goes on behind what is stored', async () => {
    const lines = linesOf(1_200);
    const before = await memberUUIDs();
    const outgoing = httpRequest(`${east.url}/rooms/${room}/import`, {
      method: 'POST',
      agent: false,
      headers: { authorization: `Bearer ${server.token}`, 'content-type': MEDIA_TYPE },
    });
    outgoing.on('error', () => undefined);
    outgoing.write(lines.slice(0, 1_150).join(''));
    // A batch is stored: its entries are read by others, and no rule is.
    for (;;) {
      const stored = await history();
      if (stored.length >= 500) break;
    }
    outgoing.destroy();
    expect(await memberUUIDs()).toEqual(before);

    const again = await post(lines);
    expect(again).toMatchObject({ status: 200, content: { entries: 1_200 } });
    expect(again.content.added).toBeLessThanOrEqual(700);
    const rows = await history();
    expect(rows.map(({ content }) => content)).toEqual(
      Array.from({ length: 1_000 }, (_, index) => `Fueled up ${200 + index}`),
    );
    expect(await memberUUIDs()).toContain(ben.userUUID);
  });

  it.each<[string, (lines: string[]) => string[], string, string]>([
    [
      'no JSON',
      (lines) => [...lines.slice(0, 3), '{"kind"\n', ...lines.slice(3)],
      'line 4',
      'is not JSON',
    ],
    ['no message', (lines) => [...lines, '{"kind": "poll"}\n'], 'line 9', 'kind must be'],
    ['a second room', (lines) => [...lines.slice(0, 1), ...lines], 'line 2', 'is a second room'],
  ])(
    'is refused at the first line that is %s, and says which that is',
    async (_, change, line, problem) => {
      const before = await memberUUIDs();
      const { status, meta } = await post(change(linesOf(6)));
      expect({ status, reason: meta.reason }).toEqual({ status: 400, reason: 'INVALID' });
      expect(meta.errors).toEqual([
        { field: line, message: expect.stringContaining(problem) as string },
      ]);
      expect(await memberUUIDs()).toEqual(before);
    },
  );

  it('is refused if a part of the file is missing, or if the room has other messages', async () => {
    const part = await post(linesOf(6).slice(0, -1));
    expect(part.meta).toMatchObject({
      reason: 'INVALID',
      detail: 'the file has 5 entries, and not 6, as its first line says',
    });
    const other = await post(linesOf(6).map((line) => line.replace(ben.userUUID, randomUUID())));
    expect(other.meta).toMatchObject({ reason: 'INVALID', errors: [{ field: 'line 3' }] });
  });

  it('answers an error while more is sent', async () => {
    function* endless(): Generator<string> {
      yield 'no JSON\n';
      for (;;) yield `${'x'.repeat(1_000)}\n`;
    }
    expect((await post(endless())).meta).toMatchObject({ errors: [{ field: 'line 1' }] });
  });

  it('is announced to the peers batch by batch, so that nothing counts as lost', async () => {
    const [near, far] = await Promise.all([
      ChatClient.enterV2(east, ana, room),
      ChatClient.enterV2(west, ana, room),
    ]);
    const lines = linesOf(1_200);
    const outgoing = httpRequest(`${east.url}/rooms/${room}/import`, {
      method: 'POST',
      agent: false,
      headers: { authorization: `Bearer ${server.token}`, 'content-type': MEDIA_TYPE },
    });
    outgoing.on('error', () => undefined);

    outgoing.write(lines.slice(0, 1_150).join(''));

    for (const client of [near, far]) {
      const frames = await client.take(1_000);
      expect(new Set(frames.map(({ type }) => type))).toEqual(new Set(['message']));
    }
    outgoing.destroy();
    await Promise.all([near.close(), far.close()]);
  });

  it('is read no faster than it is stored', async () => {
    const lock = new Client({ connectionString: world.databaseUrl });
    await lock.connect();
    await lock.query('BEGIN');
    await lock.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [room]);
    let taken = 0;
    function* counted(): Generator<string> {
      for (const line of linesOf(40_000, 'x'.repeat(800))) {
        taken += line.length;
        yield line;
      }
    }
    // The room is locked for too long, as by a transaction that hangs.
    const { status } = await post(counted());
    await lock.query('ROLLBACK');
    await lock.end();
    expect(status).toBe(503);
    expect(taken).toBeLessThan(16_000_000);
  });

  it('is the application’s, of lines of JSON, into a room that there is', async () => {
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rwa' });
    for (const as of [ana, ben]) {
      expect((await post(linesOf(1), { as })).meta.reason).toBe('FORBIDDEN');
    }
    for (const type of ['application/json', `${MEDIA_TYPE}; charset=ISO-8859-1`]) {
      expect((await post(linesOf(1), { type })).meta.reason).toBe('UNSUPPORTED_MEDIA_TYPE');
    }
    expect((await post(linesOf(1), { to: 2_147_483_647 })).meta.reason).toBe('NOT_FOUND');
    expect(await history()).toEqual([]);
  });
});
