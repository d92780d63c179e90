import { parseArgs } from 'node:util';
import { createDatabase } from '../harness/database.js';
import { startNodeProcess, type NodeProcess } from '../harness/node-process.js';
import { startPostgres } from '../harness/postgres.js';
import { startRedis } from '../harness/redis.js';
import { fuzz, NODE_ENV, type Sabotage, type Totals } from './fuzz.js';

const USAGE = `npm run fuzz -- [options]
  --seconds N   how long input is generated (180)
  --seed N      repeats the input of an earlier run (random)
  --sabotage S  breaks something, which must be found: documents, frames
`;
const PROGRESS_INTERVAL_MS = 5_000;

interface Options {
  readonly seconds: number;
  readonly seed: number;
  readonly sabotage: Sabotage | undefined;
}

/** Parses the command line. If it is invalid, or asks for help, prints the usage and exits. */
function readOptions(args: string[]): Options {
  try {
    const { values } = parseArgs({
      args,
      options: {
        seconds: { type: 'string', default: '180' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        sabotage: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    const { seconds, seed, sabotage, help } = values;
    if (help) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    for (const [name, text] of Object.entries({ seconds, seed })) {
      if (!/^\d{1,9}$/.test(text)) throw new Error(`--${name} must be a whole number`);
    }
    if (sabotage !== undefined && sabotage !== 'documents' && sabotage !== 'frames') {
      throw new Error(`there is no sabotage ${sabotage}`);
    }
    return { seconds: Number(seconds), seed: Number(seed), sabotage };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

function summaryOf({ rest, sockets }: Totals): string {
  const statuses = [...rest.statuses]
    .toSorted(([one], [other]) => one - other)
    .map(([status, times]) => `${status}: ${times}`)
    .join(', ');
  return (
    `${rest.requests} requests (${statuses}), ${rest.served.size} operations served, the slowest answer after ${Math.round(rest.slowestMs)} ms; ` +
    `${sockets.sockets} sockets, ${sockets.commands} commands, ${sockets.frames} frames received`
  );
}

async function main(): Promise<number> {
  const { seconds, seed, sabotage } = readOptions(process.argv.slice(2));
  const ends: (() => Promise<unknown>)[] = [];
  const end = async (): Promise<void> => {
    for (const one of ends.toReversed()) await one();
    ends.length = 0;
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void end().finally(() => process.exit(130)));
  }
  try {
    const postgres = await startPostgres();
    ends.push(() => postgres.stop());
    const redis = await startRedis();
    ends.push(() => redis.stop());
    const database = await createDatabase(postgres.url);
    const start = async (): Promise<NodeProcess> => {
      const node = await startNodeProcess({
        ...NODE_ENV,
        DATABASE_URL: database.url,
        REDIS_URL: redis.url,
      });
      ends.push(() => node.end('SIGTERM'));
      return node;
    };
    const nodes = [await start(), await start()] as const;
    let shownAt = performance.now();
    const { totals, failure } = await fuzz({
      nodes,
      seconds,
      seed,
      sabotage,
      onRound: (totals) => {
        if (performance.now() - shownAt < PROGRESS_INTERVAL_MS) return;
        shownAt = performance.now();
        process.stderr.write(`${summaryOf(totals)}\n`);
      },
    });
    process.stdout.write(`${summaryOf(totals)}\n`);
    if (failure === undefined) {
      process.stdout.write(`Nothing was found with seed ${seed}.\n`);
      return 0;
    }
    process.stdout.write(
      `${failure.report}\nFAILED; again: npm run fuzz -- --seed ${failure.seed}\n`,
    );
    return 1;
  } finally {
    await end();
  }
}

// Not by itself: after tens of thousands of sockets, Node 20 may wait for one that it has lost, and take a whole core.
process.exit(await main());
