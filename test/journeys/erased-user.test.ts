import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { ChatClient as Library } from '../../src/client/index.js';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { person, type Person } from '../harness/tokens.js';

const server = person({}, { server: true });

let world: ChatWorld;
let east: TestNode;
let west: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(), world.start()]);
});
afterAll(() => world.close());

function erase({ userUUID }: Person, as = server): Promise<Answer> {
  return request(east, 'DELETE', `/users/${userUUID}/messages`, { as });
}

/** A room of ana, ben and carl, in which ana has written 'sesame', and ben has answered. */
async function roomOfThree() {
  const [ana, ben, carl] = [
    person({ levelOnEntity: 999 }, { name: 'Ana' }),
    person(),
    person(),
  ] as const;
  const room = await createRoom(east, ana);
  for (const as of [ben, carl]) {
    await putRule(east, ana, room, { userUUID: as.userUUID, permissions: 'rw' });
    await request(east, 'PUT', `/rooms/${room}/invitation`, { as, body: { accepted: true } });
  }
  const path = `/rooms/${room}/messages`;
  const seqOf = ({ content }: Answer): number => (content as { seq: number }).seq;
  const target = seqOf(
    await request(east, 'POST', path, { as: ana, body: { content: 'sesame', ref: 'a' } }),
  );
  const reply = { content: 'poppy', reply_to: target };
  const answer = seqOf(await request(east, 'POST', path, { as: ben, body: reply }));
  return { ana, ben, carl, room, path, target, answer };
}

