import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Caller } from '../../src/access/permissions.js';
import { createSignedPost } from '../../src/hooks/signed-post.js';
import { startWebhooks, type Webhooks } from '../../src/jobs/webhooks.js';
import { lockKey } from '../../src/store/advisory-locks.js';
import { createStore, type Store } from '../../src/store/store.js';
import type { WebhookCursors } from '../../src/store/webhook-cursors.js';
import { fillRoom } from '../harness/backlog.js';
import { query } from '../harness/database.js';
import { deferred } from '../harness/deferred.js';
import {
  startReceiver,
  WEBHOOK_SECRET,
  type Delivery,
  type Receiver,
} from '../harness/receiver.js';
import { eventually } from '../harness/eventually.js';
import { LIMITS, openPostgres, QUIET, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, removeRoom, say, TestWriter } from '../harness/writers.js';

const HOUR_MS = 3_600_000;
/** Longer than the lease of a room. */
const LEASE_MS = 40_001;
/** Attempts at an event within 24 hours. */
const ATTEMPTS = 11;
/** Rooms whose events a node posts at the same time. */
const MAX_ROOMS = 16;
/** The first pause behind a receiver that is down. */
const MIN_PAUSE_MS = 1_000;

/** A node, as far as webhooks need one. */
interface Poster extends Webhooks {
  readonly store: Store;
  /** Sends a message; `tells` is false if the node does not live to post it. */
  say(roomId: number, content: string, tells?: boolean): Promise<number>;
}

let host: StoreHost;
let receiver: Receiver;
let posters: Webhooks[];

beforeEach(async () => {
  [host, receiver] = await Promise.all([openPostgres(), startReceiver()]);
  posters = [];
});
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(posters.map((poster) => poster.close()));
  await receiver.close();
  await host.close();
});

/** @param timeoutMs of a request */
async function startPoster(timeoutMs = 15_000): Promise<Poster> {
  const database = await host.another();
  const store = createStore({ database, limits: LIMITS, logger: QUIET, tellsWebhooks: true });
  const webhooks = startWebhooks({
    cursors: store.webhookCursors,
    recipients: store.recipients,
    log: store.log,
    post: createSignedPost({
      url: new URL(receiver.url),
      secrets: [WEBHOOK_SECRET],
      timeoutMs,
      maxAnswerBytes: 1_024,
    }),
    online: () => Promise.resolve(new Set()),
    logger: QUIET,
  });
  const poster: Poster = {
    ...webhooks,
    store,
    async say(roomId, content, tells = true) {
      const { seq } = await say(store.log, new TestWriter(roomId), content);
      if (tells) webhooks.wake(roomId);
      return seq;
    },
  };
  posters.push(poster);
  await untilBegun();
  return poster;
}

/** Starts a node whose cursors are no database's, and whose rooms can't be read. */
function startOver(cursors: Partial<WebhookCursors>): Webhooks {
  const store = createStore({ database: host.database, limits: LIMITS, logger: QUIET });
  const webhooks = startWebhooks({
    cursors: {
      ...store.webhookCursors,
      begin: () => Promise.resolve(new Date()),
      sweep: () => Promise.resolve({ last: null }),
      lease: () => Promise.resolve([]),
      ...cursors,
    },
    recipients: store.recipients,
    log: { read: () => Promise.reject(new Error('nothing is read here')) },
    post: () => Promise.reject(new Error('nothing is posted here')),
    online: () => Promise.resolve(new Set()),
    logger: QUIET,
  });
  posters.push(webhooks);
  return webhooks;
}

/** Older entries are not posted. */
async function untilBegun(): Promise<void> {
  await eventually(async () => {
    expect(await query(host.url, 'SELECT FROM webhook_start')).toHaveLength(1);
  });
}

async function emptyRooms({ store }: Poster, count: number): Promise<number[]> {
  const rooms: number[] = [];
  for (let n = 0; n < count; n += 1) rooms.push(await emptyRoom(store));
  return rooms;
}

/** Lets time pass for a room: what is due is so by the clock of Postgres, which can't be set. */
async function passTime(roomId: number, ms: number): Promise<void> {
  await query(
    host.url,
    `UPDATE webhook_cursors SET "dueAt" = "dueAt" - $2::float8 * interval '1 millisecond' WHERE room_id = $1`,
    [roomId, ms],
  );
}

