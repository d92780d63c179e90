import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFailed } from 'vitest';
import { fuzz, NODE_ENV, type FuzzOptions, type FuzzResult, type Sabotage } from '../fuzz/fuzz.js';
import { Bystanders } from '../harness/bystanders.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { NodeProcess } from '../harness/node-process.js';
import { person } from '../harness/tokens.js';

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_260_115);
const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 10);

let world: ChatWorld;
let nodes: readonly [NodeProcess, NodeProcess];
let bystanders: Bystanders;

beforeAll(async () => {
  world = await createChatWorld();
  nodes = [await world.startProcess(NODE_ENV), await world.startProcess(NODE_ENV)];
  bystanders = await Bystanders.enter(nodes[1], person({ levelOnEntity: 999 }), person());
});
afterEach(() => bystanders.expectServed());
afterAll(async () => {
  await bystanders.close();
  await world.close();
});

/** Most operations are not only refused. */
const isEnough = ({ rest, sockets }: FuzzResult['totals']): boolean =>
  rest.served.size > 15 && rest.statuses.size > 8 && sockets.frames > 500;

/** For what must be found, however long it takes. */
const untilFound = (): boolean => false;

async function fuzzed(seconds: number, more: Partial<FuzzOptions>): Promise<FuzzResult> {
  const result = await fuzz({ nodes, seconds, seed: SEED, shrinkSeconds: 20, ...more });
  onTestFailed(() => {
    process.stderr.write(JSON.stringify({ ...result, served: [...result.totals.rest.served] }));
  });
  return result;
}

describe('npm run fuzz', () => {
  it('finds no answer, no frame and no line of the log that generated input should not cause', async () => {
    const { failure, totals } = await fuzzed(SECONDS, { isEnough });
    expect(failure).toBeUndefined();
    expect(totals).toSatisfy(isEnough);
  });

  it.each<[Sabotage, RegExp]>([
    ['documents', /must NOT have additional properties/],
    ['frames', /came after|did not come|answers on a socket|are not answered/],
  ])('finds broken %s, and prints the seed and a smaller input', async (sabotage, what) => {
    const { failure } = await fuzzed(SECONDS, { sabotage, isEnough: untilFound });
    expect(failure?.report).toMatch(what);
    expect(failure?.report).toMatch(/Input, made smaller \d+ times:\n[[{]/);
    expect(failure?.seed).toBeGreaterThanOrEqual(SEED);
  });

  it('finds a rejection that nobody handles, and the end of the process', async () => {
    const plant = `import { subscribe } from 'node:diagnostics_channel';
        let sockets = 0;
        subscribe('net.server.socket', () => {
          sockets += 1;
          if (sockets === 200) void Promise.reject(new Error('planted'));
        });`;
    const doomed = await world.startProcess({
      ...NODE_ENV,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(plant)}`,
    });
    const { failure } = await fuzz({
      nodes: [doomed, nodes[1]],
      seconds: 60,
      seed: SEED,
      isEnough: untilFound,
    });
    expect(failure?.report).toMatch(/"uncaught exception"|the process ended with 1/);
  });
});
