import { expect, it } from 'vitest';
import { FloodGuard, type Measure } from '../../../src/chat/v2/flood-guard.js';

/** The measures against commands that were refused at these times, in milliseconds. */
function measures(times: readonly number[], retryAfterMs = 200): [at: number, Measure][] {
  const guard = new FloodGuard();
  return times
    .map((at): [number, Measure] => [at, guard.refused(retryAfterMs, at)])
    .filter(([, measure]) => measure !== undefined);
}

/** Times from `from` on, `count` of them, with as many milliseconds between. */
const series = (from: number, count: number, everyMs: number): number[] =>
  Array.from({ length: count }, (_, n) => from + n * everyMs);

it('a client that waits as it is told is left alone', () => {
  expect(measures(series(0, 1_000, 200))).toEqual([]);
});

it('so is one that ignores that less than 20 times a second', () => {
  expect(measures(series(0, 1_000, 60))).toEqual([]);
});

it('the twentieth command in spite of it pauses the socket, and what was taken before the pause does not count', () => {
  expect(measures(series(0, 200, 1))).toEqual([[20, { pauseMs: 1_000 }]]);
});

it('the tenth pause in a row closes the socket', () => {
  const taken = measures(series(0, 12_000, 1)).map(([, measure]) => measure);
  expect(taken.indexOf('close')).toBe(9);
});

it('pauses are counted anew after ten calm seconds', () => {
  const bursts = Array.from({ length: 30 }, (_, n) => series(n * 11_100, 30, 1)).flat();
  expect(measures(bursts)).toEqual(
    Array.from({ length: 30 }, (_, n) => [n * 11_100 + 20, { pauseMs: 1_000 }]),
  );
});