async function untilAttempts(roomId: number, attempts: number): Promise<void> {
  await eventually(async () => {
    const rows = await query<{ attempts: number }>(
      host.url,
      'SELECT attempts FROM webhook_cursors WHERE room_id = $1',
      [roomId],
    );
    expect(rows).toEqual([{ attempts }]);
  });
}

/** Until nothing of a room is left, and no node has it. */
async function untilIdle(roomId: number): Promise<void> {
  await eventually(async () => {
    expect(await cursorOf(roomId)).toMatchObject({ isDue: null });
  });
}

const idsOf = (deliveries: readonly Delivery[]): string[] => deliveries.map(({ id }) => id);

const contentsOf = (deliveries: readonly Delivery[]): unknown[] =>
  deliveries.map(({ body }) => body.data['content']);

/** The deliveries of a room. */
const of = (roomId: number, deliveries = receiver.taken): Delivery[] =>
  deliveries.filter(({ body }) => body.data['room_id'] === roomId);

const refuse =
  (isRefused: (delivery: Delivery) => boolean, status = 500): Receiver['answer'] =>
  (delivery, response) => {
    response.writeHead(isRefused(delivery) ? status : 204).end();
  };

describe('webhooks', () => {
  it('tell of each message once, in the order of its room, from two nodes', async () => {
    const nodes = [await startPoster(), await startPoster()];
    const [first] = nodes;
    if (first === undefined) return;
    const rooms = await Promise.all([1, 2, 3].map(() => emptyRoom(first.store)));
    receiver.answer = (_, response) => {
      // In no order among requests that are on their way at once.
      void delay(Math.random() * 5).then(() => response.writeHead(200).end('{}'));
    };
    const said = await Promise.all(
      rooms.flatMap((room) =>
        nodes.map(async (node, index) => {
          for (let n = 0; n < 20; n += 1) await node.say(room, `${index} ${n}`);
        }),
      ),
    );

    await receiver.until(() => receiver.taken.length >= 40 * rooms.length);

    expect(said).toHaveLength(6);
    for (const room of rooms) {
      const expected = Array.from({ length: 40 }, (_, index) => `${room}:${index + 1}`);
      expect(idsOf(of(room))).toEqual(expected);
    }
    expect(receiver.got).toHaveLength(40 * rooms.length);
  });

  it.each([
    ['500', refuse(() => true)],
    ['a redirect', refuse(() => true, 302)],
    ['410', refuse(() => true, 410)],
    ['nothing', () => undefined],
    ['half an answer', (_, response) => response.writeHead(200).write('{')],
    ['a reset', (_, response) => response.destroy()],
  ] as [string, Receiver['answer']][])(
    'are posted again with the same id if the answer is %s, and the next one waits',
    async (_, answer) => {
      const node = await startPoster(200);
      const room = await emptyRoom(node.store);
      const { answer: take } = receiver;
      receiver.answer = answer;

      await node.say(room, 'one');
      await node.say(room, 'two');
      await untilAttempts(room, 1);
      expect(idsOf(receiver.got)).toEqual([`${room}:1`]);
      receiver.answer = take;
      await passTime(room, HOUR_MS);
      node.wake(room);
      await receiver.until(() => receiver.taken.length === 2);

      expect(idsOf(receiver.got)).toEqual([`${room}:1`, `${room}:1`, `${room}:2`]);
      expect(contentsOf(receiver.taken)).toEqual(['one', 'two']);
    },
  );

  it('are given up after 24 hours, as a hole that the next event tells, and stop their room alone', async () => {
    const node = await startPoster();
    const [room, other] = [await emptyRoom(node.store), await emptyRoom(node.store)];
    receiver.answer = refuse(({ id }) => id === `${room}:1`);

    await node.say(room, 'poison');
    await node.say(room, 'two');
    for (let attempts = 1; attempts < ATTEMPTS; attempts += 1) {
      await untilAttempts(room, attempts);
      await node.say(other, 'meanwhile');
      await passTime(room, 12 * HOUR_MS);
      node.wake(room);
    }
    await receiver.until(() => of(room).length === 1 && of(other).length === ATTEMPTS - 1);

    expect(idsOf(of(room, receiver.got))).toEqual([
      ...Array.from({ length: ATTEMPTS }, () => `${room}:1`),
      `${room}:2`,
    ]);
    expect(of(room)[0]?.body.data).toMatchObject({ content: 'two', hole: { from: 1, to: 1 } });
    await node.say(room, 'three');
    await receiver.until(() => of(room).length === 2);
    expect(of(room)[1]?.body.data).not.toHaveProperty('hole');
  });

  it.each([400, 500])(
    'are taken while each of many rooms has one that is answered with %i',
    async (status) => {
      const node = await startPoster();
      const [good, poisoned] = [await emptyRooms(node, 3), await emptyRooms(node, 40)];
      receiver.answer = refuse(({ body }) => body.data['content'] === 'poison', status);

      await Promise.all(poisoned.map((room) => node.say(room, 'poison')));
      await receiver.until(() => receiver.got.length >= MAX_ROOMS);
      for (let n = 1; n <= 5; n += 1) {
        await Promise.all(good.map((room) => node.say(room, `good ${n}`)));
        await receiver.until(() => receiver.taken.length === n * good.length);
      }

      for (const room of good) {
        expect(contentsOf(of(room))).toEqual([1, 2, 3, 4, 5].map((n) => `good ${n}`));
      }
    },
    60_000,
  );

  it('are given up each after 24 hours if the receiver is up and refuses those of many rooms', async () => {
    const node = await startPoster();
    const rooms = await emptyRooms(node, 10);
    receiver.answer = refuse(({ body }) => body.data['content'] === 'poison', 400);

    await Promise.all(rooms.map((room) => node.say(room, 'poison')));
    await Promise.all(rooms.map((room) => node.say(room, 'two')));
    // Each that has failed, and waits, has its last attempt next.
    await eventually(async () => {
      await query(
        host.url,
        `UPDATE webhook_cursors SET attempts = $1, "dueAt" = now()
         WHERE attempts BETWEEN 1 AND $1 - 1 AND "dueAt" < now() + interval '20 seconds'`,
        [ATTEMPTS - 1],
      );
      expect(receiver.taken).toHaveLength(rooms.length);
    });

    for (const room of rooms) {
      expect(of(room)[0]?.body.data).toMatchObject({ hole: { from: 1, to: 1 } });
    }
  });

  it('tell of entries that the log does not have any more as of a hole', async () => {
    const node = await startPoster();
    const room = await emptyRoom(node.store);
    await node.say(room, 'one');
    await untilIdle(room);
    await node.close();
    const last = await fillRoom(host.url, room, 100);
    await query(host.url, 'DELETE FROM messages WHERE room_id = $1 AND seq < $2', [
      room,
      last.last,
    ]);

    const next = await startPoster();
    next.wake(room);
    await receiver.until(() => receiver.taken.length === 2);
    expect(receiver.taken[1]).toMatchObject({ id: `${room}:101` });
    expect(receiver.taken[1]?.body.data).toMatchObject({ hole: { from: 2, to: 100 } });

    // The whole log.
    await untilIdle(room);
    await next.close();
    await fillRoom(host.url, room, 1);
    await query(host.url, 'DELETE FROM messages');
    const another = await startPoster();
    another.wake(room);
    await eventually(async () => {
      expect(await cursorOf(room)).toMatchObject({ upto: '102', isDue: null });
    });
    await another.say(room, 'on');
    await receiver.until(() => receiver.taken.length === 3);
    expect(receiver.taken[2]?.body.data).toMatchObject({ hole: { from: 102, to: 102 } });
  });

  it('never have a text that was deleted or replaced before', async () => {
    const node = await startPoster();
    const room = await emptyRoom(node.store);
    const author = newCaller();
    const write = (content: string): Promise<{ seq: number }> =>
      say(node.store.log, new TestWriter(room), content, { author });
    await allow(room, author);
    receiver.answer = refuse(() => true);
    await write('secret');
    await write('typo');
    node.wake(room);
    await untilAttempts(room, 1);

    receiver.answer = refuse(() => false);
    await node.store.changes.remove(author, room, { target: 1 });
    await node.store.changes.edit(author, room, {
      target: 2,
      content: 'right',
      data: undefined,
    });
    await passTime(room, HOUR_MS);
    node.wake(room);
    await receiver.until(() => receiver.taken.length === 4);

    expect(receiver.taken.map(({ body }) => [body.type, body.data['content']])).toEqual([
      ['message.created', undefined],
      ['message.created', undefined],
      ['message.deleted', undefined],
      ['message.edited', 'right'],
    ]);
  });

  it('begin with what is stored after they were switched on, in new rooms with the first entry', async () => {
    const { store } = await startPoster();
    await posters.pop()?.close();
    await query(host.url, 'TRUNCATE webhook_start, webhook_cursors');
    const [old, quiet] = [await emptyRoom(store), await emptyRoom(store)];
    await say(store.log, new TestWriter(old), 'before');
    await say(store.log, new TestWriter(quiet), 'before');

    const node = await startPoster();
    const fresh = await emptyRoom(store);
    await node.say(old, 'after');
    await node.say(fresh, 'first');
    await receiver.until(() => receiver.taken.length === 2);

    expect(idsOf(receiver.taken).toSorted()).toEqual([`${old}:2`, `${fresh}:1`].toSorted());
    expect(receiver.got).toHaveLength(2);
  });

  it('begin behind entries that were deleted by age before', async () => {
    const store = createStore({ database: host.database, limits: LIMITS, logger: QUIET });
    const [woken, swept] = [await emptyRoom(store), await emptyRoom(store)];
    for (const room of [woken, swept]) await fillRoom(host.url, room, 3);
    await query(host.url, 'DELETE FROM messages');
    await query(host.url, 'UPDATE rooms SET horizon = 3');
    await store.webhookCursors.begin();

    const leased = await store.webhookCursors.lease([woken], 1, []);
    await store.webhookCursors.sweep(0);

    expect(leased).toMatchObject([{ roomId: woken, upto: 3 }]);
    expect(await cursorOf(swept)).toMatchObject({ upto: '3', isDue: null });
  });

  it('do not tell of entries of earlier dates that are imported later, nor of a hole', async () => {
    const node = await startPoster();
    const room = await emptyRoom(node.store);
    await node.say(room, 'one');
    await untilIdle(room);
    await node.close();
    await fillRoom(host.url, room, 60);
    await query(
      host.url,
      `UPDATE messages SET "createdAt" = "createdAt" - interval '1 year' WHERE seq > 1`,
    );

    const next = await startPoster();
    await next.say(room, 'on');
    await receiver.until(() => contentsOf(receiver.taken).includes('on'));

    expect(contentsOf(receiver.got)).toEqual(['one', 'on']);
    expect(receiver.taken[1]?.body.data).not.toHaveProperty('hole');
  });

  it.each([
    [200, false],
    [201, true],
  ])(
    'tell of 200 readers beside the sender; of %i: truncated is %s',
    async (others, isTruncated) => {
      const node = await startPoster();
      const room = await emptyRoom(node.store);
      // The first of all rules.
      const author = newCaller({ userUUID: '00000000-0000-4000-8000-000000000000' });
      await allow(room, author);
      for (let n = 0; n < others; n += 1) await allow(room, newCaller());

      await say(node.store.log, new TestWriter(room), 'one', { author });
      node.wake(room);
      await receiver.until(() => receiver.taken.length === 1);

      const data = receiver.taken[0]?.body.data;
      expect(data?.['entities']).toHaveLength(200);
      expect(data?.['recipients_truncated']).toBe(isTruncated);
    },
  );

  it('tell of what a node stored that was killed before it told anybody', async () => {
    const node = await startPoster();
    const room = await emptyRoom(node.store);

    await node.say(room, 'one', false);
    await receiver.until(() => receiver.taken.length === 1);

    expect(contentsOf(receiver.taken)).toEqual(['one']);
  });

  it('are posted by another node once the lease of a node that hangs is over', async () => {
    const dead = await startPoster();
    const room = await emptyRoom(dead.store);
    receiver.answer = () => undefined;
    await dead.say(room, 'one');
    await dead.say(room, 'two');
    await receiver.until(() => receiver.got.length === 1);

    receiver.answer = refuse(() => false);
    const node = await startPoster();
    node.wake(room);
    await passTime(room, LEASE_MS);
    await receiver.until(() => receiver.taken.length === 2);

    expect(idsOf(receiver.taken)).toEqual([`${room}:1`, `${room}:2`]);
    const cursor = await cursorOf(room);
    await dead.close();
    // The node whose lease is over moves nothing.
    expect(await cursorOf(room)).toEqual(cursor);
  });

  it('are left to other nodes at once by a node that shuts down, without a failed attempt', async () => {
    const first = await startPoster();
    const room = await emptyRoom(first.store);
    receiver.answer = () => undefined;
    await first.say(room, 'one');
    await receiver.until(() => receiver.got.length === 1);

    await first.close();
    expect(await cursorOf(room)).toMatchObject({ upto: '0', attempts: 0, isDue: true });
    receiver.answer = refuse(() => false);
    const second = await startPoster();
    second.wake(room);
    await receiver.until(() => receiver.taken.length === 1);

    expect(idsOf(receiver.taken)).toEqual([`${room}:1`]);
  });

  it('tell that a room was deleted', async () => {
    const node = await startPoster();
    const room = await emptyRoom(node.store);
    const [stored] = await query<{ uuid: string }>(host.url, 'SELECT uuid FROM rooms');
    await node.say(room, 'one');
    await receiver.until(() => receiver.taken.length === 1);

    await removeRoom(node.store, room);
    node.wake(room);
    await receiver.until(() => receiver.taken.length === 2);

    expect(receiver.taken[1]).toMatchObject({
      id: `${room}:deleted`,
      body: { type: 'room.deleted', data: { room_id: room, room: stored } },
    });
    await eventually(async () => {
      expect(await query(host.url, 'SELECT FROM webhook_cursors')).toEqual([]);
    });
  });

  it('tell how far users have read, once the entries up to there are told', async () => {
    const node = await startPoster();
    const reader = newCaller();
    const room = await emptyRoom(node.store);
    await allow(room, reader);
    receiver.answer = refuse(() => true);
    await node.say(room, 'one');
    await node.say(room, 'two');
    await untilAttempts(room, 1);
    await node.store.readMarkers.move(reader, room, 1, false);
    await node.store.readMarkers.move(reader, room, 2, false);

    receiver.answer = refuse(() => false);
    await passTime(room, HOUR_MS);
    node.wake(room);
    await receiver.until(() => receiver.taken.length === 3);

    expect(idsOf(receiver.taken)).toEqual([
      `${room}:1`,
      `${room}:2`,
      expect.stringMatching(new RegExp(`^${room}:read:${reader.userUUID}:\\d+$`)),
    ]);
    expect(receiver.taken[2]?.body.data).toMatchObject({ emitter: reader.userUUID, upto: 2 });
    await eventually(async () => {
      expect(await query(host.url, 'SELECT FROM webhook_reads')).toEqual([]);
    });
  });
});

