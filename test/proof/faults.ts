import { setTimeout as delay } from 'node:timers/promises';
import type { ProofClient } from './client.js';
import type { Cluster } from './cluster.js';
import type { Random } from './random.js';
import { commandRedis } from './services.js';

/** What a fault may break. */
export interface Breakable {
  readonly cluster: Cluster;
  readonly clients: readonly ProofClient[];
  readonly random: Random;
}

/**
 * Breaks something, and resolves when that is over, or everyone can be whole without: then with what restores
 * it.
 */
type Fault = (breakable: Breakable) => Promise<(() => Promise<void>) | void>;

const endNode =
  (signal: NodeJS.Signals): Fault =>
  async ({ cluster, random }) => {
    const node = random.pick(cluster.nodes);
    await node.stop(signal);
    return () => node.start();
  };

const FAULTS = {
  'node-kill': endNode('SIGKILL'),
  'node-term': endNode('SIGTERM'),

  'redis-kill': async ({ cluster, random }) => {
    await cluster.redis.stop('SIGKILL');
    await delay(random.between(200, 2_000));
    await cluster.redis.start();
  },

  'redis-pause': async ({ cluster, random }) => {
    cluster.redis.pause();
    await delay(random.between(500, 4_000));
    cluster.redis.resume();
  },

  'redis-flush': async ({ cluster }) => {
    const { port } = cluster.redis;
    await commandRedis(port, 'FLUSHALL');
    await commandRedis(port, 'CLIENT KILL TYPE pubsub');
    await commandRedis(port, 'CLIENT KILL TYPE normal');
  },

  'postgres-restart': async ({ cluster }) => {
    await cluster.postgres.stop('SIGINT');
    await cluster.postgres.start();
  },

  'postgres-pause': async ({ cluster, random }) => {
    cluster.postgres.pause();
    // Sometimes longer than a statement may go unanswered.
    await delay(random.next() < 0.3 ? 6_500 : random.between(500, 3_000));
    cluster.postgres.resume();
  },

  'cut-clients': async ({ clients, random }) => {
    for (const client of clients) if (random.next() < 0.5) client.terminate();
  },

  'cut-nodes': async ({ cluster, random }) => {
    const { outlet } = random.pick(cluster.nodes);
    await outlet.cut();
    await delay(random.between(0, 500));
    await outlet.restore();
  },
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof FAULTS;

export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

/** One fault that was injected. */
export interface Incident {
  readonly fault: FaultName;
  /** Milliseconds until it was over; of a node, until that had ended. */
  readonly lastedMs: number;
  /** Milliseconds, from its beginning, until everyone was whole again; undefined where that took too long. */
  readonly wholeMs: number | undefined;
}

/**
 * Injects faults one after another, each kind at least once and none again before all others, until
 * `deadline`; `whole` says when everyone is whole again.
 */
export async function injectFaults(
  options: Breakable & {
    names: readonly FaultName[];
    deadline: number;
    whole: () => Promise<boolean>;
    isStopped: () => boolean;
    onFault: (name: FaultName | undefined) => void;
    onIncident: (incident: Incident) => void;
  },
): Promise<void> {
  const { names, deadline, random } = options;
  for (let round = 1; names.length > 0; round += 1) {
    for (const fault of random.shuffled(names)) {
      if (options.isStopped() || (round > 1 && Date.now() >= deadline)) return;
      options.onFault(fault);
      const begunAt = Date.now();
      const restore = await FAULTS[fault](options);
      const lastedMs = Date.now() - begunAt;
      const isWhole = await options.whole();
      const wholeMs = isWhole ? Date.now() - begunAt : undefined;
      options.onIncident({ fault, lastedMs, wholeMs });
      await restore?.();
      options.onFault(undefined);
      await delay(random.between(100, 600));
    }
  }
}
