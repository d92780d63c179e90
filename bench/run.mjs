#!/usr/bin/env node
// Measures this server beside its peers; README.md of this folder says how.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { drawChart } from './chart.mjs';
import { ceiling, cost } from './measures/big-room.mjs';
import { chat, twoNodes } from './measures/chat.mjs';
import { connecting } from './measures/connecting.mjs';
import { durable } from './measures/durable.mjs';
import { history } from './measures/history.mjs';
import { manyRooms } from './measures/many-rooms.mjs';
import { noise } from './measures/noise.mjs';
import { pageScroll } from './measures/page-scroll.mjs';
import { resume } from './measures/resume.mjs';
import { roomList } from './measures/room-list.mjs';
import { search } from './measures/search.mjs';
import { printPair, runPair } from './pair.mjs';
import { canPin, pinSelf } from './processes.mjs';
import { printProfiles } from './profile.mjs';
import { printTable } from './report.mjs';
import { createServers, problemOfUws } from './servers.mjs';
import { startPostgres, startRedis } from './services.mjs';

/**
 * @typedef {import('./servers.mjs').Kind} Kind
 *
 * @typedef {import('./load/world.mjs').Load} Load
 *
 * @typedef {{ atLeast: number } | { atMost: number } | { times: number, of: Kind }} Target
 *
 * @typedef {{ key: string, label: string, better: 'higher' | 'lower', targets?: Target[] }} Metric
 *
 * @typedef {{
 *   quick: boolean,
 *   seconds: (normal: number, quick: number) => number,
 *   note: (text: string) => void,
 *   start: ReturnType<typeof createServers>['start'],
 *   databaseUrl: (name: string) => Promise<string>,
 * }} Context
 *
 * @typedef {{
 *   name: string, title: string, work: string, kinds: Kind[], metrics: Metric[],
 *   onlyWhenAsked?: boolean,
 *   rounds?: number, // Runs of all servers in turn, 1 by default; the median of each number counts.
 *   run: (kind: Kind, context: Context) => Promise<Record<string, number>>,
 *   load?: (server: import('./servers.mjs').RunningServer) => Promise<Load>, // For `--pair`.
 * }} Measure
 *
 * @typedef {Record<string, Partial<Record<Kind, Record<string, number>>>>} Results by measure and server
 */

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const HERE = fileURLToPath(new URL('.', import.meta.url));
const LOAD_CORE = 1;
const PAIRED_ROUNDS = 40;

/** @type {Measure[]} */
const MEASURES = [
  ceiling,
  cost,
  chat,
  durable,
  connecting,
  twoNodes,
  history,
  resume,
  roomList,
  search,
  manyRooms,
  noise,
  pageScroll,
];

const USAGE = `npm run bench -- [options]

  --only NAME,...   of ${MEASURES.map(({ name }) => name).join(', ')}
  --peers NAME,...  of ws, uws, stored, socketio (or none)
  --quick           short windows, to try it out
  --full            with history, which fills a table with 5,000,000 rows, and page-scroll, which needs Chromium
  --seconds N       the length of each window
  --json FILE       where the results go (bench/results.json)
  --chart FILE      where the chart goes (bench/chart.svg)
  --redraw          only print and draw the results that are there
  --no-pin          leave the processes to the scheduler
  --no-build        take dist/ as it is
  --server BUILD    another build of this server: its folder, or its main file (dist/src/main.js)
  --pair BUILD      compare the server with that build instead, turn by turn: ${MEASURES.flatMap(({ name, load }) => (load ? name : [])).join(', ')}
  --rounds N        rounds of such a comparison, in each order of starting the builds
  --profile DIR     write CPU profiles of this server there, and print where its time went`;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    peers: { type: 'string' },
    quick: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    json: { type: 'string', default: `${HERE}results.json` },
    chart: { type: 'string', default: `${HERE}chart.svg` },
    redraw: { type: 'boolean', default: false },
    'no-pin': { type: 'boolean', default: false },
    'no-build': { type: 'boolean', default: false },
    server: { type: 'string', default: ROOT },
    pair: { type: 'string' },
    rounds: { type: 'string' },
    profile: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (options.help) {
  console.log(USAGE);
} else if (options.redraw) {
  const { results, machine } = JSON.parse(readFileSync(options.json, 'utf8'));
  printTable(MEASURES, results);
  writeFileSync(options.chart, drawChart(results, machine));
} else {
  await main();
}

