import { startCount } from './load/world.mjs';

/** @typedef {'this' | 'other'} Build */
/** @typedef {{ cpuMicros: number, p50: number, p99: number }} Round CPU of a delivery or a client; latencies in ms */
/** @typedef {{ build: Build, rounds: Round[] }} Side one server */

/** Rounds that don't count, in which V8 compiles: 20 s of load, as in the cost of the big room. */
const WARM_UP_ROUNDS = 20;
/**
 * So short that other work on the machine slows down both servers alike. At a load average of 13 on two cores, the
 * quartiles of chat's CPU ratio were 0.94 and 1.13; with turns of 1.5 s they were 0.80 and 1.23.
 */
const TURN_SECONDS = 0.1;

/** @type {Record<keyof Round, string>} */
const LABELS = { cpuMicros: 'CPU, µs', p50: 'p50, ms', p99: 'p99, ms' };

/**
 * Compares two builds by one measure. Both servers run, and get the same load in turn; then once more with the
 * builds exchanged, because a server's place may change its CPU time by about 2 %.
 *
 * @param {string} name of the measure
 * @param {NonNullable<import('./run.mjs').Measure['load']>} load
 * @param {{
 *   builds: Record<Build, string>, rounds: number, seconds: number,
 *   start: import('./run.mjs').Context['start'],
 * }} options `builds`: their main files; `seconds` of load for each server in a round
 * @returns {Promise<Side[][]>} for each order of starting the two sides, the first one first
 */
export async function runPair(name, load, { builds, rounds, seconds, start }) {
  const slots = [];
  for (const order of /** @type {Build[][]} */ ([
    ['this', 'other'],
    ['other', 'this'],
  ])) {
    const sides = [];
    for (const build of order) {
      const database = `${name}_${order.join('_')}_${build}`;
      const server = await start('nano', { database, build: builds[build] });
      sides.push({ build, server, load: await load(server), rounds: /** @type {Round[]} */ ([]) });
    }
    for (let round = 0; round < WARM_UP_ROUNDS + rounds; round++) {
      const counts = sides.map((side) => ({ side, stop: startCount(side.load) }));
      for (let turn = 0; turn < seconds / TURN_SECONDS; turn++) {
        for (const side of turn % 2 ? sides.toReversed() : sides) {
          await side.load.send(TURN_SECONDS);
        }
      }
      for (const { side, stop } of counts) {
        const { cpuMicros, p50, p99 } = stop();
        if (round >= WARM_UP_ROUNDS) side.rounds.push({ cpuMicros, p50, p99 });
      }
    }
    for (const side of sides) side.load.close();
    await Promise.all(sides.map(({ server }) => server.stop()));
    slots.push(sides);
  }
  return slots;
}

/**
 * The ratios of this build's numbers to the other's in each round.
 *
 * @param {Side[][]} slots
 * @param {keyof Round} key
 */
export function compare(slots, key) {
  const orders = slots.map((sides) => {
    /** @param {Build} build */
    const valuesOf = (build) =>
      sides.find((side) => side.build === build)?.rounds.map((round) => round[key]) ?? [];
    const [ours, theirs] = [valuesOf('this'), valuesOf('other')];
    const ratios = ours.map((value, i) => value / (theirs[i] ?? NaN));
    return {
      first: sides[0]?.build,
      ours: quantile(ours, 0.5),
      theirs: quantile(theirs, 0.5),
      quartiles: [0, 0.25, 0.5, 0.75, 1].map((share) => quantile(ratios, share)),
    };
  });
  const product = orders.reduce((product, { quartiles }) => product * (quartiles[2] ?? NaN), 1);
  return { orders, ratio: product ** (1 / orders.length) };
}

/** Prints what `compare` finds for each number of a round. @param {Side[][]} slots */
export function printPair(slots) {
  const cells = ['this', 'other', 'RATIO', 'min', '25 %', '50 %', '75 %', 'max'];
  console.log(lineOf('', cells));
  for (const key of /** @type {(keyof Round)[]} */ (Object.keys(LABELS))) {
    const { orders, ratio } = compare(slots, key);
    console.log(lineOf(LABELS[key], ['', '', ratio.toFixed(3)]));
    for (const { first, ours, theirs, quartiles } of orders) {
      const numbers = [
        ours.toFixed(2),
        theirs.toFixed(2),
        '',
        ...quartiles.map((q) => q.toFixed(3)),
      ];
      console.log(lineOf(`  ${first} first`, numbers));
    }
  }
}

/** @param {string} label @param {string[]} cells */
function lineOf(label, cells) {
  return [label.padEnd(16), ...cells.map((cell) => cell.padStart(9))].join('').trimEnd();
}

/** Between two values in proportion. @param {number[]} values @param {number} share */
function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * share;
  const [below = NaN, above = NaN] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return below + (above - below) * (place % 1);
}
