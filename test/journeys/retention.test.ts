import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { ChatClient as Library } from '../../src/client/index.js';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import { purgeOldest } from '../../src/store/retention.js';
import { createRoom, request, type Answer } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import { eventually } from '../harness/eventually.js';
import type { TestNode } from '../harness/node.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { QUIET } from '../harness/store-hosts.js';
import { person } from '../harness/tokens.js';

const DAYS = 30;
/** More messages than pages of a catch-up and of the log hold, and than two transactions delete. */
const OLD = 2_500;

let world: ChatWorld;
/** Have the room open while its old entries are deleted. */
let east: TestNode;
let west: TestNode;
let database: Database;
const ana = person({ levelOnEntity: 999 });

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(), world.start()]);
  database = await connectDatabase(loadConfig({ DATABASE_URL: world.databaseUrl }), QUIET);
});
afterAll(async () => {
  await database.close();
  await world.close();
});

async function say(room: number, content: string): Promise<number> {
  const path = `/rooms/${room}/messages`;
  const answer = await request(east, 'POST', path, { as: ana, body: { content } });
  return (answer.content as { seq: number }).seq;
}

async function age(room: number): Promise<void> {
  await query(
    world.databaseUrl,
    `UPDATE messages SET "createdAt" = "createdAt" - interval '31 days' WHERE room_id = $1`,
    [room],
  );
}

async function purge(room: number): Promise<void> {
  while ((await purgeOldest(database.sequelize, room, DAYS)) === 'more') continue;
}

/** A room with old messages, and behind them, from `first` on, two young ones. */
async function oldRoom(): Promise<{ room: number; first: number }> {
  const room = await createRoom(east, ana);
  await fillRoom(world.databaseUrl, room, OLD);
  await age(room);
  const first = await say(room, 'young');
  await say(room, 'younger');
  return { room, first };
}

function read(path: string): Promise<Answer> {
  return request(west, 'GET', path, { as: ana });
}

function seqsOf({ content }: Answer): number[] {
  return (content as { seq?: number; data?: { seq: number } }[]).map(
    ({ seq, data }) => seq ?? data?.seq ?? 0,
  );
}

