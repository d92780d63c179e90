import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import type { Subscriber, LossReason } from '../../src/feeds/subscribers.js';
import { Feed } from '../../src/feeds/feed.js';
import { Backlog } from '../../src/feeds/backlog.js';
import { SocketWriter } from '../../src/feeds/socket-writer.js';
import { createFlushQueue } from '../../src/feeds/flush-queue.js';
import { createLogger, type DebugLog } from '../../src/logger.js';
import type { MessageData } from '../../src/protocol/v1/events.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import type { Entry } from '../../src/store/entry.js';
import { createStore, type Store } from '../../src/store/store.js';
import { type TestDatabase } from '../harness/database.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { createMigratedDatabase } from '../harness/services.js';
import { entryOf, removeRule } from '../harness/writers.js';

const logger = createLogger({ level: 'silent', production: true });
const owner = {
  userUUID: randomUUID(),
  entityUUID: randomUUID(),
  levelOnEntity: 100,
  isServer: false,
};
const member = {
  userUUID: randomUUID(),
  entityUUID: randomUUID(),
  levelOnEntity: 0,
  isServer: false,
};

let testDatabase: TestDatabase;
let database: Database;
let store: Store;

beforeAll(async () => {
  testDatabase = await createMigratedDatabase();
  const config = loadConfig({ DATABASE_URL: testDatabase.url });
  database = await connectDatabase(config, logger);
  store = createStore({ database, limits: config.limits, logger });
});
afterAll(async () => {
  await store.log.close();
  await database.close();
  await testDatabase.drop();
});

/** A subscriber whose frames are read from a real stream. */
class Reader implements Subscriber {
  readonly version = 1;
  readonly identity: typeof owner;
  readonly writer: SocketWriter;
  readonly losses: LossReason[] = [];
  readonly #stream = new PassThrough({ highWaterMark: 1 << 24 });

  constructor(identity: typeof owner) {
    this.identity = identity;
    this.writer = new SocketWriter(
      { readyState: 1 },
      this.#stream,
      createFlushQueue(),
      1 << 20,
      new Backlog(),
    );
  }

  roomLost(_roomId: number, reason: LossReason): void {
    this.losses.push(reason);
  }

  /** Numbers of the received messages, in order of arrival. */
  seen(): number[] {
    return this.messages().map(({ seq }) => seq);
  }

