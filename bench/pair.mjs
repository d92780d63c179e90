/** @typedef {import('./run.mjs').Turn} Turn */
/** @typedef {'this' | 'other'} Build */
/** @typedef {{ build: Build, turns: Turn[] }} Side what one server showed, in the order of the rounds */

/** Rounds that don't count: each build compiles in 20 s of load, as in the cost of the big room. */
const WARM_UP_ROUNDS = 4;

/** @type {Record<keyof Turn, string>} */
const LABELS = { cpuMicros: 'CPU, µs', p50: 'p50, ms', p99: 'p99, ms' };

/**
 * Compares two builds by one measure. Both servers run, and get the same load in turn; then once more with the
 * builds exchanged, because the server that is started first costs about 2 % more CPU, with either build.
 *
 * @param {string} name of the measure
 * @param {import('./run.mjs').Pair} pair
 * @param {{
 *   builds: Record<Build, string>, rounds: number, seconds: number,
 *   start: import('./run.mjs').Context['start'],
 * }} options `builds`: their main files
 * @returns {Promise<Side[][]>} for each order of starting the two sides, the first one first
 */
export async function runPair(name, pair, { builds, rounds, seconds, start }) {
  const slots = [];
  for (const order of /** @type {Build[][]} */ ([
    ['this', 'other'],
    ['other', 'this'],
  ])) {
    const sides = [];
    for (const build of order) {
      const database = `${name}_${order.join('_')}_${build}`;
      const server = await start('nano', { database, build: builds[build] });
      const load = await pair.load(server);
      sides.push({ build, server, load, turns: /** @type {Turn[]} */ ([]) });
    }
    for (let round = 0; round < WARM_UP_ROUNDS + rounds; round++) {
      for (const { load, turns } of round % 2 ? sides.toReversed() : sides) {
        const turn = await load.turn(seconds);
        if (round >= WARM_UP_ROUNDS) turns.push(turn);
      }
    }
    for (const { load } of sides) load.close();
    await Promise.all(sides.map(({ server }) => server.stop()));
    slots.push(sides);
  }
  return slots;
}

/**
 * The ratios of this build's numbers to the other's, each of two turns that followed each other.
 *
 * @param {Side[][]} slots
 * @param {keyof Turn} key
 */
export function compare(slots, key) {
  const orders = slots.map((sides) => {
    /** @param {Build} build */
    const valuesOf = (build) =>
      sides.find((side) => side.build === build)?.turns.map((turn) => turn[key]) ?? [];
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

/** Prints what `compare` finds for each number of a turn. @param {Side[][]} slots */
export function printPair(slots) {
  const cells = ['this', 'other', 'RATIO', 'min', '25 %', '50 %', '75 %', 'max'];
  console.log(lineOf('', cells));
  for (const key of /** @type {(keyof Turn)[]} */ (Object.keys(LABELS))) {
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