describe('the event of a read marker', () => {
  it('tells of a hole before it, which the next event does not', async () => {
    const node = await startPoster();
    const reader = newCaller();
    const room = await emptyRoom(node.store);
    await allow(room, reader);
    receiver.answer = refuse(({ body }) => body.data['content'] === 'poison', 400);
    await node.say(room, 'poison');
    await untilAttempts(room, 1);
    await node.store.readMarkers.move(reader, room, 1, false);

    await query(host.url, 'UPDATE webhook_cursors SET attempts = $1', [ATTEMPTS - 1]);
    await passTime(room, HOUR_MS);
    node.wake(room);
    await receiver.until(() => receiver.taken.length === 1);
    await node.say(room, 'next');
    await receiver.until(() => receiver.taken.length === 2);

    const [read, next] = receiver.taken.map(({ body }) => body);
    expect(read).toMatchObject({ type: 'message.read', data: { hole: { from: 1, to: 1 } } });
    expect(next?.data).not.toHaveProperty('hole');
  });
});

describe('a database that does not answer', () => {
  it('is asked for rooms once a check, not at once again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    const asked = deferred();
    const lease = vi.fn<WebhookCursors['lease']>(async () => {
      asked.resolve();
      await new Promise(setImmediate);
      throw new Error('the database does not answer');
    });
    const node = startOver({ lease });

    node.wake(1);
    await asked.promise;
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
    // The next check is 2 s after the start.
    await vi.advanceTimersByTimeAsync(1_900);
    node.wake(2);
    expect(lease).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(lease).toHaveBeenCalledTimes(2);
    // What was woken is asked for again.
    expect(lease.mock.lastCall?.[0]).toEqual(expect.arrayContaining([1, 2]));
  });
});

