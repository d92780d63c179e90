import { Client } from 'pg';
import { QueryTypes } from 'sequelize';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrate } from '../../src/store/migrate.js';
import { PartitionRefusal, partitionMessages } from '../../src/store/partition.js';
import { purgeLog } from '../../src/store/purge.js';
import type { Store } from '../../src/store/store.js';
import { fillRoom } from '../harness/backlog.js';
import { openPostgres, QUIET, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { tablesWith } from '../harness/tables-with.js';
import { newCaller, removeRoom, roomOf, say, type TestWriter } from '../harness/writers.js';

const PARTITIONS = 4;
/** More than two batches. */
const MANY = 2_500;

let host: StoreHost;
let store: Store;
let operator: Client;

beforeEach(async () => {
  host = await openPostgres();
  store = storeOver(host.database);
  operator = new Client({ connectionString: host.url });
  await operator.connect();
});
afterEach(async () => {
  await operator.end();
  await host.close();
});

type Options = Parameters<typeof partitionMessages>[2];

function partition(partitions = PARTITIONS, options?: Options): Promise<number | undefined> {
  return partitionMessages(host.database.directAddress, partitions, options);
}

/** Breaks off after the first batch, as a process that is killed. */
async function breakOff(): Promise<void> {
  const broken = new Error('broken off');
  const breaking = partition(PARTITIONS, {
    onProgress() {
      throw broken;
    },
  });
  await expect(breaking).rejects.toBe(broken);
}

function rows<Row extends object>(sql: string, ...bind: unknown[]): Promise<Row[]> {
  return host.database.sequelize.query<Row>(sql, { bind, type: QueryTypes.SELECT });
}

async function entries(): Promise<string[]> {
  const found = await rows<{ text: string }>(
    'SELECT m::text AS text FROM messages AS m ORDER BY room_id, seq',
  );
  return found.map(({ text }) => text);
}

async function names(sql: string): Promise<string[]> {
  return (await rows<{ name: string }>(sql)).map(({ name }) => name);
}

const tables = `SELECT relname AS name FROM pg_class
  WHERE relname LIKE 'messages%' AND relkind IN ('r', 'p') ORDER BY 1`;
const columns = `SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull) AS name FROM pg_attribute
  WHERE attrelid = 'messages'::regclass AND attnum > 0 ORDER BY attnum`;
const indexes = `SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') AS name FROM pg_index
  WHERE indrelid = 'messages'::regclass ORDER BY 1`;

describe('partitions of the log', () => {
  const ana = newCaller();

  async function roomWithMany(): Promise<TestWriter> {
    const room = await roomOf(store, [[ana, 'rw']]);
    await fillRoom(host.url, room.roomId, MANY);
    return room;
  }

  it('have every entry, and the table its columns, indexes and rights, those of the operator, too', async () => {
    const role = new URL(host.url).pathname.slice(1);
    await operator.query(
      `CREATE ROLE ${role}; GRANT SELECT ON messages TO ${role} WITH GRANT OPTION;
       ALTER TABLE messages ADD note text DEFAULT 'a', ADD CHECK (seq > 0),
         ADD length int GENERATED ALWAYS AS (length(content)) STORED;
       CREATE INDEX by_note ON messages (note); CREATE INDEX ON messages (room_id, note DESC);
       ALTER TABLE messages SET (fillfactor = 90, toast.autovacuum_enabled = false)`,
    );
    try {
      const one = await roomWithMany();
      await say(store.log, one, 'an answer', { author: ana, ref: 'a', replyTo: 3 });
      for (let n = 0; n < 5; n += 1) await roomOf(store, [[ana, 'rw']]);
      const before = { entries: await entries(), columns: await names(columns) };
      const keys = await names(indexes);

      expect(await partition()).toBe(before.entries.length);

      expect({ entries: await entries(), columns: await names(columns) }).toEqual(before);
      expect(await names(indexes)).toEqual(keys);
      expect(await names(tables)).toEqual([
        'messages',
        ...Array.from({ length: PARTITIONS }, (_, n) => `messages_p${n}`),
      ]);
      expect(
        await rows(
          `SELECT reloptions, has_table_privilege($1, 'messages', 'SELECT WITH GRANT OPTION') AS may,
             has_table_privilege($1, 'messages', 'INSERT') AS "mayWrite"
           FROM pg_class WHERE relname = 'messages_p3'`,
          role,
        ),
      ).toEqual([{ reloptions: ['fillfactor=90'], may: true, mayWrite: false }]);
      // Nothing of the way there is left.
      expect(
        await names(`SELECT proname AS name FROM pg_proc WHERE proname LIKE 'mirror%'`),
      ).toEqual([]);
      expect(await migrate(host.database, QUIET)).toEqual([]);
    } finally {
      await operator.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  it('are there already if they are asked for again, and stay as they are', async () => {
    await partition();

    expect(await partition()).toBeUndefined();
    await expect(partition(2 * PARTITIONS)).rejects.toThrow(
      'messages is partitioned already: by HASH (room_id), into 4 partitions',
    );
  });

  it('have what was written meanwhile, after a run that broke off, and no text that was deleted', async () => {
    const [early, late] = [await roomWithMany(), await roomWithMany()];
    const doomed = await roomWithMany();
    const old = await Promise.all(
      [early, late].map((room) => say(store.log, room, 'sesame 1', { author: ana })),
    );
    await breakOff();
    const [first] = await rows<{ room: number }>('SELECT room_id AS room FROM messages_copied');
    expect(first).toEqual({ room: early.roomId });

    for (const [n, room] of [early, late].entries()) {
      const { seq: target = 0 } = old[n] ?? {};
      await store.changes.edit(ana, room.roomId, { target, content: 'sesame 2' });
      const { seq } = await say(store.log, room, 'sesame 3', { author: ana });
      await store.changes.remove(ana, room.roomId, { target });
      await store.changes.edit(ana, room.roomId, { target: seq, content: 'an edit' });
      // Of those that are copied already, too.
      await rows(
        'UPDATE messages SET content = $2 WHERE room_id = $1 AND seq <= 2',
        room.roomId,
        'edited',
      );
      await rows('DELETE FROM messages WHERE room_id = $1 AND seq = 3', room.roomId);
    }
    await removeRoom(store, doomed.roomId);
    await rows('DELETE FROM messages WHERE room_id = $1 AND seq > 700', doomed.roomId);
    const born = await roomOf(store, [[ana, 'rw']]);
    await say(store.log, born, 'hello', { author: ana });
    expect(await tablesWith(host, 'sesame')).toEqual([]);
    const before = await entries();

    expect(await partition()).toBeLessThan(4 * MANY);

    expect(await entries()).toEqual(before);
    await purgeLog(host.database.sequelize, doomed.roomId);
    expect(await rows('SELECT FROM messages WHERE room_id = $1 LIMIT 1', doomed.roomId)).toEqual(
      [],
    );
    const { seq } = await say(store.log, born, 'hello again', { author: ana });
    expect(seq).toBe((await rows('SELECT FROM messages WHERE room_id = $1', born.roomId)).length);
  });

  it('wait for a room that somebody has locked, while others are used, and are made by one process', async () => {
    const room = await roomWithMany();
    await operator.query('BEGIN');
    await operator.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [room.roomId]);
    const [holder] = (await operator.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
    let isOver = false;
    const told: number[] = [];
    const partitioning = partition(PARTITIONS, {
      onWaiting: (pids) => told.push(...pids),
    }).finally(() => {
      isOver = true;
    });
    await expect.poll(() => told).toContain(holder?.pid);
    const other = await roomOf(store, [[ana, 'rw']]);
    await say(store.log, other, 'hello', { author: ana });
    await expect(partition()).rejects.toThrow('another process partitions already');
    expect(isOver).toBe(false);
    await operator.query('COMMIT');

    expect(await partitioning).toBeGreaterThan(MANY);
  });

  it('take the place of the table after transactions that read it, or began before', async () => {
    const room = await roomWithMany();
    await operator.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    // As an export or pg_dump: its moment is before that of the copy.
    await operator.query('SELECT FROM rooms');
    const told: number[] = [];
    const partitioning = partition(PARTITIONS, { onWaiting: (pids) => told.push(...pids) });
    const [row] = (await operator.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;

    await expect.poll(() => told).toContain(row?.pid);
    await say(store.log, room, 'meanwhile', { author: ana });
    const { rowCount } = await operator.query('SELECT FROM messages');
    expect(rowCount).toBe(MANY + 1);
    await operator.query('COMMIT');

    expect(await partitioning).toBeGreaterThan(MANY);
    expect(await entries()).toHaveLength(MANY + 2);
  });

  it.each([
    ['a view', 'CREATE VIEW texts AS SELECT content FROM messages', /view texts/],
    [
      'a trigger',
      `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
       CREATE TRIGGER audit AFTER DELETE ON messages EXECUTE FUNCTION nothing()`,
      /trigger audit/,
    ],
    [
      'a foreign key',
      'ALTER TABLE messages ADD CONSTRAINT of_room FOREIGN KEY (room_id) REFERENCES rooms',
      /constraint of_room/,
    ],
    [
      'a foreign key to it',
      'CREATE TABLE pins (room int, seq bigint, FOREIGN KEY (room, seq) REFERENCES messages)',
      /constraint pins_room_seq_fkey/,
    ],
    ['a policy', 'CREATE POLICY mine ON messages USING (true)', /policy mine/],
    ['a publication', 'CREATE PUBLICATION feed FOR TABLE messages', /publication feed/],
  ])('are refused for a table with %s, before anything is changed', async (_, change, named) => {
    await operator.query(change);
    const before = await names(tables);

    await expect(partition()).rejects.toThrow(named);

    expect(await names(tables)).toEqual(before);
  });

  it.each([
    ['the table was changed', 'ALTER TABLE messages ADD note text'],
    ['the triggers were disabled', 'ALTER TABLE messages DISABLE TRIGGER ALL'],
  ])('are refused if %s meanwhile, and can be given up', async (_, change) => {
    const room = await roomWithMany();
    await breakOff();
    await operator.query(change);

    const error: unknown = await partition().catch((reason: unknown) => reason);

    expect(error).toBeInstanceOf(PartitionRefusal);
    const [, statements = ''] = /"(DROP .*)"/.exec((error as Error).message) ?? [];
    await operator.query(statements);
    expect(await names(tables)).toEqual(['messages']);
    await say(store.log, room, 'hello', { author: ana });
    expect(await partition()).toBe(MANY + 2);
  });

  it('are refused if the copy lacks an entry', async () => {
    const room = await roomWithMany();
    await breakOff();
    await rows('DELETE FROM messages_partitioned WHERE room_id = $1 AND seq = 7', room.roomId);

    await expect(partition()).rejects.toThrow(`in rooms ${room.roomId}:`);

    expect(await names(tables)).toContain('messages_partitioned');
  });

  it('go on in the number in which they were begun alone', async () => {
    await roomWithMany();
    await breakOff();

    await expect(partition(8)).rejects.toThrow('a copy with 4 partitions was begun');
    expect(await partition()).toBe(MANY + 1);
  });

  it('are refused to a role that the table does not belong to', async () => {
    const role = `${new URL(host.url).pathname.slice(1)}_guest`;
    await operator.query(`CREATE ROLE ${role} LOGIN PASSWORD 'pw'`);
    try {
      const address = { ...host.database.directAddress, username: role, password: 'pw' };
      await expect(partitionMessages(address, PARTITIONS)).rejects.toThrow('messages belongs to');
    } finally {
      await operator.query(`DROP ROLE ${role}`);
    }
  });

  it('are refused if there is another table with the name of the copy', async () => {
    await operator.query('CREATE TABLE messages_partitioned (id int)');

    await expect(partition()).rejects.toThrow('none of ours');
  });
});
