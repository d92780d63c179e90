import { setTimeout as delay } from 'node:timers/promises';
import { Ledger } from '../proof/ledger.js';
import type { Cluster } from '../proof/cluster.js';
import type { FaultName } from '../proof/faults.js';
import { Proof, type Load } from '../proof/proof.js';
import { createRandom } from '../proof/random.js';
import { isProved, type Result } from '../proof/report.js';
import { Churn } from './churn.js';
import { excessOf, measure, MEASURE_NAMES, type Measure, type Sample } from './measures.js';

/** The faults that a cluster of long life sees. Only the first node is ended: the others live all the time. */
const FAULTS: readonly FaultName[] = [
  'redis-kill',
  'redis-flush',
  'node-term',
  'postgres-terminate',
  'postgres-restart',
  'cut-clients',
  'cut-nodes',
  'links-cut',
];
/** The load before the first measure, so that all code has run and all pools are filled. */
const WARM_SECONDS = { share: 0.1, min: 5, max: 60 };
const SAMPLE_INTERVAL_MS = 5_000;
const LOOK_INTERVAL_MS = 1_000;
/** So often in a row, so that a quiet moment is none by chance. */
const STEADY_LOOKS = 4;

export interface SoakOptions {
  readonly seconds: number;
  readonly clients: number;
  readonly rooms: number;
  readonly rate: number;
  readonly seed: number;
  /** How long after its last client a node may take until it holds what it held before. */
  readonly settleSeconds: number;
}

/** A node before and after the load, and the highest samples between. */
export interface NodeResult {
  readonly name: string;
  readonly before: Sample;
  readonly peak: Sample;
  readonly after: Sample;
  /** By how much more than its tolerance a measure has risen. */
  readonly excess: Partial<Record<Measure, number>>;
}

export interface SoakResult {
  readonly nodes: readonly NodeResult[];
  /** What the clients of the load saw, as the proof judges it. */
  readonly proof: Result;
  readonly visits: Readonly<Record<string, number>>;
  readonly passed: boolean;
}

/** Loads a cluster for a time, and compares what its nodes hold before and after. */
export async function soak(
  options: SoakOptions,
  { cluster, ledger }: { readonly cluster: Cluster; readonly ledger: Ledger },
  say: (what: string) => void,
): Promise<SoakResult> {
  const { seconds, seed, settleSeconds } = options;
  const { share, min, max } = WARM_SECONDS;
  const warmSeconds = Math.min(max, Math.max(min, seconds * share));
  say('warming up');
  await load({ ...options, seconds: Math.ceil(warmSeconds) }, [], cluster, new Ledger());
  say('measuring before');
  const before = await settled(cluster, settleSeconds);

  say('soaking');
  const peaks = new Map<string, Sample>();
  const sampling = new AbortController();
  const sampled = sample(cluster, peaks, sampling.signal);
  const { proof, visits } = await load({ ...options, seed: seed + 1 }, FAULTS, cluster, ledger);
  sampling.abort();
  await sampled;

  say('measuring after');
  const after = await settled(cluster, settleSeconds, before);
  const nodes = cluster.nodes.map(({ name }): NodeResult => {
    const [first, last] = [before.get(name), after.get(name)];
    if (first === undefined || last === undefined) throw new Error(`${name} was not measured`);
    return {
      name,
      before: first,
      peak: peaks.get(name) ?? last,
      after: last,
      excess: excessOf(first, last),
    };
  });
  const result = await proof.result();
  const areSteady = nodes.every(({ excess }) => Object.keys(excess).length === 0);
  return { nodes, proof: result, visits, passed: areSteady && isProved(result) };
}

/** Runs a proof and a churn beside it, and ends all of their clients. */
async function load(
  { seconds, clients, rooms, rate, seed }: SoakOptions,
  faults: readonly FaultName[],
  cluster: Cluster,
  ledger: Ledger,
): Promise<{ proof: Proof; visits: Record<string, number> }> {
  const options: Load = {
    seconds,
    seed,
    faults,
    clients,
    rooms,
    rate,
    breaksTables: false,
    again: '',
    endable: (nodes) => nodes.slice(0, 1),
  };
  const proof = new Proof(options, cluster, ledger);
  const churn = new Churn(cluster);
  await churn.start(createRandom(seed));
  try {
    await proof.run();
  } finally {
    await churn.stop();
    proof.end();
  }
  return { proof, visits: Object.fromEntries(churn.visits) };
}

/**
 * Samples all nodes until they are at rest for some looks in a row, and hold no more than before if there is a before; or
 * until they have had their time. Returns the highest of these looks, or the last one if they were not at rest.
 */
async function settled(
  cluster: Cluster,
  seconds: number,
  before?: ReadonlyMap<string, Sample>,
): Promise<ReadonlyMap<string, Sample>> {
  const deadline = performance.now() + seconds * 1_000;
  let last: ReadonlyMap<string, Sample> = new Map();
  let looks: ReadonlyMap<string, Sample>[] = [];
  while (looks.length < STEADY_LOOKS && performance.now() < deadline) {
    await delay(LOOK_INTERVAL_MS);
    const now = new Map<string, Sample>();
    for (const node of cluster.nodes) {
      now.set(node.name, await measure(cluster, node, { collects: true }));
    }
    const isQuiet = [...now].every(([name, sample]) => {
      const first = before?.get(name);
      if (first !== undefined) return Object.keys(excessOf(first, sample)).length === 0;
      return isAtRest(sample, last.get(name));
    });
    looks = isQuiet ? [...looks, now] : [];
    last = now;
  }
  const judged = looks.length > 0 ? looks : [last];
  return new Map(
    cluster.nodes.map(({ name }) => {
      const samples = judged.flatMap((look) => look.get(name) ?? []);
      return [name, samples.reduce((one, other) => highest(one, other))];
    }),
  );
}

/** Whether a node has no clients, and as many connections as it had a moment ago. */
function isAtRest(sample: Sample, last: Sample = sample): boolean {
  const names = ['sockets', 'broker subscriptions', 'database connections'] as const;
  const isSteady = names.every((name) => sample[name] === last[name]);
  return isSteady && sample.sessions === 0 && sample.feeds === 0;
}

/** Keeps the highest of the samples, until it is aborted. A node that is down is sampled later. */
async function sample(
  cluster: Cluster,
  peaks: Map<string, Sample>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    for (const node of cluster.nodes) {
      const now = await measure(cluster, node, { collects: false }).catch(() => undefined);
      if (now !== undefined) peaks.set(node.name, highest(now, peaks.get(node.name)));
    }
    await delay(SAMPLE_INTERVAL_MS, undefined, { signal }).catch(() => undefined);
  }
}

function highest(one: Sample, other: Sample = one): Sample {
  const names = MEASURE_NAMES.map((name) => [name, Math.max(one[name], other[name])]);
  return Object.fromEntries(names) as Sample;
}