describe('comparing rooms with cursors', () => {
  it('goes on where it was after a failure, and after another node was at it', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    const sweep = vi
      .fn<WebhookCursors['sweep']>()
      .mockResolvedValueOnce({ last: 5_000 })
      .mockRejectedValueOnce(new Error('the database does not answer'))
      .mockResolvedValueOnce(undefined)
      .mockResolvedValueOnce({ last: null })
      .mockResolvedValue(undefined);
    startOver({ sweep });

    await vi.advanceTimersByTimeAsync(50_000);

    expect(sweep.mock.calls.flat().slice(0, 5)).toEqual([0, 5_000, 5_000, 5_000, 0]);
  });

  it('tells whether another node is at it', async () => {
    const { webhookCursors } = createStore({
      database: host.database,
      limits: LIMITS,
      logger: QUIET,
    });
    const key = lockKey('sweepWebhooks');
    const other = new Client({ connectionString: host.url });
    await other.connect();
    await other.query('SELECT pg_advisory_lock($1)', [key]);

    expect(await webhookCursors.sweep(0)).toBeUndefined();
    await other.query('SELECT pg_advisory_unlock($1)', [key]);
    expect(await webhookCursors.sweep(0)).toEqual({ last: null });
    await other.end();
  });
});

describe('rooms that were woken', () => {
  it('are asked for again if rooms that were due had their places', async () => {
    const due = Array.from({ length: MAX_ROOMS }, (_, index) => ({
      roomId: 100 + index,
      uuid: randomUUID(),
      upto: 0,
      attempts: 0,
      holeFrom: null,
      lease: 1,
    }));
    const asked: number[] = [];
    const node = startOver({
      lease(ids) {
        asked.push(...ids);
        return Promise.resolve(ids.length > 0 && asked.length === ids.length ? due : []);
      },
    });

    node.wake(1);
    node.wake(2);
    await eventually(() => {
      expect(asked.toSorted((one, other) => one - other)).toEqual([1, 1, 2, 2]);
    });
  });
});

