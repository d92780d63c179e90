import fc from 'fast-check';
import { readAsyncApi, type AsyncApi } from '../harness/documented-frames.js';
import { readOpenApi, strict, type OpenApi } from '../harness/documented.js';
import type { NodeProcess } from '../harness/node-process.js';
import { FuzzedNode } from './fuzzed-node.js';
import { requestsOf } from './requests.js';
import { sendAll, type RestTotals } from './rest.js';
import { scriptsOf } from './scripts.js';
import { play, type SocketTotals } from './sockets.js';
import { setStage } from './stage.js';

/** Runs of a round. Rounds of requests and of scripts take turns, each with a seed of its own. */
const RUNS = 25;
/** With `frames`, one in so many frames of the server is lost. */
const LOST_ONE_IN = 200;

/**
 * The environment of a fuzzed node: its lines are JSON, and a line a request is written as in production. How much a
 * user may send is limited, so that refusals for that come as well; an address is not, since all clients have the same.
 */
export const NODE_ENV: Readonly<Record<string, string>> = {
  NODE_ENV: 'production',
  HOST: '127.0.0.1',
  LOG_LEVEL: 'info',
  MESSAGES_PER_SECOND: '5',
  ROOM_MESSAGES_PER_SECOND: '50',
};

/** What is broken on purpose, to show that it is found: the documents, or what the server sends. */
export type Sabotage = 'documents' | 'frames';

export interface FuzzOptions {
  /** Two nodes of one installation, in production. */
  readonly nodes: readonly [NodeProcess, NodeProcess];
  readonly seconds: number;
  /** It goes on beyond these seconds until this is so; a slow machine has little in them. */
  readonly isEnough?: (totals: Totals) => boolean;
  readonly seed: number;
  /** A failing input is made smaller for so long; 60 by default. */
  readonly shrinkSeconds?: number;
  readonly sabotage?: Sabotage | undefined;
  readonly onRound?: (totals: Totals) => void;
}

export interface Totals {
  readonly rest: RestTotals;
  readonly sockets: SocketTotals;
}

export interface FuzzResult {
  readonly totals: Totals;
  /** What failed: the seed of its round, the smallest input that fails, and how; undefined if nothing did. */
  readonly failure: { readonly seed: number; readonly report: string } | undefined;
}

/** Sends generated input to nodes, round after round, until the time is over or something fails. */
export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  const { seconds, seed, shrinkSeconds = 60, sabotage, onRound } = options;
  const { isEnough = () => true } = options;
  const nodes = options.nodes.map((process) => new FuzzedNode(process));
  const [first] = options.nodes;
  const openApi = await documentOf<OpenApi>(first, '/openapi.json', sabotage);
  const asyncApi = await documentOf<AsyncApi>(first, '/asyncapi.json', sabotage);
  const totals: Totals = {
    rest: { requests: 0, statuses: new Map(), served: new Map(), slowestMs: 0 },
    sockets: { sockets: 0, commands: 0, frames: 0 },
  };
  const api = readOpenApi(openApi);
  const setting = {
    requireFrame: readAsyncApi(asyncApi),
    totals: totals.sockets,
    isLost: () => sabotage === 'frames' && totals.sockets.frames % LOST_ONE_IN === LOST_ONE_IN - 1,
  };

  /** A run on nodes that still live: once one has ended, the input that ended it is kept as it was. */
  const onNodes = async (run: () => Promise<void>): Promise<void> => {
    fc.pre(nodes.every(({ isDead }) => !isDead));
    await run().finally(() => {
      for (const node of nodes) node.requireHealthy();
    });
  };
  const requests = fc.asyncProperty(requestsOf(api), (generated) =>
    onNodes(async () => {
      const urls = options.nodes.map(({ url }) => url);
      await sendAll(generated, await setStage(first), { api, urls, totals: totals.rest });
    }),
  );
  const scripts = fc.asyncProperty(scriptsOf(asyncApi), (script) =>
    onNodes(async () => {
      const chatUrls = options.nodes.map(({ chatUrl }) => chatUrl);
      await play(script, { ...setting, chatUrls, stage: await setStage(first) });
    }),
  );

  const deadline = performance.now() + seconds * 1_000;
  for (let round = 0; performance.now() < deadline || !isEnough(totals); round += 1) {
    for (const property of [requests, scripts]) {
      const parameters = {
        seed: seed + round,
        numRuns: RUNS,
        interruptAfterTimeLimit: shrinkSeconds * 1_000,
      };
      const details = await fc.check<[unknown]>(
        property as fc.IAsyncProperty<[unknown]>,
        parameters,
      );
      // One that the time limit has ended before its first run has failed, too, but without an input.
      if (details.counterexample !== null) {
        return { totals, failure: { seed: seed + round, report: reportOf(details) } };
      }
      onRound?.(totals);
    }
  }
  return { totals, failure: undefined };
}

function reportOf({ counterexample, errorInstance, numShrinks }: fc.RunDetails<[unknown]>): string {
  const error = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  return `${error}\nInput, made smaller ${numShrinks} times:\n${fc.stringify(counterexample?.[0])}`;
}

/** A document of a running node, of which nothing more may come than it has. */
async function documentOf<T>(
  { url }: NodeProcess,
  path: string,
  sabotage: Sabotage | undefined,
): Promise<T> {
  const text = JSON.stringify(await (await fetch(url + path)).json(), strict);
  // The answers have a key that the document then lacks.
  return JSON.parse(
    sabotage === 'documents' ? text.replaceAll('"emitter":', '"author":') : text,
  ) as T;
}
