import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Feed } from '../../src/feeds/feed.js';
import { createHeadPoll, type HeadPoll } from '../../src/feeds/head-poll.js';
import { createFlushQueue } from '../../src/feeds/flush-queue.js';
import { createLogger } from '../../src/logger.js';
import type { Entry } from '../../src/store/entry.js';
import type { Log } from '../../src/store/log.js';
import { deferred } from '../harness/deferred.js';
import { NO_REVOCATIONS } from '../harness/store-hosts.js';

const ROOM = 7;
const SLOW_MS = 10_000;
const FAST_MS = 250;

/** The log of one room: its head, and the behaviour of its reads. */
let head: number | undefined;
/** The date of its entries. */
let createdAt: string;
let answer: () => Promise<void>;
let comparisons: number;
let receivesAll: boolean;
let poll: HeadPoll;
let feed: Feed;
const deleted: number[] = [];
const logged: string[] = [];
const renew = vi.fn<() => Promise<void>>(() => Promise.resolve());

const log = {
  async heads() {
    comparisons += 1;
    const found = head;
    await answer();
    return new Map(found === undefined ? [] : [[ROOM, found]]);
  },
  read: (_, { after }) =>
    Promise.resolve(
      Array.from({ length: (head ?? 0) - after }, (__, at) => message(after + at + 1)),
    ),
  horizon: () => Promise.resolve(0),
} as Pick<Log, 'heads' | 'read' | 'horizon'> as Log;

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'performance'],
  });
  [head, comparisons, receivesAll] = [1, 0, true];
  createdAt = '2026-01-15T09:20:00.000Z';
  answer = () => Promise.resolve();
  deleted.length = 0;
  logged.length = 0;
  renew.mockClear();
  const logger = createLogger({ level: 'silent', production: true });
  for (const level of ['info', 'warn', 'error'] as const) {
    logger[level] = (_: unknown, text?: string) => logged.push(`${level}: ${text}`);
  }
  feed = new Feed({
    roomId: ROOM,
    log,
    flushQueue: createFlushQueue(),
    publish: () => undefined,
    onOldSeqs: () => void poll.compare(),
    onLost: () => undefined,
    onReadFailure: () => undefined,
  });
  feed.activate({
    id: ROOM,
    uuid: '',
    head: 1,
    rulesHead: 1,
    rulesDate: null,
    headCreatedAt: createdAt,
    access: {
      type: 'group',
      entityOwner: '',
      levelAdmin: 0,
      maxEntityRules: 0,
      rules: new Map(),
    },
  });
  poll = createHeadPoll({
    log,
    epoch: { uuid: '', confirm: () => Promise.resolve(), renew, onChange: () => undefined },
    revocations: NO_REVOCATIONS,
    activeFeeds: () => [feed],
    onDeleted: ({ roomId }) => deleted.push(roomId),
    receivesAll: () => receivesAll,
    limits: {
      storeTimeoutMs: 5_000,
      pollIntervalMs: SLOW_MS,
      pollIntervalBrokerDownMs: FAST_MS,
    },
    logger,
  });
});
afterEach(async () => {
  await poll.close();
  vi.useRealTimers();
});

async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= FAST_MS) {
    await vi.advanceTimersByTimeAsync(Math.min(left, FAST_MS));
  }
}

/** The number of comparisons within a time. */
async function comparisonsIn(ms: number): Promise<number> {
  const before = comparisons;
  await pass(ms);
  return comparisons - before;
}

function message(seq: number): Entry {
  return {
    roomId: ROOM,
    seq,
    kind: 'message',
    emitter: '5c4f3f0e-2a53-4a3f-8f5a-0d8e8f6f2b11',
    content: 'hi',
    ref: null,
    createdAt,
  };
}