  /** The received messages, in order of arrival. */
  messages(): MessageData[] {
    const bytes = (this.#stream.read() as Buffer | null) ?? Buffer.alloc(0);
    const messages: MessageData[] = [];
    for (let at = 0; at < bytes.length;) {
      const short = bytes.readUInt8(at + 1);
      const start = short < 126 ? at + 2 : at + 4;
      const length = short < 126 ? short : bytes.readUInt16BE(at + 2);
      const text = bytes.toString('utf8', start, start + length);
      messages.push((JSON.parse(text) as { data: MessageData }).data);
      at = start + length;
    }
    return messages;
  }
}

function createFeed(
  roomId: number,
  onOldSeqs = (): void => undefined,
  debug?: DebugLog,
  onReadFailure: (error: unknown) => void = () => undefined,
  onLost = (): void => undefined,
): Feed {
  return new Feed({
    roomId,
    log: store.log,
    debug,
    flushQueue: createFlushQueue(),
    publish: () => undefined,
    onOldSeqs,
    onLost,
    onReadFailure,
  });
}

async function createRoom(): Promise<number> {
  const draft = {
    name: 'a',
    type: 'group',
    entityOwner: owner.entityUUID,
    levelAdmin: 1,
    maxEntityRules: 10,
  } as const;
  const rules = [owner, member].map(({ userUUID }) => ({
    entityUUID: userUUID,
    level: 0,
    permissions: 'rw',
    accepted: true,
  }));
  return (await store.rooms.create(draft, rules, owner.userUUID)).id;
}

/** A feed that is active at the room's head. */
async function activeFeed(
  roomId: number,
  debug?: DebugLog,
  onReadFailure?: (error: unknown) => void,
): Promise<Feed> {
  const state = await store.log.state(roomId);
  if (state === undefined) throw new Error('no such room');
  const feed = createFeed(roomId, undefined, debug, onReadFailure);
  feed.activate(state);
  return feed;
}

/** Appends messages through another node, without telling this feed. */
async function appendElsewhere(roomId: number, count: number): Promise<Entry[]> {
  const elsewhere = await activeFeed(roomId);
  const from = elsewhere.position;
  await Promise.all(
    Array.from({ length: count }, (_, i) =>
      store.log.append(elsewhere, owner, {
        roomId,
        kind: 'message',
        emitter: owner.userUUID,
        content: `${i}`,
        ref: null,
      }),
    ),
  );
  return store.log.read(roomId, { after: from, upTo: Number.MAX_SAFE_INTEGER, limit: count });
}

/** Edits a message of the owner through another node, without telling this feed. */
async function editElsewhere(roomId: number, target: number, content: string): Promise<void> {
  await store.changes.edit(owner, roomId, { target, content });
}

/** As after the restore of a dump in place. */
async function setBack(roomId: number, head: number): Promise<void> {
  const { sequelize } = database;
  await sequelize.query(`DELETE FROM messages WHERE room_id = ${roomId} AND seq > ${head}`);
  await sequelize.query(`UPDATE rooms SET head = ${head} WHERE id = ${roomId}`);
}

async function revoke(roomId: number): Promise<Entry> {
  return entryOf(await removeRule(store, roomId, member.userUUID));
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

describe('a feed', () => {
  it('delivers every entry once and in order, however entries arrive', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 30 }),
        fc.infiniteStream(fc.record({ keep: fc.boolean(), twice: fc.boolean(), key: fc.nat() })),
        async (count, fates) => {
          const room = await createRoom();
          const feed = await activeFeed(room);
          const start = feed.position;
          const reader = new Reader(owner);
          feed.join(reader);
          const entries = await appendElsewhere(room, count);
          const arriving = entries
            .flatMap((entry) => {
              const fate = fates.next().value;
              const copies = fate.keep ? (fate.twice ? 2 : 1) : 0;
              return Array.from({ length: copies }, () => ({ entry, key: fate.key }));
            })
            .toSorted((a, b) => a.key - b.key);
          for (const { entry } of arriving) feed.take([entry]);
          // The poll gives the head; the feed then reads the missing entries.
          feed.headFound(start + count);
          await feed.refresh();
          await turnEnded();
          expect(reader.seen()).toEqual(range(start + 1, start + count));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('logs a gap that it has repaired at debug, and nothing if there was none', async () => {
    const room = await createRoom();
    const lines: unknown[] = [];
    const feed = await activeFeed(room, (fields, event) => lines.push([event, fields]));
    const start = feed.position;
    feed.take(await appendElsewhere(room, 1));
    await feed.refresh();
    expect(lines).toEqual([]);
    feed.take((await appendElsewhere(room, 3)).slice(-1));
    await feed.refresh();
    expect(lines).toEqual([['gap repaired', { room, after: start + 1, upTo: start + 4 }]]);
  });

  it('skips an entry of an unknown kind, which a newer node has stored', async () => {
    const room = await createRoom();
    const failures: unknown[] = [];
    const feed = await activeFeed(room, undefined, (error) => failures.push(error));
    const start = feed.position;
    const [live, behind] = [new Reader(owner), new Reader(owner)];
    feed.join(live);
    await appendElsewhere(room, 3);
    await database.sequelize.query(
      `UPDATE messages SET kind = 'poll' WHERE room_id = ${room} AND seq = ${start + 2}`,
    );
    feed.headFound(start + 3);
    await feed.refresh();
    feed.join(behind, start);
    await until(() => behind.seen().at(-1) === start + 3);
    expect(live.seen()).toEqual([start + 1, start + 3]);
    expect(failures).toEqual([]);
  });

  it.each([
    ['through the broker', (feed: Feed, unknown: Entry) => feed.take([unknown])],
    ['in the log', (feed: Feed, { seq }: Entry) => feed.headFound(seq)],
  ])('reads the rules anew at an entry of an unknown kind that it finds %s', async (_, find) => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const start = feed.position;
    const [stays, goes] = [new Reader(owner), new Reader(member)];
    feed.join(stays);
    feed.join(goes);
    feed.take(await appendElsewhere(room, 1));
    const { seq, ...revocation } = await revoke(room);
    await database.sequelize.query(
      `UPDATE messages SET kind = 'transfer' WHERE room_id = ${room} AND seq = ${seq}`,
    );

    find(feed, { ...revocation, seq, kind: 'transfer' as Entry['kind'] });
    await until(() => goes.losses.length > 0);
    feed.take(await appendElsewhere(room, 1));
    await turnEnded();

    expect(goes.seen()).toEqual([start + 1]);
    expect(goes.losses).toEqual(['REVOKED']);
    expect(stays.seen()).toEqual([start + 1, start + 3]);
    expect(feed.permits(member)).toBe(false);
    const { userUUID: emitter } = owner;
    const draft = { roomId: room, kind: 'message', emitter, content: 'on', ref: null } as const;
    expect(await store.log.append(feed, owner, draft)).toMatchObject({ seq: start + 4 });
  });

  it('delivers entries that arrive between subscription and activation', async () => {
    const room = await createRoom();
    const state = await store.log.state(room);
    if (state === undefined) throw new Error('no such room');
    const feed = createFeed(room);
    const entries = await appendElsewhere(room, 5);
    feed.take(entries);
    feed.activate(state);
    expect(feed.position).toBe(state.head + 5);
  });

  it('gives a joining subscriber no earlier entry, and a leaving one every earlier entry', async () => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const start = feed.position;
    const [early, late] = [new Reader(owner), new Reader(owner)];
    feed.join(early);
    const [first, second] = [await appendElsewhere(room, 1), await appendElsewhere(room, 1)];
    feed.take(first);
    feed.join(late);
    void feed.leave(early);
    feed.take(second);
    await turnEnded();
    expect(early.seen()).toEqual([start + 1]);
    expect(late.seen()).toEqual([start + 2]);
  });

  it('applies a revocation after the entry before it, and before the entry after it', async () => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const start = feed.position;
    const [stays, goes] = [new Reader(owner), new Reader(member)];
    feed.join(stays);
    feed.join(goes);
    const before = await appendElsewhere(room, 2);
    const revocation = await revoke(room);
    const after = await appendElsewhere(room, 2);
    expect(feed.permits(member)).toBe(true);
    feed.take([...after, revocation, ...before.toReversed()]);
    await turnEnded();
    expect(goes.seen()).toEqual([start + 1, start + 2]);
    expect(goes.losses).toEqual(['REVOKED']);
    expect(stays.seen()).toEqual([start + 1, start + 2, start + 4, start + 5]);
    expect(feed.permits(member)).toBe(false);
    expect(() => {
      feed.join(goes);
    }).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }));
  });

  it('gives pages to a subscriber that is behind, never beyond the feed’s own position', async () => {
    const room = await createRoom();
    const entries = await appendElsewhere(room, 1_200);
    const feed = await activeFeed(room);
    const first = entries[0]?.seq ?? 0;
    const revocation = await revoke(room);
    await appendElsewhere(room, 10);
    // The feed knows neither the revocation nor the entries after it.
    const goes = new Reader(member);
    feed.join(goes, first - 1);
    const seen: number[] = [];
    await until(() => seen.push(...goes.seen()) === 1_200);
    expect(seen).toEqual(range(first, first + 1_199));
    feed.take([revocation]);
    expect(goes.losses).toEqual(['REVOKED']);
    await feed.refresh();
    await turnEnded();
    expect(goes.seen()).toEqual([]);
  });

  it('joins pages and live entries with none missing and none twice', async () => {
    const room = await createRoom();
    const entries = await appendElsewhere(room, 1_200);
    const first = entries[0]?.seq ?? 0;
    const feed = await activeFeed(room);
    const reader = new Reader(owner);
    feed.join(reader, first - 1);
    for (let batch = 0; batch < 20; batch += 1) feed.take(await appendElsewhere(room, 5));
    const seen: number[] = [];
    await until(() => seen.push(...reader.seen()) >= 1_300);
    expect(seen).toEqual(range(first, first + 1_299));
  });

  it('in a gap gives a text that was set after a revocation only to those who stay', async () => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const [stays, goes] = [new Reader(owner), new Reader(member)];
    feed.join(stays);
    feed.join(goes);
    const [before] = await appendElsewhere(room, 2);
    const seq = (before?.seq ?? 0) + 1;
    await revoke(room);
    await editElsewhere(room, seq, 'for those who stay');
    await appendElsewhere(room, 1);

    await feed.refresh();

    const seen: MessageData[] = [];
    await until(() => seen.push(...stays.messages()) === 3);
    expect(seen.map((message) => message.seq)).toEqual([seq - 1, seq, seq + 3]);
    expect(seen[1]?.content).toBe('for those who stay');
    expect(goes.losses).toEqual(['REVOKED']);
    expect(goes.seen()).toEqual([seq - 1]);
  });

  it('in a page gives a text that was set after a revocation only to those who stay', async () => {
    const room = await createRoom();
    const [first, second] = await appendElsewhere(room, 2);
    if (first === undefined || second === undefined) throw new Error('nothing was stored');
    const feed = await activeFeed(room);
    await revoke(room);
    await editElsewhere(room, second.seq, 'for those who stay');
    // The feed knows neither the revocation nor the edit.
    const [stays, goes] = [new Reader(owner), new Reader(member)];
    feed.join(stays, first.seq - 1);
    feed.join(goes, first.seq - 1);

    const seen: MessageData[] = [];
    await until(() => seen.push(...stays.messages()) === 2);
    expect(seen.map(({ seq, content }) => [seq, content])).toEqual([
      [first.seq, first.content],
      [second.seq, 'for those who stay'],
    ]);
    expect(goes.losses).toEqual(['REVOKED']);
    expect(goes.seen()).toEqual([first.seq]);
  });

  it('shows nothing of a deleted message, in a gap or in a page', async () => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const { position } = feed;
    const [live, behind] = [new Reader(owner), new Reader(owner)];
    feed.join(live);
    await appendElsewhere(room, 1);
    await editElsewhere(room, position + 1, 'a secret');
    await store.changes.remove(owner, room, { target: position + 1 });
    await appendElsewhere(room, 1);

    await feed.refresh();
    feed.join(behind, position);

    await until(() => behind.seen().at(-1) === position + 4);
    await turnEnded();
    expect(live.seen()).toEqual([position + 4]);
  });

  it('shows nothing of a message in pages that were read before it was deleted', async () => {
    const room = await createRoom();
    const [message] = await appendElsewhere(room, 1);
    const before = (message?.seq ?? 0) - 1;
    const feed = await activeFeed(room);
    const crowd = [1, 2, 3].map(() => new Reader(owner));
    for (const reader of crowd) feed.join(reader, before);
    for (const reader of crowd) await until(() => reader.seen().at(-1) === before + 1);
    const { entry } = await store.changes.remove(owner, room, { target: before + 1 });
    if (entry === undefined) throw new Error('nothing was deleted');
    feed.take([entry]);

    const late = new Reader(owner);
    feed.join(late, before);
    feed.take(await appendElsewhere(room, 1));

    const seen: number[] = [];
    await until(() => seen.push(...late.seen()) > 0);
    expect(seen).toEqual([before + 3]);
  });

  it('admits nobody once its room is deleted', async () => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const reader = new Reader(owner);
    feed.join(reader);
    feed.end('ROOM_DELETED');
    expect(reader.losses).toEqual(['ROOM_DELETED']);
    expect(feed.permits(owner)).toBe(false);
  });

  it('asks for a comparison if entries appended here have numbers that it has had', async () => {
    const room = await createRoom();
    const [entry] = await appendElsewhere(room, 1);
    if (entry === undefined) throw new Error('nothing was stored');
    const state = await store.log.state(room);
    if (state === undefined) throw new Error('no such room');
    let asked = 0;
    const feed = createFeed(room, () => {
      asked += 1;
    });
    feed.activate(state);
    void feed.stored([{ ...entry, seq: entry.seq + 1 }]);
    expect(asked).toBe(0);
    void feed.stored([entry]);
    expect(asked).toBe(1);
  });

  it('delivers nothing and asks for a comparison if its last entry is another one in the log', async () => {
    const room = await createRoom();
    await appendElsewhere(room, 20);
    for (const isActivatedThere of [true, false]) {
      const state = await store.log.state(room);
      if (state === undefined) throw new Error('no such room');
      let asked = 0;
      const feed = createFeed(room, () => {
        asked += 1;
      });
      feed.activate(state);
      if (!isActivatedThere) feed.take(await appendElsewhere(room, 1));
      const { position } = feed;
      const reader = new Reader(owner);
      feed.join(reader);
      await setBack(room, position - 5);
      await appendElsewhere(room, 10);

      feed.headFound(position + 5);
      await feed.refresh();
      await turnEnded();

      expect(reader.seen()).toEqual([]);
      expect(feed.position).toBe(position);
      expect(feed.unverified).toMatchObject({ seq: position });
      expect(asked).toBe(1);
    }
  });

  it('delivers nothing more once newer entries came with numbers that it has had, unless the log is the same', async () => {
    const room = await createRoom();
    const before = await appendElsewhere(room, 20);
    for (const wentBack of [false, true]) {
      const feed = await activeFeed(room);
      const { position } = feed;
      const reader = new Reader(owner);
      feed.join(reader);
      if (wentBack) await setBack(room, position - 2);
      else await appendElsewhere(room, 1);
      // The clock of the database may have been set back, too: then an earlier entry has a later date.
      const newer = wentBack
        ? await appendElsewhere(room, 2)
        : before.slice(0, 1).map((entry) => ({ ...entry, createdAt: '2100-01-01T00:00:00.000Z' }));
      feed.take(newer);
      expect(feed.unverified).toMatchObject({ seq: position });
      const next = await appendElsewhere(room, 1);
      feed.take(next.map((entry) => ({ ...entry, seq: position + 1 })));
      expect(feed.position).toBe(position);

      await feed.refresh();
      await turnEnded();

      expect(reader.seen()).toEqual(wentBack ? [] : [position + 1, position + 2]);
      expect(feed.unverified === undefined).toBe(!wentBack);
    }
  });

  it('continues if its last entry was deleted from the log, and reads to the end over several pages', async () => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const { position } = feed;
    await appendElsewhere(room, 1_000);
    await database.sequelize.query(
      `DELETE FROM messages WHERE room_id = ${room} AND seq <= ${position}`,
    );

    await feed.refresh();

    expect(feed.position).toBe(position + 1_000);
    expect(feed.unverified).toBeUndefined();
  });

  it('is lost if entries that it has not taken were deleted, because they are old', async () => {
    const room = await createRoom();
    let losses = 0;
    const feed = createFeed(room, undefined, undefined, undefined, () => (losses += 1));
    const state = await store.log.state(room);
    if (state === undefined) throw new Error('no such room');
    feed.activate(state);
    const last = (await appendElsewhere(room, 600)).at(-1)?.seq ?? 0;
    const purge = async (horizon: number): Promise<void> => {
      await database.sequelize.query('DELETE FROM messages WHERE room_id = $1 AND seq <= $2', {
        bind: [room, horizon],
      });
      await database.sequelize.query('UPDATE rooms SET horizon = $2 WHERE id = $1', {
        bind: [room, horizon],
      });
    };

    // Its last entry is one that it needs no more.
    await purge(state.head);
    await feed.refresh();
    expect([feed.position, losses]).toEqual([last, 0]);

    const next = (await appendElsewhere(room, 600)).at(-1)?.seq ?? 0;
    for (const horizon of [last + 1, next]) {
      await purge(horizon);
      await feed.refresh();
      expect(feed.position).toBe(last);
    }
    expect(losses).toBe(2);
  });

  it('takes and promises nothing after its log went back', async () => {
    const room = await createRoom();
    const feed = await activeFeed(room);
    const reader = new Reader(owner);
    feed.join(reader);
    expect(feed.refusal(owner)).toBeUndefined();
    feed.end('LOG_RESET');
    expect(reader.losses).toEqual(['LOG_RESET']);
    expect(feed.refusal(owner)).toMatchObject({ code: 'UNAVAILABLE' });
    const { position } = feed;
    feed.take(await appendElsewhere(room, 1));
    expect(feed.position).toBe(position);
  });
});

/** Waits until the frames of taken entries are written, and the answers after them. */
async function turnEnded(): Promise<void> {
  await new Promise(setImmediate);
  await new Promise(setImmediate);
}

/** Like `vi.waitUntil`, but checks after each turn of the event loop, so that a reader takes frames at full speed. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('it did not come about');
    await new Promise(setImmediate);
  }
}