describe('old entries that are deleted, with two nodes,', () => {
  it('are in no page, and the pages end before them', async () => {
    const { room, first } = await oldRoom();
    const path = `/rooms/${room}/messages`;
    await purge(room);

    for (const range of ['limit=10', 'after=0&limit=10', `after=${first - 1}&limit=10`]) {
      const page = await read(`${path}?${range}`);
      expect(seqsOf(page).toSorted((one, other) => one - other)).toEqual([first, first + 1]);
      expect(page.meta.next).toBeUndefined();
    }
    const before = await read(`${path}?before=${first}&limit=10`);
    expect(before).toMatchObject({ content: [], meta: { head: first + 1 } });
    expect(await read(`${path}/${first - 1}`)).toMatchObject({
      status: 404,
      meta: { reason: 'NO_SUCH_MESSAGE' },
    });
  });

  it('are told of by the log over REST', async () => {
    const { room, first } = await oldRoom();
    const path = `/rooms/${room}/entries`;
    await purge(room);

    for (const after of [0, 5, first - 2]) {
      const page = await read(`${path}?after=${after}`);
      expect(page.meta).toMatchObject({ from: first - 1, head: first + 1 });
      expect(seqsOf(page)).toEqual([first, first + 1]);
    }
    const whole = await read(`${path}?after=${first - 1}&limit=1`);
    expect(whole.meta).not.toHaveProperty('from');
    expect(whole.meta.next).toBe(`?after=${first}&limit=1`);
    expect(await read(`${path}?after=${first + 2}`)).toMatchObject({ meta: { reason: 'AHEAD' } });
  });

  it('are skipped for version 1 that comes back from before them', async () => {
    const { room } = await oldRoom();
    const here = await ChatClient.enter(east, ana, room);
    await purge(room);

    for (const after of [0, 1_000]) {
      here.send({ type: 'select_room', room_id: room, after });
      await here.expect('CONNECTED');
      expect(await here.messages(2)).toEqual(['young', 'younger']);
    }
    here.say('next');
    expect(await here.messages(1)).toEqual(['next']);
    await here.barrier();
    await here.close();
  });

  it('version 2 that comes back from before them begins at the head', async () => {
    const { room, first } = await oldRoom();
    const head = first + 1;
    const client = await ChatClient.enterV2(west, ana, room);
    await purge(room);

    for (const after of [0, first - 2]) {
      client.send({ type: 'join', rooms: [{ room_id: room, after }] });
      const [connected] = await client.expect('CONNECTED');
      expect(connected).toMatchObject({ from: head, head });
    }
    client.send({ type: 'join', rooms: [{ room_id: room, after: first - 1 }] });
    const [connected] = await client.expect('CONNECTED');
    expect(connected).toMatchObject({ from: first - 1, head });
    expect((await client.take(2)).map(({ data }) => (data as { seq: number }).seq)).toEqual([
      first,
      head,
    ]);
    await client.close();
  });

  it('may be all that a room has: it goes on', async () => {
    const { room, first } = await oldRoom();
    const head = first + 1;
    await age(room);
    await purge(room);

    const client = await ChatClient.enterV2(west, ana);
    client.send({ type: 'join', rooms: [{ room_id: room, after: 3 }] });
    const [connected] = await client.expect('CONNECTED');
    expect(connected).toMatchObject({ from: head, head });
    const old = await ChatClient.enter(west, ana);
    old.send({ type: 'select_room', room_id: room, after: 3 });
    await old.expect('CONNECTED');
    await say(room, 'next');
    expect((await client.next()).data).toMatchObject({ seq: head + 1, content: 'next' });
    expect(await old.messages(1)).toEqual(['next']);
    expect(await read(`/rooms/${room}/entries?after=3`)).toMatchObject({
      meta: { from: head },
      content: [{ data: { seq: head + 1 } }],
    });
    await Promise.all([client.close(), old.close()]);
  });

  it('lead the client library from before them to the messages that are left', async () => {
    const { room, first } = await oldRoom();
    const client = new Library(west.url, { token: () => ana.token, WebSocket });
    await purge(room);
    const resets = vi.fn<() => void>();
    const opened = client.room(room, { after: 7 });
    opened.on('reset', resets);

    await eventually(() => {
      expect(opened.messages.map(({ content }) => content)).toEqual(['young', 'younger']);
    });
    expect(resets).toHaveBeenCalledOnce();
    expect(opened.last).toBe(first + 1);
    expect(await opened.loadOlder()).toBe(false);
    client.close();
  });

  it('while they are replayed leave a gap, from which a client of version 2 begins at the head', async () => {
    const { room, first } = await oldRoom();
    // The room is open already, which takes a look at the log.
    const other = await ChatClient.enterV2(west, ana, room);
    const holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('LOCK TABLE messages IN ACCESS EXCLUSIVE MODE');
    const client = new Library(west.url, { token: () => ana.token, WebSocket, max: 10_000 });
    const entries: number[] = [];
    const resets = vi.fn<() => void>();
    const opened = client.room(room, { after: 0 });
    opened.on('reset', resets);
    opened.on('entry', (_, { seq }) => entries.push(seq));
    // Joined behind 0; the first page waits for the table.
    await eventually(() => {
      expect(opened.phase).toBe('joined');
    });
    expect(resets).not.toHaveBeenCalled();
    await holder.query('DELETE FROM messages WHERE room_id = $1 AND seq < $2', [room, first]);
    await holder.query('UPDATE rooms SET horizon = $2 WHERE id = $1', [room, first - 1]);
    await holder.query('COMMIT');
    await holder.end();

    await eventually(() => {
      expect(opened.messages.map(({ content }) => content)).toEqual(['young', 'younger']);
    });
    expect(resets).toHaveBeenCalledOnce();
    expect(entries).toEqual([]);
    expect([opened.last, opened.isLive]).toEqual([first + 1, true]);
    client.close();
    await other.close();
  });
});

it('old entries that a killed node was deleting are deleted to the end by the next node', async () => {
  const lone = await createChatWorld();
  const node = await lone.startProcess();
  const room = await createRoom(node, ana);
  const { last } = await fillRoom(lone.databaseUrl, room, 30_000);
  await query(
    lone.databaseUrl,
    `UPDATE messages SET "createdAt" = "createdAt" - interval '31 days'`,
  );
  await node.end('SIGTERM');
  const retention = { RETENTION_DAYS: String(DAYS) };
  const horizon = async (): Promise<number> => {
    const [row] = await query<{ horizon: number }>(
      lone.databaseUrl,
      'SELECT horizon::int FROM rooms WHERE id = $1',
      [room],
    );
    return row?.horizon ?? 0;
  };

  const killed = await lone.startProcess(retention);
  await vi.waitFor(async () => expect(await horizon()).toBeGreaterThan(2_000), {
    timeout: PATIENCE_MS,
    interval: 5,
  });
  await killed.end('SIGKILL');
  const reached = await horizon();
  expect(reached).toBeLessThan(last);
  const [left] = await query(
    lone.databaseUrl,
    'SELECT min(seq)::int AS first, count(*)::int AS count FROM messages WHERE room_id = $1',
    [room],
  );
  expect(left).toEqual({ first: reached + 1, count: last - reached });

  await lone.startProcess(retention);
  await eventually(async () => {
    expect(await horizon()).toBe(last);
  });
  expect(await query(lone.databaseUrl, 'SELECT FROM messages')).toEqual([]);
  await lone.close();
});
