import { describe, expect, it } from 'vitest';
import { compare, runPair, type Build } from '../../bench/pair.mjs';

const BUILDS = { this: '/this/main.js', other: '/other/main.js' };

/**
 * Runs a comparison in which each turn's CPU time is what `costOf` says.
 *
 * @returns what `runPair` found, and the builds in the order in which they started, got turns, and stopped
 */
async function runWith(rounds: number, costOf: (build: Build, place: number) => number) {
  const log: string[] = [];
  const started: Build[] = [];
  const slots = await runPair(
    'chat',
    {
      rounds,
      load(server) {
        const build = started[server.port] ?? 'this';
        const place = server.port % 2;
        return Promise.resolve({
          turn(seconds) {
            log.push(`${build} ${seconds} s`);
            return Promise.resolve({ cpuMicros: costOf(build, place), p50: 1, p99: 2 });
          },
          close: () => log.push(`close ${build}`),
        });
      },
    },
    {
      builds: BUILDS,
      rounds,
      seconds: 4,
      start(kind, { build: path = '', database = '' } = {}) {
        const build = path === BUILDS.this ? 'this' : 'other';
        log.push(`start ${build} on ${database}`);
        const port = started.push(build) - 1;
        const stop = () => Promise.resolve(void log.push(`stop ${build}`));
        return Promise.resolve({ kind, port, pid: 0, hasEnded: () => false, stop });
      },
    },
  );
  return { slots, log };
}

describe('runPair', () => {
  it('gives both builds turns in alternating order, and exchanges their places', async () => {
    const { slots, log } = await runWith(1, () => 1);
    const turnsOf = (first: Build, second: Build) =>
      [first, second, second, first, first, second, second, first, first, second].map(
        (build) => `${build} 4 s`,
      );
    expect(log).toEqual([
      'start this on chat_this_other_this',
      'start other on chat_this_other_other',
      ...turnsOf('this', 'other'),
      'close this',
      'close other',
      'stop this',
      'stop other',
      'start other on chat_other_this_other',
      'start this on chat_other_this_this',
      ...turnsOf('other', 'this'),
      'close other',
      'close this',
      'stop other',
      'stop this',
    ]);
    expect(slots.map((sides) => sides.map(({ build }) => build))).toEqual([
      ['this', 'other'],
      ['other', 'this'],
    ]);
  });

  it('counts no turn in which the builds warm up', async () => {
    const { slots } = await runWith(3, () => 1);
    expect(slots.flat().map(({ turns }) => turns.length)).toEqual([3, 3, 3, 3]);
  });
});

describe('compare', () => {
  it('finds the same cost for two equal builds if the first server costs more', async () => {
    const { slots } = await runWith(4, (_, place) => (place === 0 ? 102 : 100));
    const { orders, ratio } = compare(slots, 'cpuMicros');
    expect(orders.map(({ quartiles }) => quartiles[2])).toEqual([1.02, 100 / 102]);
    expect(ratio).toBeCloseTo(1, 10);
  });

  it('pairs turns that followed each other, so a slow minute changes no ratio', async () => {
    let turns = 0;
    const { slots } = await runWith(4, (build) => {
      const isSlow = Math.floor(turns++ / 2) % 3 === 2;
      return (isSlow ? 300 : 100) * (build === 'this' ? 1.1 : 1);
    });
    const { orders, ratio } = compare(slots, 'cpuMicros');
    for (const { quartiles } of orders) {
      for (const quartile of quartiles) expect(quartile).toBeCloseTo(1.1, 10);
    }
    expect(ratio).toBeCloseTo(1.1, 10);
  });

  it('gives the smallest ratio, the quartiles and the largest', () => {
    const turnsOf = (values: number[]) => values.map((p50) => ({ cpuMicros: 1, p50, p99: 1 }));
    const { orders } = compare(
      [
        [
          { build: 'other', turns: turnsOf([1, 1, 1, 1]) },
          { build: 'this', turns: turnsOf([4, 1, 3, 2]) },
        ],
      ],
      'p50',
    );
    expect(orders).toEqual([
      { first: 'other', ours: 2.5, theirs: 1, quartiles: [1, 1.75, 2.5, 3.25, 4] },
    ]);
  });
});
