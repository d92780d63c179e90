import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import { eventually } from '../harness/eventually.js';
import type { TestNode } from '../harness/node.js';
import { RawClient } from '../harness/raw-client.js';
import { Talker } from '../harness/talker.js';
import { person } from '../harness/tokens.js';

const ENTRIES = 100_000;
const OTHERS = 4;
/** More users than connections that append. */
const MESSAGES = 20;

const ana = person({ levelOnEntity: 999 });
let world: ChatWorld;
let east: TestNode;
let west: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(), world.start()]);
});
afterAll(() => world.close());

/** Texts of the messages in a room's log, in order. */
async function storedIn(room: number): Promise<string[]> {
  const rows = await query<{ content: string }>(
    world.databaseUrl,
    `SELECT content FROM messages WHERE room_id = $1 AND kind = 'message' ORDER BY seq`,
    [room],
  );
  return rows.map(({ content }) => content);
}

async function entriesOf(room: number): Promise<number> {
  const [row] = await query<{ count: number }>(
    world.databaseUrl,
    'SELECT count(*)::int AS count FROM messages WHERE room_id = $1',
    [room],
  );
  return row?.count ?? NaN;
}

/** A user who talks in a room of their own. */
async function startTalker(): Promise<{ room: number; client: RawClient; talker: Talker }> {
  const room = await createRoom(east, ana);
  const client = await RawClient.enter(east, ana, room);
  return { room, client, talker: new Talker(client) };
}

describe('deleting a room with a large log', () => {
  it('removes all of it, tells its sessions once, and delays no other room', async () => {
    const doomed = await createRoom(east, ana);
    const { last } = await fillRoom(world.databaseUrl, doomed, ENTRIES);
    const listeners = [
      await ChatClient.enter(east, ana, doomed),
      await ChatClient.enter(west, ana, doomed),
    ];
    const others = await Promise.all(Array.from({ length: OTHERS }, startTalker));

    // A lock on an entry in the middle stops the deletion there.
    const holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM messages WHERE room_id = $1 AND seq = $2 FOR UPDATE', [
      doomed,
      last - ENTRIES / 2,
    ]);
    const deletion = request(east, 'DELETE', `/rooms/${doomed}`, { as: ana });
    await eventually(async () => {
      const { rows } = await holder.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      expect(rows).toHaveLength(1);
    });
    await Promise.all(others.map(({ talker }) => talker.say(MESSAGES)));
    // The deleted entries are committed: the deletion has many statements.
    const left = await entriesOf(doomed);
    expect(left).toBeLessThan((ENTRIES * 2) / 3);
    expect(left).toBeGreaterThan(ENTRIES / 3);
    await holder.query('COMMIT');
    await holder.end();
    // They talk on while the rest is deleted.
    await Promise.all(others.map(({ talker }) => talker.during(deletion)));
    expect((await deletion).status).toBe(200);
    for (const { room, client, talker } of others) {
      expect(await storedIn(room)).toEqual(
        Array.from({ length: talker.echoes }, (_, i) => `live ${i + 1}`),
      );
      expect(client.answers).toEqual([]);
      await client.terminate();
    }

    for (const listener of listeners) {
      const [lost] = await listener.expect('NOTAUTHORIZED');
      expect(lost).toMatchObject({ room_id: doomed, reason: 'ROOM_DELETED' });
      await listener.barrier();
      listener.send({ type: 'select_room', room_id: doomed, after: last });
      await listener.expect('NOTAUTHORIZED');
      await listener.close();
    }
    // On a slow machine the waiting statement is given up, and repeated later.
    await eventually(async () => {
      expect(await entriesOf(doomed)).toBe(0);
    });
  });

  it('shows no gap to a session that is catching up', async () => {
    const doomed = await createRoom(east, ana);
    const { first } = await fillRoom(world.databaseUrl, doomed, ENTRIES);
    const behind = await RawClient.enter(east, ana, doomed, first - 1);
    await behind.reached(first + 1_000);
    const deletion = request(east, 'DELETE', `/rooms/${doomed}`, { as: ana });
    // RawClient throws if a number does not follow the one before.
    await behind.until(() => behind.answers.length > 0);
    expect(behind.answers).toMatchObject([{ data: 'NOTAUTHORIZED', reason: 'ROOM_DELETED' }]);
    expect((await deletion).status).toBe(200);
    await behind.terminate();
  });
});
