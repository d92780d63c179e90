import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TokenBuckets } from '../../src/limits/token-buckets.js';

it('a bucket gives its burst at once, then tokens as it gains them', () => {
  const buckets = new TokenBuckets<string>({ perSecond: 5, burst: 3 });
  for (let taken = 0; taken < 3; taken += 1) {
    expect(buckets.waitMs('ana', 0)).toBe(0);
    buckets.take('ana', 0);
  }
  expect(buckets.waitMs('ana', 0)).toBe(200);
  expect(buckets.waitMs('ana', 150)).toBe(50);
  expect(buckets.waitMs('ben', 0)).toBe(0);
  buckets.take('ana', 200);
  expect(buckets.waitMs('ana', 200)).toBe(200);
});

it('a bucket holds no more than its burst, however long nothing is taken', () => {
  const buckets = new TokenBuckets<string>({ perSecond: 5, burst: 2 });
  buckets.take('ana', 0);
  for (const wait of [0, 0, 200]) {
    expect(buckets.waitMs('ana', 60_000)).toBe(wait);
    buckets.take('ana', 60_000);
  }
});

it('full buckets are forgotten, others are not', () => {
  const buckets = new TokenBuckets<number>({ perSecond: 1, burst: 10 });
  for (let key = 0; key < 1_000; key += 1) buckets.take(key, 0);
  for (let taken = 0; taken < 30; taken += 1) buckets.take(-1, 0);
  buckets.take(-2, 10_000);
  expect(buckets.size).toBe(2);
  expect(buckets.waitMs(-1, 10_000)).toBe(11_000);
});

describe('the queue of a bucket', () => {
  let over: AbortController;
  beforeEach(() => {
    over = new AbortController();
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    over.abort();
    vi.useRealTimers();
  });

  /** Keeps `count` in the queue until the test is over, and returns who had which turn. */
  function keepQueue(buckets: TokenBuckets<string>, count: number): number[] {
    const turns: number[] = [];
    const wait = async (who: number): Promise<void> => {
      while (!over.signal.aborted) {
        await (buckets.turn('room', performance.now()) ?? Promise.resolve());
        turns.push(who);
      }
    };
    for (let who = 0; who < count; who += 1) void wait(who);
    return turns;
  }

  /** Tries to take a token whenever `waitMs` is over, or else each `everyMs`, and returns how often there was one. */
  async function tryFor(
    ms: number,
    buckets: TokenBuckets<string>,
    everyMs?: number,
  ): Promise<{ taken: number; refused: number }> {
    const end = performance.now() + ms;
    let taken = 0;
    let refused = 0;
    while (performance.now() < end) {
      const now = performance.now();
      const waitMs = buckets.waitMs('room', now);
      if (waitMs > 0) {
        refused += 1;
      } else {
        taken += 1;
        buckets.take('room', now);
      }
      await vi.advanceTimersByTimeAsync(everyMs ?? Math.ceil(waitMs) + 1);
    }
    return { taken, refused };
  }

  it('gives the burst at once, then a token as the bucket gains it, in order of arrival', async () => {
    const buckets = new TokenBuckets<string>({ perSecond: 10, burst: 3 });
    const turns = keepQueue(buckets, 5);
    await vi.advanceTimersByTimeAsync(0);
    expect(turns.length).toBe(3);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(turns.length).toBe(13);
    expect(new Set(turns.slice(3, 8)).size).toBe(5);
    expect(turns.slice(8, 13)).toEqual(turns.slice(3, 8));
  });

  it.each([1, 50])(
    'takes no token from somebody who comes when told to, with a burst of %i',
    async (burst) => {
      const buckets = new TokenBuckets<string>({ perSecond: 50, burst });
      const turns = keepQueue(buckets, 14);
      await vi.advanceTimersByTimeAsync(1_000);
      const before = turns.length;
      const { taken, refused } = await tryFor(10_000, buckets);
      const queued = turns.length - before;
      expect(refused).toBeLessThanOrEqual(taken);
      expect(taken).toBeGreaterThan(200);
      expect(queued).toBeGreaterThan(200);
      expect(taken + queued).toBeLessThanOrEqual(500 + burst);
    },
  );

  it('gets half of the tokens beside somebody who takes whatever there is', async () => {
    const buckets = new TokenBuckets<string>({ perSecond: 50, burst: 50 });
    await tryFor(2_000, buckets, 1);
    const turns = keepQueue(buckets, 1);
    const { taken } = await tryFor(10_000, buckets, 1);
    expect(turns.length).toBeGreaterThan(240);
    expect(taken).toBeGreaterThan(240);
  });

  it('ends at once if it is released', async () => {
    const buckets = new TokenBuckets<string>({ perSecond: 1, burst: 1 });
    const turns = [1, 2, 3].map(() => buckets.turn('room', 0));
    buckets.release();
    for (const turn of turns) await turn;
    expect(buckets.turn('room', 0)).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });
});
