import { writeFileSync } from 'node:fs';
import { Cluster } from './cluster.js';
import { Ledger } from './ledger.js';
import { readOptions } from './options.js';
import { Proof } from './proof.js';
import { isProved, renderResult } from './report.js';

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  const ledger = new Ledger();
  const env = options.gapRepair ? {} : { NANO_TEST_NO_GAP_REPAIR: '1' };
  const cluster = await Cluster.start(env, ledger);
  const proof = new Proof(options, cluster, ledger);
  let keepLogs = true;
  const end = async (): Promise<void> => {
    proof.end();
    await cluster.end({ keepLogs });
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      keepLogs = false;
      void end().finally(() => process.exit(130));
    });
  }
  try {
    await proof.run();
    const result = await proof.result();
    const proved = isProved(result);
    process.stdout.write(`${renderResult(result)}\n`);
    if (options.json !== undefined) {
      writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
    }
    keepLogs = !proved && options.gapRepair && !options.breaksTables;
    return proved ? 0 : 1;
  } finally {
    if (keepLogs) process.stderr.write(`The nodes' logs are in ${cluster.folder}\n`);
    await end();
  }
}

// Not by itself: after tens of thousands of sockets, Node 20 may wait for one that it has lost, and take a whole core.
process.exit(await main());