describe('DELETE /users/:uuid/messages, with two nodes,', () => {
  it('is told live to version 2 alone, and withholds the messages from all who come later', async () => {
    const { ana, ben, carl, room, path, target, answer } = await roomOfThree();
    const live = await ChatClient.enterV2(west, ben, room);
    const old = await ChatClient.enter(west, carl, room);

    const erased = await erase(ana);

    expect(erased).toMatchObject({
      status: 200,
      content: { userUUID: ana.userUUID, rooms: 1, messages: 1, reactions: 0 },
    });
    const head = answer + 1;
    const entry = {
      type: 'erase',
      data: { room_id: room, seq: head, emitter: server.userUUID, userUUID: ana.userUUID },
    };
    expect(await live.next()).toMatchObject(entry);
    await old.barrier();

    live.send({ type: 'join', rooms: [{ room_id: room, after: target - 1 }] });
    await live.expect('CONNECTED');
    const replayed = await live.take(3);
    expect(replayed.map(dataOf)).toMatchObject([
      { seq: target, ref: 'a' },
      { seq: answer, content: 'poppy', reply_to: target },
      entry.data,
    ]);
    expect(dataOf(replayed[0])).not.toHaveProperty('content');
    old.send({ type: 'select_room', room_id: room, after: 0 });
    await old.expect('CONNECTED');
    expect(await old.messages(1)).toEqual(['poppy']);
    await old.barrier();

    for (const node of [east, west]) {
      const page = await request(node, 'GET', `${path}?limit=10`, { as: ben });
      expect(page.content).toMatchObject([{ seq: answer, content: 'poppy' }]);
      const one = await request(node, 'GET', `${path}/${target}`, { as: ben });
      expect(one).toMatchObject({ status: 404, meta: { reason: 'DELETED' } });
      const found = await request(node, 'GET', '/messages?q=sesame', { as: ben });
      expect(found.content).toEqual([]);
      const named = await request(node, 'GET', `/users?ids=${ana.userUUID}`, { as: ben });
      expect(named.content).toEqual([]);
    }
    const log = await request(west, 'GET', `/rooms/${room}/entries?after=${target - 1}`, {
      as: ben,
    });
    expect(log.content).toEqual(replayed);
    await Promise.all([live.close(), old.close()]);
  });

  it('leaves the client library with the messages of others alone', async () => {
    const { ana, ben, room, target, answer } = await roomOfThree();
    const client = new Library(west.url, { token: () => ben.token, WebSocket });
    const opened = client.room(room);
    const list = client.rooms();
    const entries: string[] = [];
    const resets = vi.fn<() => void>();
    opened.on('entry', (type) => entries.push(type));
    opened.on('reset', resets);
    const seqs = (): (number | undefined)[] => opened.messages.map(({ seq }) => seq);
    await eventually(() => {
      expect(seqs()).toEqual([target, answer]);
      expect(list.items).toMatchObject([{ id: room, unread: 1 }]);
    });

    await erase(ana);

    await eventually(() => {
      expect(entries).toEqual(['erase']);
      expect(seqs()).toEqual([answer]);
      expect(list.items).toMatchObject([{ id: room, unread: 0 }]);
    });
    expect(resets).toHaveBeenCalledOnce();
    expect(opened.last).toBe(answer + 1);
    client.close();
  });

  it('leaves nothing of what GET has streamed before, as lines of JSON', async () => {
    const { ana, room, target } = await roomOfThree();
    const path = `/users/${ana.userUUID}/messages`;
    const headers = { Authorization: `Bearer ${server.token}` };
    const response = await fetch(west.url + path, { headers });
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    const lines = (await response.text()).split('\n');
    expect(lines.slice(1)).toEqual(['']);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      room_id: room,
      seq: target,
      ref: 'a',
      content: 'sesame',
    });
    expect(await request(west, 'GET', path, { as: ana })).toMatchObject({
      status: 403,
      meta: { reason: 'FORBIDDEN' },
    });

    await erase(ana);

    expect((await request(west, 'GET', path, { as: server })).content).toEqual([]);
  });

  it('tells how far it is on any node, once it was asked for', async () => {
    const { ana, room } = await roomOfThree();
    const path = `/users/${ana.userUUID}/erasure`;
    const progress = (as = server): Promise<Answer> => request(west, 'GET', path, { as });
    expect(await progress()).toMatchObject({ status: 404, meta: { reason: 'NOT_FOUND' } });
    expect(await progress(ana)).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    const holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [room]);

    const asked = await erase(ana);

    const begun = { userUUID: ana.userUUID, finishedAt: null, rooms: 0, messages: 0, reactions: 0 };
    expect(asked).toMatchObject({ status: 202, content: begun });
    expect(await progress()).toMatchObject({ status: 200, content: asked.content });
    await holder.query('ROLLBACK');
    await holder.end();
    await eventually(async () => {
      expect((await progress()).content).toEqual({
        ...(asked.content as object),
        finishedAt: expect.any(String) as string,
        rooms: 1,
        messages: 1,
      });
    });
  });

  it('is for the application alone, and of a user', async () => {
    const { ana, ben, path } = await roomOfThree();
    expect(await erase(ana, ana)).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    const malformed = await request(east, 'DELETE', '/users/ana/messages', { as: server });
    expect(malformed).toMatchObject({ status: 400, meta: { errors: [{ field: 'uuid' }] } });
    expect((await request(east, 'GET', `${path}?limit=1`, { as: ben })).content).toHaveLength(1);
    expect(await erase(person())).toMatchObject({
      status: 200,
      content: { rooms: 0, messages: 0, reactions: 0 },
    });
  });

  it('and GET sends empty lines where it finds nothing', async () => {
    const { ana, ben, room } = await roomOfThree();
    const fill = `WITH filled AS (UPDATE rooms SET head = head + 25000 WHERE id = $1 RETURNING head)
      INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
      SELECT $1, head - 25000 + place, 'message', $2, 'poppy', now(), now()
      FROM filled, generate_series(1, 25000) AS place`;
    await query(world.databaseUrl, fill, [room, ben.userUUID]);
    const headers = { Authorization: `Bearer ${server.token}` };
    const ask = (who: Person, init: RequestInit = {}): Promise<Response> =>
      fetch(`${west.url}/users/${who.userUUID}/messages`, { ...init, headers });
    const nobody = person();
    const silent = await (await ask(nobody)).text();
    expect(silent).toMatch(/^\n{2,}$/);
    const lines = (await (await ask(ana)).text()).trim().split('\n');
    expect(lines.map((line): unknown => JSON.parse(line))).toMatchObject([{ room_id: room }]);
  });
});