describe('a receiver that is down', () => {
  it('costs a few attempts, gives nothing up, and gets everything in order once it is back', async () => {
    const ROOMS = 200;
    const node = await startPoster();
    const rooms: number[] = [];
    for (let n = 0; n < ROOMS; n += 1) rooms.push(await emptyRoom(node.store));
    const { answer: take } = receiver;
    const held: ServerResponse[] = [];
    const refusedAt: number[] = [];
    receiver.answer = (_, response) => held.push(response);
    await Promise.all(rooms.map((room) => node.say(room, 'one')));
    await receiver.until(() => held.length === MAX_ROOMS);

    receiver.answer = (_, response) => {
      refusedAt.push(performance.now());
      response.writeHead(500).end();
    };
    for (const response of held) response.writeHead(500).end();
    await Promise.all(rooms.map((room) => node.say(room, 'two')));
    await receiver.until(() => refusedAt.length >= 3);
    // Though each room has something to tell: one at a time is tried, after a pause that grows. The first may have been on
    // its way before the receiver counted as down.
    const [first = 0, second = 0, third = 0] = refusedAt;
    expect(second - first).toBeGreaterThan(MIN_PAUSE_MS / 2);
    expect(third - second).toBeGreaterThan(MIN_PAUSE_MS * 1.5);
    // Neither does a day of it give an event up.
    for (const { body } of receiver.got) {
      await passTime(Number(body.data['room_id']), 24 * HOUR_MS);
    }
    receiver.answer = take;
    await receiver.until(() => receiver.taken.length >= 2 * ROOMS);

    for (const room of rooms) expect(idsOf(of(room))).toEqual([`${room}:1`, `${room}:2`]);
  });
});

/** Lets a user read and write, without an entry. */
async function allow(roomId: number, { userUUID }: Caller): Promise<void> {
  await query(
    host.url,
    `INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
     VALUES ($1, $2, 0, 'rw', true, now(), now())`,
    [roomId, userUUID],
  );
}

async function cursorOf(roomId: number): Promise<object | undefined> {
  const [row] = await query(
    host.url,
    `SELECT upto, attempts, "dueAt" <= now() AS "isDue" FROM webhook_cursors WHERE room_id = $1`,
    [roomId],
  );
  return row;
}