async function main() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));
  const only = options.only?.split(',');
  const measures = options.pair === undefined ? MEASURES : MEASURES.filter(({ load }) => load);
  const unknown = only?.filter((name) => !measures.some((measure) => measure.name === name));
  if (unknown?.length) throw new Error(`Can't measure: ${unknown.join(', ')}\n\n${USAGE}`);
  const wanted = measures.filter(({ name, onlyWhenAsked }) =>
    only === undefined ? options.full || !onlyWhenAsked : only.includes(name),
  );
  prepare();
  const pin = canPin && !options['no-pin'];
  if (!pin) console.log('The processes are not pinned to cores.');

  const postgres = await startPostgres();
  const redis = await startRedis();
  if (pin) pinSelf(LOAD_CORE);
  const servers = createServers({
    postgres,
    redisUrl: redis.url,
    pin,
    server: mainOf(options.server),
    profile: options.profile,
  });
  /** @type {Context} */
  const context = {
    quick: options.quick,
    seconds: (normal, quick) => Number(options.seconds ?? (options.quick ? quick : normal)),
    note: (text) => console.log(`    ${text}`),
    start: servers.start,
    databaseUrl: servers.databaseUrl,
  };
  if (options.pair === undefined) await measureAll(wanted, servers, pin, context);
  else await comparePair(wanted, context);
  await redis.stop();
  await postgres.stop();
  if (options.profile !== undefined) printProfiles(options.profile);
  // Sockets of a failed measure may be open still.
  process.exit();
}

/**
 * Measures the servers one after the other, and keeps the results.
 *
 * @param {Measure[]} wanted
 * @param {ReturnType<typeof createServers>} servers
 * @param {boolean} pin
 * @param {Context} context
 */
async function measureAll(wanted, servers, pin, context) {
  const kinds = await wantedKinds();
  const machine = {
    cpu: cpus()[0]?.model ?? '',
    cores: cpus().length,
    node: process.version,
    pinned: pin,
    quick: options.quick,
    date: new Date().toISOString(),
  };
  /** @type {Results} With `--only`, those of the other measures stay. */
  const results = options.only === undefined ? {} : earlierResults();
  for (const measure of wanted) {
    console.log(`\n${measure.title}: ${measure.work}`);
    delete results[measure.name];
    /** @type {Partial<Record<Kind, Record<string, number>[]>>} */
    const runs = {};
    for (let round = options.quick ? 1 : (measure.rounds ?? 1); round > 0; round--) {
      for (const kind of kinds.filter((kind) => measure.kinds.includes(kind))) {
        console.log(`  ${kind}`);
        try {
          (runs[kind] ??= []).push(await measure.run(kind, context));
          (results[measure.name] ??= {})[kind] = medians(runs[kind]);
        } catch (error) {
          console.error(`    failed: ${error instanceof Error ? error.message : String(error)}`);
          process.exitCode = 1;
          await servers.stopAll();
        }
      }
    }
    // After each measure, so that its results stay if the run is interrupted.
    writeFileSync(options.json, `${JSON.stringify({ machine, results }, null, 2)}\n`);
    writeFileSync(options.chart, drawChart(results, machine));
  }
  console.log('');
  printTable(wanted, results);
}

/**
 * Compares the server with the build of `--pair`, and prints the ratios; nothing is kept.
 *
 * @param {Measure[]} wanted
 * @param {Context} context
 */
async function comparePair(wanted, { seconds, quick, start }) {
  const builds = { this: mainOf(options.server), other: mainOf(options.pair ?? '') };
  console.log(`this: ${builds.this}\nother: ${builds.other}`);
  const rounds = Number(options.rounds ?? (quick ? 2 : PAIRED_ROUNDS));
  for (const { name, title, load } of wanted) {
    if (load === undefined) continue;
    console.log(`\n${title}, ${rounds} rounds in each order`);
    printPair(await runPair(name, load, { builds, rounds, seconds: seconds(1, 1), start }));
  }
}

/** The main file of a build. @param {string} path of it, or of the build's folder */
function mainOf(path) {
  const isFolder = statSync(path).isDirectory();
  return resolve(isFolder ? join(path, 'dist/src/main.js') : path);
}

/**
 * The median of each number; of an even count, the lower one of the middle two.
 *
 * @param {Record<string, number>[]} runs
 * @returns {Record<string, number>}
 */
function medians(runs) {
  const keys = Object.keys(runs[0] ?? {});
  return Object.fromEntries(
    keys.map((key) => {
      const values = runs.map((run) => run[key] ?? NaN).toSorted((a, b) => a - b);
      return [key, values[(values.length - 1) >> 1] ?? NaN];
    }),
  );
}

/** @returns {Results} */
function earlierResults() {
  return existsSync(options.json) ? JSON.parse(readFileSync(options.json, 'utf8')).results : {};
}

/** Installs the peers once, and builds this server. */
function prepare() {
  /** @param {string[]} args @param {string} cwd */
  const npm = (args, cwd) => execFileSync('npm', args, { cwd, stdio: 'inherit' });
  if (!existsSync(`${HERE}node_modules/.package-lock.json`)) {
    npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund'], HERE);
  }
  if (!options['no-build']) npm(['run', '-s', 'build'], ROOT);
}

/** @returns {Promise<Kind[]>} */
async function wantedKinds() {
  const peers = (options.peers ?? 'ws,uws,stored,socketio')
    .split(',')
    .filter((name) => name !== 'none');
  const kinds = /** @type {Kind[]} */ (['nano', ...peers]);
  if (!kinds.includes('uws')) return kinds;
  const problem = await problemOfUws();
  if (problem === undefined) return kinds;
  console.log(`Without uWebSockets.js: ${problem}`);
  return kinds.filter((kind) => kind !== 'uws');
}
