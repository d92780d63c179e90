import { setTimeout as delay } from 'node:timers/promises';
import type { ProofClient } from './client.js';
import type { Cluster } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import type { Random } from './random.js';
import type { Reader } from './reader.js';
import { commandRedis, holdLocks } from './services.js';
import type { Conditions, TcpProxy } from './tcp-proxy.js';

/** The parts that a fault may break. */
export interface Scene {
  readonly cluster: Cluster;
  /** The nodes that may be ended. */
  readonly endable: readonly ClusterNode[];
  readonly clients: readonly ProofClient[];
  readonly reader: Reader;
  readonly random: Random;
  /** Describes for the report which part is broken, and how. */
  readonly note: (detail: string) => void;
}

interface Fault {
  /** Faults that break the same part are not injected at the same time. */
  readonly breaks: 'all' | 'clients' | 'clock' | 'links' | 'node' | 'postgres' | 'redis';
  /**
   * Resolves when it is over. If clients recover while the part is still broken, it resolves then, with a function that
   * restores the part.
   */
  readonly inject: (scene: Scene) => Promise<(() => Promise<void>) | void>;
}

const THROTTLED_BYTES_PER_SECOND = 10_240;
const READERS_AT_ONCE = 10;
const HOUR_STEPS = 3;

const FAULTS = {
  'node-kill': { breaks: 'node', inject: endNode('SIGKILL') },
  'node-term': { breaks: 'node', inject: endNode('SIGTERM') },

  'node-stop': {
    breaks: 'node',
    inject: async (scene) => {
      const node = pickNode(scene);
      // Mostly too short for its sockets to be closed.
      const ms =
        scene.random.next() < 0.7
          ? scene.random.between(5_000, 9_000)
          : scene.random.between(9_000, 40_000);
      scene.note(`${node.name} for ${ms} ms`);
      node.pause();
      await delay(ms);
      node.resume();
    },
  },

  'clock-step': {
    breaks: 'clock',
    inject: async (scene) => {
      const nodes = pickNodes(scene);
      for (let step = 1; step <= HOUR_STEPS; step += 1) {
        for (const node of nodes) node.stepClock();
        if (step < HOUR_STEPS) await delay(scene.random.between(1_000, 4_000));
      }
    },
  },

  'redis-kill': {
    breaks: 'redis',
    inject: async ({ cluster, random }) => {
      const links = cluster.nodes.map((node) => node.redisLinks);
      await cluster.redis.stop('SIGKILL');
      await Promise.all(links.map((link) => link.cut()));
      await delay(random.between(200, 2_000));
      await cluster.redis.start();
      await Promise.all(links.map((link) => link.restore()));
    },
  },

  'redis-pause': {
    breaks: 'redis',
    inject: async ({ cluster, random }) => {
      cluster.redis.pause();
      await delay(random.between(500, 4_000));
      cluster.redis.resume();
    },
  },

  'redis-flush': {
    breaks: 'redis',
    inject: async ({ cluster }) => {
      const { port } = cluster.redis;
      await commandRedis(port, 'FLUSHALL');
      await commandRedis(port, 'CLIENT KILL TYPE pubsub');
      await commandRedis(port, 'CLIENT KILL TYPE normal');
    },
  },

  /** While some nodes are connected to the new Redis and others to the old one, no message passes between them. */
  'redis-replace': {
    breaks: 'redis',
    inject: async ({ cluster, random }) => {
      const before = await cluster.replaceRedis();
      for (const { redisLinks } of random.shuffled(cluster.nodes)) {
        redisLinks.breakLinks();
        await delay(random.between(0, 2_500));
      }
      await before.end();
    },
  },

  'redis-half-open': { breaks: 'redis', inject: swallow((node) => node.redisLinks) },
  'postgres-half-open': { breaks: 'postgres', inject: swallow((node) => node.databaseLinks) },

  'postgres-restart': {
    breaks: 'postgres',
    inject: async ({ cluster }) => {
      await cluster.postgres.stop('SIGINT');
      await cluster.postgres.start();
    },
  },

  'postgres-pause': {
    breaks: 'postgres',
    inject: async ({ cluster, random }) => {
      cluster.postgres.pause();
      // Sometimes longer than the time limit of a statement.
      await delay(random.next() < 0.3 ? 6_500 : random.between(500, 3_000));
      cluster.postgres.resume();
    },
  },

  'postgres-terminate': {
    breaks: 'postgres',
    inject: async (scene) => {
      const { random, cluster, reader } = scene;
      const node = pickNode(scene);
      const times = random.between(10, 40);
      scene.note(`${node.name}, ${times} times`);
      for (let time = 1; time <= times; time += 1) {
        await cluster.terminateBackends(node.databaseLinks.upstreamPorts);
        // Connections that are being opened are terminated by the next round.
        void reader.readAtOnce(node, READERS_AT_ONCE);
        await delay(random.between(0, 150));
      }
    },
  },

  'row-lock': {
    breaks: 'postgres',
    inject: async ({ cluster, clients, random, note }) => {
      const { roomId } = random.pick(random.pick(clients).places).record;
      note(`room ${roomId}`);
      const sql = `SELECT 1 FROM rooms WHERE id = ${roomId} FOR UPDATE`;
      await holdLocks(cluster.postgres.url, sql, 10_000);
    },
  },

  'table-lock': {
    breaks: 'postgres',
    inject: async ({ cluster, random, note }) => {
      const table = random.pick(['rooms', 'messages', 'room_permissions']);
      const ms = random.between(1_000, 6_000);
      note(`${table} for ${ms} ms`);
      await holdLocks(cluster.postgres.url, `LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`, ms);
    },
  },

  /** The operator loses the entries since the copy, not a node. */
  'log-reset': {
    breaks: 'all',
    inject: async ({ cluster, random, note }) => {
      const ms = random.between(1_000, 6_000);
      note(`by ${ms} ms`);
      await cluster.postgres.keepCopy();
      await cluster.logGrows();
      await delay(ms);
      await cluster.setLogBack();
    },
  },

  'links-cut': {
    breaks: 'links',
    inject: async (scene) => {
      const { random } = scene;
      const proxies = [
        ...pickServerLinks(scene),
        ...scene.cluster.nodes.map((node) => node.clientLinks),
      ];
      for (let times = random.between(3, 10); times > 0; times -= 1) {
        setConditions(proxies, { cutAfterBytes: random.between(1, 300) });
        await delay(random.between(20, 200));
        setConditions(proxies, {});
        await delay(random.between(50, 500));
      }
    },
  },

  'links-throttle': {
    breaks: 'links',
    inject: impair(() => ({ bytesPerSecond: THROTTLED_BYTES_PER_SECOND })),
  },

  'links-delay': {
    breaks: 'links',
    inject: impair((random) => ({ latencyMs: () => random.between(50, 500) })),
  },

  'cut-clients': {
    breaks: 'clients',
    inject: async ({ clients, random }) => {
      for (const client of clients) if (random.next() < 0.5) client.terminate();
    },
  },

  'cut-nodes': {
    breaks: 'clients',
    inject: async (scene) => {
      const node = pickNode(scene);
      scene.note(node.name);
      await node.clientLinks.cut();
      await delay(scene.random.between(0, 500));
      await node.clientLinks.restore();
    },
  },
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof FAULTS;

export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

/** Finds a fault by its name. */
export function faultOf(name: FaultName): Fault {
  return FAULTS[name];
}

function endNode(signal: NodeJS.Signals): Fault['inject'] {
  return async ({ endable, random, note }) => {
    const node = random.pick(endable);
    note(node.name);
    await node.stop(signal);
    return () => node.start();
  };
}

/** Open links stay half-open after it; new ones work. */
function swallow(linksOf: (node: ClusterNode) => TcpProxy): Fault['inject'] {
  return async (scene) => {
    const ms = scene.random.between(4_000, 12_000);
    const nodes = pickNodes(scene, ` for ${ms} ms`);
    for (const node of nodes) linksOf(node).swallow();
    await delay(ms);
    for (const node of nodes) linksOf(node).swallowNoMore();
  };
}

function impair(conditionsOf: (random: Random) => Conditions): Fault['inject'] {
  return async (scene) => {
    const proxies = pickServerLinks(scene);
    setConditions(proxies, conditionsOf(scene.random));
    await delay(scene.random.between(4_000, 8_000));
    setConditions(proxies, {});
  };
}

function setConditions(proxies: readonly TcpProxy[], conditions: Conditions): void {
  for (const proxy of proxies) proxy.conditions = conditions;
}

function pickNode({ cluster, random }: Scene): ClusterNode {
  return random.pick(cluster.nodes);
}

/** All nodes, or one of them. */
function pickNodes(scene: Scene, how = ''): readonly ClusterNode[] {
  const one = pickNode(scene);
  const isAll = scene.random.next() < 0.6;
  scene.note(`${isAll ? 'all nodes' : one.name}${how}`);
  return isAll ? scene.cluster.nodes : [one];
}

/** Chooses links of some nodes to Postgres, to Redis, or to both. */
function pickServerLinks(scene: Scene): readonly TcpProxy[] {
  const servers = scene.random.pick(['Postgres', 'Redis', 'Postgres and Redis']);
  return pickNodes(scene, ` to ${servers}`).flatMap(({ databaseLinks, redisLinks }) => [
    ...(servers.includes('Postgres') ? [databaseLinks] : []),
    ...(servers.includes('Redis') ? [redisLinks] : []),
  ]);
}
