import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Cluster } from '../proof/cluster.js';
import { Ledger } from '../proof/ledger.js';
import { wholeNumber } from '../proof/options.js';
import { renderResult, renderTable } from '../proof/report.js';
import { MEASURE_NAMES, MEASURES } from './measures.js';
import { soak, type SoakOptions, type SoakResult } from './soak.js';

const USAGE = `npm run soak -- [options]
  --seconds N  how long the load and the faults last, at the least (600)
  --clients N  (1000)
  --rooms N    (a tenth of the clients)
  --rate N     messages and changes per second, of all clients together (200)
  --seed N     repeats the choices of an earlier run (random)
  --settle N   how many seconds after their last client nodes may take until they hold what they held before (90)
  --leak       keeps each connection and a timer: the soak must fail
  --json FILE  writes the result there
`;

const PROBE = new URL('probe.mjs', import.meta.url).href;
const LEAK = new URL('leak.mjs', import.meta.url).href;

interface Options extends SoakOptions {
  readonly leaks: boolean;
  readonly json: string | undefined;
}

/** Parses the command line. If it is invalid, or asks for help, prints the usage and exits. */
function readOptions(args: string[]): Options {
  try {
    const { values } = parseArgs({
      args,
      options: {
        seconds: { type: 'string', default: '600' },
        clients: { type: 'string', default: '1000' },
        rooms: { type: 'string' },
        rate: { type: 'string', default: '200' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        settle: { type: 'string', default: '90' },
        leak: { type: 'boolean', default: false },
        json: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    const clients = wholeNumber('clients', values.clients);
    return {
      seconds: wholeNumber('seconds', values.seconds),
      clients,
      rooms: wholeNumber('rooms', values.rooms ?? String(Math.ceil(clients / 10))),
      rate: wholeNumber('rate', values.rate),
      seed: wholeNumber('seed', values.seed),
      settleSeconds: wholeNumber('settle', values.settle),
      leaks: values.leak,
      json: values.json,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** The table of a run: a row a measure, three columns a node. */
function render({ nodes, proof, visits, passed }: SoakResult): string {
  const head = ['', ...nodes.flatMap(({ name }) => [`${name} before`, 'peak', 'after'])];
  const rows = MEASURE_NAMES.map((name) => {
    const isMemory = 'unit' in MEASURES[name];
    const cells = nodes.flatMap(({ before, peak, after }) =>
      [before, peak, after].map((sample) => sample[name].toFixed(isMemory ? 1 : 0)),
    );
    return [isMemory ? `${name} (MiB)` : name, ...cells];
  });
  const excess = nodes.flatMap(({ name, excess }) =>
    Object.entries(excess).map(
      ([what, more]) => `${name}: ${what} ended ${more.toFixed(1)} too high`,
    ),
  );
  return [
    renderTable([head, ...rows]),
    `Visits: ${Object.entries(visits)
      .map(([what, times]) => `${times} x ${what}`)
      .join(', ')}`,
    renderResult(proof),
    ...excess,
    passed ? 'All ended where it began.' : 'FAILED',
  ].join('\n\n');
}

/**
 * Has `fetch` close connections that it does not use: by itself, it keeps them for as long as the server allows, which is
 * 75 seconds, and they would be measured.
 */
async function closeIdleConnections(): Promise<void> {
  // It makes its dispatcher with the first request.
  await fetch('data:,');
  const key = Symbol.for('undici.globalDispatcher.1');
  const global = globalThis as unknown as Record<symbol, object>;
  const { constructor: Agent } = global[key] as {
    constructor: new (options: { keepAliveMaxTimeout: number }) => object;
  };
  global[key] = new Agent({ keepAliveMaxTimeout: 1_000 });
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  await closeIdleConnections();
  const ledger = new Ledger();
  const flags = ['--expose-gc', '--import', PROBE, ...(options.leaks ? ['--import', LEAK] : [])];
  const cluster = await Cluster.start({}, ledger, flags);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void cluster.end().finally(() => process.exit(130)));
  }
  let keepLogs = true;
  try {
    const result = await soak(options, { cluster, ledger }, (what) => {
      process.stderr.write(`${what}\n`);
    });
    process.stdout.write(`${render(result)}\n`);
    if (options.json !== undefined) {
      writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
    }
    keepLogs = !result.passed && !options.leaks;
    return result.passed ? 0 : 1;
  } finally {
    if (keepLogs) process.stderr.write(`The nodes' logs are in ${cluster.folder}\n`);
    await cluster.end({ keepLogs });
  }
}

// Not by itself: after tens of thousands of sockets, Node 20 may wait for one that it has lost, and take a whole core.
process.exit(await main());
