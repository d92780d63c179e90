import { expect, it } from 'vitest';
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

it('those who take tokens in advance wait one after the other', () => {
  const buckets = new TokenBuckets<string>({ perSecond: 10, burst: 1 });
  const waits = [1, 2, 3].map(() => {
    const wait = buckets.waitMs('ana', 0);
    buckets.take('ana', 0);
    return wait;
  });
  expect(waits).toEqual([0, 100, 200]);
});

it('full buckets are forgotten, others are not', () => {
  const buckets = new TokenBuckets<number>({ perSecond: 1, burst: 10 });
  for (let key = 0; key < 1_000; key += 1) buckets.take(key, 0);
  for (let taken = 0; taken < 30; taken += 1) buckets.take(-1, 0);
  buckets.take(-2, 10_000);
  expect(buckets.size).toBe(2);
  expect(buckets.waitMs(-1, 10_000)).toBe(11_000);
});
