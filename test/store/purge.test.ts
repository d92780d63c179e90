import { Client } from 'pg';
import { QueryTypes } from 'sequelize';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startPurging } from '../../src/store/purge.js';
import {
  openPostgres,
  QUIET,
  storeHosts,
  storeOver,
  type StoreHost,
} from '../harness/store-hosts.js';
import { eventually } from '../harness/eventually.js';
import { countTouched } from '../harness/touched-rows.js';
import { removeRoom, emptyRoom } from '../harness/writers.js';

/** Entries of more than two chunks. */
const ENTRIES = 21_000;
/** What a deleted room leaves nothing in. */
const TABLES = [
  'messages',
  'reactions',
  'message_words',
  'search_positions',
  'deleted_rooms',
] as const;
/** How often a node checks for interrupted deletions. */
const LOOK_INTERVAL_MS = 10_000;

let host: StoreHost;
const stops: (() => Promise<void>)[] = [];

afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()));
  await host.close();
});

function startNode(database = host.database): void {
  stops.push(startPurging({ sequelize: database.sequelize, logger: QUIET }));
}

/** Creates a room with a log of this length; returns its id. */
async function longRoom(entries = ENTRIES): Promise<number> {
  const room = await emptyRoom(storeOver(host.database));
  await host.database.sequelize.query(
    `WITH filled AS (UPDATE rooms SET head = $2 WHERE id = $1)
     INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT $1, seq, 'message', gen_random_uuid(), 'hi', now(), now() FROM generate_series(1, $2) AS seq`,
    { bind: [room, entries] },
  );
  await host.database.sequelize.query(
    `INSERT INTO reactions (room_id, target, emoji_key, emitter, emoji, is_on, seq)
     SELECT $1::int, seq, 'a', gen_random_uuid(), 'a', true, seq FROM generate_series(1, $2::int) AS seq`,
    { bind: [room, entries] },
  );
  await host.database.sequelize.query(
    `INSERT INTO message_words (room_id, seq, "createdAt", words)
     SELECT room_id, seq, "createdAt", search_words(content) FROM messages WHERE room_id = $1`,
    { bind: [room] },
  );
  await host.database.sequelize.query('INSERT INTO search_positions VALUES ($1, $2)', {
    bind: [room, entries],
  });
  return room;
}

/** Deletes a room as a node does that is killed after its first chunk. */
async function leaveHalf(room: number): Promise<void> {
  const { sequelize } = host.database;
  await sequelize.query(
    `WITH deleted AS (DELETE FROM rooms WHERE id = $1 RETURNING id)
     INSERT INTO deleted_rooms (room_id, head) SELECT id, 15000 FROM deleted`,
    { bind: [room] },
  );
  for (const table of ['messages', 'message_words']) {
    await sequelize.query(`DELETE FROM ${table} WHERE room_id = $1 AND seq > 15000`, {
      bind: [room],
    });
  }
  await sequelize.query('DELETE FROM reactions WHERE room_id = $1 AND target > 15000', {
    bind: [room],
  });
}

