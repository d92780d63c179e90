import { describe, expect, it } from 'vitest';
import { Tally } from '../../bench/load/tally.mjs';
import { compare, runPair, type Build, type Side } from '../../bench/pair.mjs';

const BUILDS = { this: '/this/main.js', other: '/other/main.js' };
/** Rounds of `runPair` that don't count. */
const WARM_UP_ROUNDS = 20;

/**
 * Runs a comparison whose servers do nothing.
 *
 * @returns what `runPair` returned, and what it did, in order
 */
async function runWith(options: { rounds: number; seconds: number }) {
  const log: string[] = [];
  const started: Build[] = [];
  const slots = await runPair(
    'chat',
    (server) => {
      const build = started[server.port];
      return Promise.resolve({
        server,
        tallies: [new Tally()],
        send() {
          log.push(`send to ${build}`);
          return Promise.resolve(1);
        },
        close: () => log.push(`close ${build}`),
      });
    },
    {
      ...options,
      builds: BUILDS,
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
  it('puts load on both builds in alternating order, and exchanges their places', async () => {
    const { slots, log } = await runWith({ rounds: 1, seconds: 0.2 });
    const turns = (first: Build, second: Build) =>
      Array.from({ length: WARM_UP_ROUNDS + 1 }, () =>
        [first, second, second, first].map((build) => `send to ${build}`),
      ).flat();
    expect(log).toEqual([
      'start this on chat_this_other_this',
      'start other on chat_this_other_other',
      ...turns('this', 'other'),
      'close this',
      'close other',
      'stop this',
      'stop other',
      'start other on chat_other_this_other',
      'start this on chat_other_this_this',
      ...turns('other', 'this'),
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

  it('counts no round in which the builds warm up', async () => {
    const { slots } = await runWith({ rounds: 3, seconds: 0.1 });
    expect(slots.flat().map(({ rounds }) => rounds.length)).toEqual([3, 3, 3, 3]);
  });
});

describe('compare', () => {
  const sideOf = (build: Build, costs: number[]): Side => ({
    build,
    rounds: costs.map((cpuMicros) => ({ cpuMicros, p50: 1, p99: 2 })),
  });

  it('finds the same cost for two equal builds if the first server costs more', () => {
    const { orders, ratio } = compare(
      [
        [sideOf('this', [102, 102]), sideOf('other', [100, 100])],
        [sideOf('other', [102, 102]), sideOf('this', [100, 100])],
      ],
      'cpuMicros',
    );
    expect(orders.map(({ quartiles }) => quartiles[2])).toEqual([1.02, 100 / 102]);
    expect(ratio).toBeCloseTo(1, 10);
  });

  it('compares the builds round by round, so a slow round changes no ratio', () => {
    const { orders } = compare(
      [[sideOf('this', [110, 330, 110]), sideOf('other', [100, 300, 100])]],
      'cpuMicros',
    );
    expect(orders[0]?.quartiles).toEqual([1.1, 1.1, 1.1, 1.1, 1.1]);
  });

  it('gives the smallest ratio, the quartiles and the largest', () => {
    const { orders } = compare(
      [[sideOf('other', [1, 1, 1, 1]), sideOf('this', [4, 1, 3, 2])]],
      'cpuMicros',
    );
    expect(orders).toEqual([
      { first: 'other', ours: 2.5, theirs: 1, quartiles: [1, 1.75, 2.5, 3.25, 4] },
    ]);
  });
});