it('an erasure that a killed node was making is finished by the next node, with one entry a room', async () => {
  const lone = await createChatWorld();
  const [ana, ben] = [person({ levelOnEntity: 999 }), person()];
  const node = await lone.startProcess();
  const rooms = [await createRoom(node, ana), await createRoom(node, ana)];
  const count = 60_000;
  for (const room of rooms) {
    await query(
      lone.databaseUrl,
      `WITH filled AS (UPDATE rooms SET head = head + $2 WHERE id = $1 RETURNING head)
         INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
         SELECT $1, head - $2 + place, 'message',
           CASE place % 4 WHEN 0 THEN $4::uuid ELSE $3::uuid END, 'sesame', now(), now()
         FROM filled, generate_series(1, $2::int) AS place`,
      [room, count, ana.userUUID, ben.userUUID],
    );
  }
  const path = `/users/${ana.userUUID}/messages`;
  // Its answer may come in time, that it goes on.
  const asked = request(node, 'DELETE', path, { as: server }).catch(() => undefined);
  await vi.waitFor(
    async () => {
      const [begun] = await query(lone.databaseUrl, 'SELECT FROM erasures WHERE messages > 5000');
      if (begun === undefined) throw new Error('it has not begun');
    },
    { timeout: PATIENCE_MS, interval: 5 },
  );
  await node.end('SIGKILL');
  await asked;
  const [left] = await query<{ messages: number; entries: number }>(
    lone.databaseUrl,
    `SELECT (SELECT count(*)::int FROM messages WHERE emitter = $1 AND content <> '') AS messages,
         (SELECT count(*)::int FROM messages WHERE kind = 'erase') AS entries`,
    [ana.userUUID],
  );
  // It was not at its end, or this test shows nothing.
  expect(left?.messages).toBeGreaterThan(0);
  expect(left?.entries).toBeLessThan(2);

  await lone.startProcess();
  await eventually(async () => {
    const done = await query(
      lone.databaseUrl,
      'SELECT 1 FROM erasures WHERE "finishedAt" IS NOT NULL AND rooms = 2 AND messages = $1',
      [(2 * count * 3) / 4],
    );
    expect(done).toHaveLength(1);
  });
  const after = await query(
    lone.databaseUrl,
    `SELECT room_id, emitter, count(*)::int AS messages,
         count(*) FILTER (WHERE content = '' AND deleted_by IS NOT NULL)::int AS erased,
         bool_and(content <> '') AS is_whole
       FROM messages WHERE kind = 'message' GROUP BY room_id, emitter ORDER BY room_id, messages`,
  );
  const others = { emitter: ben.userUUID, messages: count / 4, erased: 0, is_whole: true };
  const own = {
    emitter: ana.userUUID,
    messages: (count * 3) / 4,
    erased: (count * 3) / 4,
    is_whole: false,
  };
  expect(after).toEqual(
    rooms.flatMap((room) => [
      { room_id: room, ...others },
      { room_id: room, ...own },
    ]),
  );
  const entries = await query(
    lone.databaseUrl,
    `SELECT room_id, seq = (SELECT head FROM rooms WHERE id = room_id) AS is_last
       FROM messages WHERE kind = 'erase' ORDER BY room_id`,
  );
  expect(entries).toEqual(rooms.map((room) => ({ room_id: room, is_last: true })));
  await lone.close();
});

function dataOf(frame: ServerFrame | undefined): unknown {
  return frame?.data;
}