async function count(table: string, room: number): Promise<number> {
  const [row] = await host.database.sequelize.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM ${table} WHERE room_id = $1`,
    { bind: [room], type: QueryTypes.SELECT },
  );
  return row?.count ?? -1;
}

async function expectPurged(room: number): Promise<void> {
  await eventually(async () => {
    for (const table of TABLES) expect([table, await count(table, room)]).toEqual([table, 0]);
  });
}

describe.each(storeHosts)('the log of a deleted room over %s', (_, open) => {
  beforeEach(async () => {
    host = await open();
  });

  it('is gone when the removal resolves, with its row in deleted_rooms', async () => {
    const [room, other] = [await longRoom(), await longRoom(100)];

    await removeRoom(storeOver(host.database), room);

    for (const table of TABLES) expect([table, await count(table, room)]).toEqual([table, 0]);
    expect(await count('messages', other)).toBe(100);
  });

  it('is deleted with a bounded number of reactions in each transaction', async () => {
    const room = await longRoom(100);
    await host.database.sequelize.query(
      `INSERT INTO reactions (room_id, target, emoji_key, emitter, emoji, is_on, seq)
         SELECT $1::int, 7, 'b', gen_random_uuid(), 'b', true, n FROM generate_series(1, $2::int) AS n`,
      { bind: [room, ENTRIES] },
    );
    const touched = await countTouched(host);

    await removeRoom(storeOver(host.database), room);

    for (const table of TABLES) expect([table, await count(table, room)]).toEqual([table, 0]);
    const counts = await touched();
    expect(counts.length).toBeGreaterThan(1);
    expect(Math.max(...counts)).toBeLessThanOrEqual(10_200);
  });

  it('is deleted to the end by the next node that starts, and no other log is touched', async () => {
    const [one, two, other] = [await longRoom(), await longRoom(), await longRoom(100)];
    await leaveHalf(one);
    await leaveHalf(two);

    startNode();

    await expectPurged(one);
    await expectPurged(two);
    expect(await count('messages', other)).toBe(100);
  });
});

describe('the log of a deleted room', () => {
  /** Another connection to the database. */
  let holder: Client;

  beforeEach(async () => {
    host = await openPostgres();
    const { host: name, port, database, username, password } = host.database.address;
    holder = new Client({ host: name, port, database, user: username, password });
    await holder.connect();
  });
  afterEach(() => holder.end());

  /** The backend that waits for the holder. */
  function waitingBackend(): Promise<number> {
    return eventually(async () => {
      const { rows } = await holder.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      if (rows[0] === undefined) throw new Error('nobody waits');
      return rows[0].pid;
    });
  }

  it('whose deletion fails is deleted later by a running node, and the room is gone at once', async () => {
    const room = await longRoom();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    startNode();
    await holder.query('BEGIN');
    // In the second chunk.
    await holder.query('SELECT FROM messages WHERE room_id = $1 AND seq = 10000 FOR UPDATE', [
      room,
    ]);
    const removed = removeRoom(storeOver(host.database), room);
    await holder.query('SELECT pg_terminate_backend($1)', [await waitingBackend()]);

    await removed;
    await holder.query('COMMIT');
    vi.advanceTimersByTime(LOOK_INTERVAL_MS);
    vi.useRealTimers();
    await expectPurged(room);
  });

  it('is left for later during an outage, which is logged once', async () => {
    const warn = vi.spyOn(QUIET, 'warn');
    const query = vi.spyOn(host.database.sequelize, 'query');
    await host.database.close();
    startNode();

    await expect(query.mock.results[0]?.value).rejects.toThrow('UNAVAILABLE');
    await Promise.all(stops.splice(0).map((stop) => stop()));
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it('is left to the node that is deleting it', async () => {
    const room = await longRoom();
    await leaveHalf(room);
    await holder.query('BEGIN');
    await holder.query('SELECT pg_advisory_xact_lock(7777002)');

    for (const database of [host.database, await host.another()]) {
      const look = vi.spyOn(database.sequelize, 'transaction');
      startNode(database);
      await eventually(() => {
        expect(look).toHaveBeenCalledOnce();
      });
      expect(await look.mock.results[0]?.value).toBe(false);
      look.mockRestore();
    }
    await Promise.all(stops.splice(0).map((stop) => stop()));
    expect(await count('messages', room)).toBe(15_000);

    await holder.query('COMMIT');
    startNode();
    await expectPurged(room);
  });

  it('is not deleted further once the node shuts down', async () => {
    const room = await longRoom();
    await leaveHalf(room);
    await holder.query('BEGIN');
    await holder.query('SELECT FROM messages WHERE room_id = $1 AND seq = 15000 FOR UPDATE', [
      room,
    ]);
    startNode();
    await waitingBackend();
    const stopped = Promise.all(stops.splice(0).map((stop) => stop()));
    await holder.query('COMMIT');
    await stopped;

    expect(await count('messages', room)).toBe(5_000);
  });
});
