import { Client } from 'pg';
import { QueryTypes } from 'sequelize';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Caller } from '../../src/access/permissions.js';
import { startStoringWords, storeWords } from '../../src/store/message-words.js';
import type { Store } from '../../src/store/store.js';
import {
  openPostgres,
  QUIET,
  storeHosts,
  storeOver,
  type StoreHost,
} from '../harness/store-hosts.js';
import { eventually } from '../harness/eventually.js';
import { newCaller, roomOf, say, type TestWriter } from '../harness/writers.js';

/** More messages than one statement takes. */
const MANY = 450;

let host: StoreHost;
let store: Store;
let author: Caller;
let room: TestWriter;

async function open(openHost: () => Promise<StoreHost>): Promise<void> {
  host = await openHost();
  store = storeOver(host.database);
  author = newCaller();
  room = await roomOf(store, [[author, 'rwa']]);
}

afterEach(() => host.close());

/** Seqs of a room's messages whose words are stored. */
async function stored(roomId = room.roomId): Promise<number[]> {
  const rows = await host.database.sequelize.query<{ seq: number }>(
    'SELECT seq FROM message_words WHERE room_id = $1 ORDER BY seq',
    { bind: [roomId], type: QueryTypes.SELECT },
  );
  return rows.map(({ seq }) => seq);
}

describe.each(storeHosts)('the words of messages over %s', (_, openHost) => {
  beforeEach(() => open(openHost));

  it('are stored once, by parts, and of messages alone', async () => {
    const said = [];
    for (let n = 0; n < MANY; n += 1) said.push(say(store.log, room, 'hi', { author }));
    const seqs = (await Promise.all(said)).map(({ seq }) => seq);
    await store.changes.react(author, room.roomId, { target: seqs[0] ?? 0, emoji: '👍', on: true });

    let parts = 0;
    while (await storeWords(host.database.sequelize)) parts += 1;

    expect(parts).toBeGreaterThan(1);
    expect(await stored()).toEqual(seqs);
  });

  it('are stored by a node without anybody asking', async () => {
    const { seq } = await say(store.log, room, 'hi', { author });

    const stop = startStoringWords({ sequelize: host.database.sequelize, logger: QUIET });

    await eventually(async () => {
      expect(await stored()).toEqual([seq]);
    });
    await stop();
  });

  it('are not stored of a message that was deleted before', async () => {
    const { seq: target } = await say(store.log, room, 'hi', { author });
    await store.changes.remove(author, room.roomId, { target });

    await storeWords(host.database.sequelize);

    expect(await stored()).toEqual([]);
  });
});

describe('the words of a message', () => {
  /** Another connection to the database. */
  let holder: Client;

  beforeEach(async () => {
    await open(openPostgres);
    holder = new Client(host.url);
    await holder.connect();
  });
  afterEach(() => holder.end());

  it('are stored of the beginning of a text that has more than fit, and found', async () => {
    let random = 1;
    const letters = Array.from({ length: 100_000 }, () => {
      random = (random * 48_271) % 2_147_483_647;
      return String.fromCodePoint(0x20000 + (random % 40_000));
    });
    const { seq } = await say(store.log, room, `宇${letters.join('')}`, { author });

    await storeWords(host.database.sequelize);

    expect(await stored()).toEqual([seq]);
    const page = await store.search.page(author, { text: '宇', limit: 10 });
    expect(page?.messages.map((message) => message.seq)).toEqual([seq]);
  });

  it('are not stored while it is about to change, nor those after it in its room', async () => {
    const seqs: number[] = [];
    for (let n = 0; n < 3; n += 1) seqs.push((await say(store.log, room, 'hi', { author })).seq);
    const other = await roomOf(store, [[author, 'rw']]);
    await say(store.log, other, 'hi', { author });
    await holder.query('BEGIN');
    await holder.query('UPDATE messages SET rev = 1 WHERE room_id = $1 AND seq = $2', [
      room.roomId,
      seqs[1],
    ]);

    await storeWords(host.database.sequelize);

    expect(await stored()).toEqual(seqs.slice(0, 1));
    expect(await stored(other.roomId)).toHaveLength(1);
    await holder.query('COMMIT');
    await storeWords(host.database.sequelize);
    expect(await stored()).toEqual(seqs);
  });

  it('are deleted with it, if they were stored while the deletion waited', async () => {
    const { seq: target } = await say(store.log, room, 'needle', { author });
    // As a node does that is storing its words.
    await holder.query('BEGIN');
    await holder.query('SELECT FROM messages WHERE room_id = $1 AND seq = $2 FOR SHARE', [
      room.roomId,
      target,
    ]);
    const removed = store.changes.remove(author, room.roomId, { target });
    await eventually(async () => {
      const { rows } = await holder.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      expect(rows).toHaveLength(1);
    });
    await holder.query(
      `INSERT INTO message_words (room_id, seq, "createdAt", words)
       SELECT room_id, seq, "createdAt", search_words(content) FROM messages WHERE room_id = $1 AND seq = $2`,
      [room.roomId, target],
    );
    await holder.query('COMMIT');
    await removed;

    expect(await stored()).toEqual([]);
  });

  it('are stored by one node at a time', async () => {
    await say(store.log, room, 'hi', { author });
    await holder.query('BEGIN');
    await holder.query('SELECT pg_advisory_xact_lock(7777003)');

    expect(await storeWords(host.database.sequelize)).toBe(false);
    expect(await stored()).toEqual([]);

    await holder.query('COMMIT');
    expect(await storeWords(host.database.sequelize)).toBe(true);
  });
});