describe('heads are compared', () => {
  it('seldom while all peers are heard, often while one is not', async () => {
    await pass(FAST_MS);
    expect(await comparisonsIn(6 * SLOW_MS)).toBe(6);
    receivesAll = false;
    expect(await comparisonsIn(SLOW_MS)).toBe(SLOW_MS / FAST_MS);
    receivesAll = true;
    await pass(SLOW_MS);
    expect(await comparisonsIn(6 * SLOW_MS)).toBe(6);
  });

  it('often for a minute after an entry was found that no peer published', async () => {
    await pass(FAST_MS);
    head = 3;
    await pass(SLOW_MS + 2_000);
    expect(feed.position).toBe(3);
    expect(await comparisonsIn(10_000)).toBe(10_000 / FAST_MS);
    await pass(50_000);
    expect(await comparisonsIn(6 * SLOW_MS)).toBe(6);
    // The same entry does not count twice; another one does.
    head = 4;
    await pass(SLOW_MS + 2_000);
    expect(await comparisonsIn(10_000)).toBe(10_000 / FAST_MS);
  });

  it('seldom if the found entry was on its way or published', async () => {
    await pass(FAST_MS);
    head = 2;
    await pass(SLOW_MS);
    expect(feed.position).toBe(2);
    feed.take([message(2)]);
    head = 3;
    await pass(SLOW_MS);
    feed.headAnnounced(3);
    await pass(FAST_MS);
    expect(await comparisonsIn(6 * SLOW_MS)).toBe(6);
  });

  it('again at once after a failure, with one log line for the outage and one for its end', async () => {
    await pass(FAST_MS);
    answer = () => Promise.reject(new Error('no'));
    await pass(SLOW_MS);
    expect(await comparisonsIn(5_000)).toBe(5_000 / FAST_MS);
    answer = () => Promise.resolve();
    head = 2;
    await pass(FAST_MS);
    expect(feed.position).toBe(2);
    expect(logged).toEqual(['warn: log read failed', 'info: log reads succeed again']);
  });

  it('at once after another read fails', async () => {
    await pass(FAST_MS);
    poll.readFailed(new Error('a page'));
    expect(await comparisonsIn(FAST_MS)).toBe(1);
  });

  it('once more if asked for during a comparison', async () => {
    const first = deferred();
    answer = () => first.promise;
    const before = comparisons;
    const running = poll.compare();
    await vi.advanceTimersByTimeAsync(0);
    const asked = [poll.compare(), poll.compare()];
    answer = () => Promise.resolve();
    first.resolve();
    await running;
    expect(comparisons - before).toBe(1);
    await Promise.all(asked);
    expect(comparisons - before).toBe(2);
  });

  it('with pauses, if the database is slow', async () => {
    receivesAll = false;
    answer = () =>
      new Promise((resolve) => {
        setTimeout(resolve, 400);
      });
    await pass(2_000);
    // Each takes 400 ms, and the pause before the next is at least 800 ms.
    expect(await comparisonsIn(12_000)).toBeLessThanOrEqual(15);
    expect(await comparisonsIn(12_000)).toBeGreaterThanOrEqual(8);
  });

  it('so that a missing room counts as deleted, and a lower head as another log', async () => {
    head = undefined;
    await pass(FAST_MS);
    expect(deleted).toEqual([ROOM]);
    head = 0;
    await pass(SLOW_MS);
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it('at once if peers store newer entries under older numbers: it is another log, wherever its head is', async () => {
    await pass(FAST_MS);
    // Restored to 0, and written to by others up to 5.
    head = 5;
    createdAt = '2026-01-15T09:40:00.000Z';
    feed.take([message(1), message(2)]);
    await pass(FAST_MS);
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it('so that a head beyond a feed is another log if the feed’s last entry differs', async () => {
    await pass(FAST_MS);
    // Restored to 0, and written to by others up to 5, between two comparisons and without a peer message.
    head = 5;
    createdAt = '2026-01-15T09:40:00.000Z';
    await pass(SLOW_MS);
    expect(renew).toHaveBeenCalledTimes(1);
    expect(feed.position).toBe(1);
  });

  it('and it is the same log if entries only come twice, or the database’s clock was set back', async () => {
    await pass(FAST_MS);
    feed.take([message(1)]);
    feed.take([{ ...message(1), createdAt: '2026-01-15T10:20:00.000Z' }]);
    await pass(SLOW_MS);
    expect(renew).not.toHaveBeenCalled();
  });
});
