import type { Cluster } from '../proof/cluster.js';
import type { ClusterNode } from '../proof/cluster-node.js';
import { commandRedis, queryOnce } from '../proof/services.js';
import { rawRequest } from '../harness/raw-request.js';

const MIB = 1_048_576;

/** What a node holds at a time, by the names of `MEASURES`. */
export type Sample = Readonly<Record<Measure, number>>;

interface MeasureRow {
  readonly unit?: 'MiB';
  /** By how much it may end above where it began, and why; by default not at all. */
  readonly tolerance?: (before: number) => number;
}

/** A node works by itself at times: a query then has a connection and a deadline. */
const FOR_A_MOMENT = 3;

/**
 * What must end where it began. Memory may not quite: the code that V8 has compiled and what it knows of types grows with
 * what has ever run, maps and buffers keep the capacity that they once needed, and the allocator keeps pages. None of that
 * grows with the number of connections, while a leak of 1 KB a connection is 10 MiB after 10,000 of them.
 */
export const MEASURES = {
  'heap used': { unit: 'MiB', tolerance: (before) => Math.max(8, before * 0.15) },
  external: { unit: 'MiB', tolerance: () => 8 },
  RSS: { unit: 'MiB', tolerance: (before) => Math.max(96, before * 0.75) },
  sockets: { tolerance: () => FOR_A_MOMENT },
  servers: {},
  timers: { tolerance: () => FOR_A_MOMENT },
  'other handles': {},
  sessions: {},
  feeds: {},
  'broker subscriptions': {},
  'database connections': { tolerance: () => FOR_A_MOMENT },
  'unsettled messages': {},
  'backlog bytes': {},
} as const satisfies Record<string, MeasureRow>;

export type Measure = keyof typeof MEASURES;

export const MEASURE_NAMES = Object.keys(MEASURES) as Measure[];

/** The answer of probe.mjs. */
interface ProbeAnswer {
  readonly memory: NodeJS.MemoryUsage;
  readonly resources: Readonly<Record<string, number>>;
}

/** Handles that are counted by themselves. */
const COUNTED: ReadonlySet<string> = new Set(['TCPSocketWrap', 'TCPServerWrap', 'Timeout']);
/** Requests that are on their way at the moment, and the channel of the probe. */
const PASSING = /Req|^Immediate|^CloseReq|^Pipe/;

/** Looks into a node. @param collects whether garbage is collected before, which stops the node for a moment */
export async function measure(
  cluster: Cluster,
  node: ClusterNode,
  { collects }: { readonly collects: boolean },
): Promise<Sample> {
  const metrics = await readMetrics(node);
  const { memory, resources } = (await node.ask({ collects })) as ProbeAnswer;
  const others = Object.entries(resources)
    .filter(([kind]) => !COUNTED.has(kind) && !PASSING.test(kind))
    .reduce((sum, [, count]) => sum + count, 0);
  return {
    'heap used': memory.heapUsed / MIB,
    external: memory.external / MIB,
    RSS: memory.rss / MIB,
    sockets: resources['TCPSocketWrap'] ?? 0,
    servers: resources['TCPServerWrap'] ?? 0,
    timers: resources['Timeout'] ?? 0,
    'other handles': others,
    sessions: metrics('nano_messaging_sockets'),
    feeds: metrics('nano_messaging_rooms'),
    'broker subscriptions': await subscriptionsOf(cluster, node),
    'database connections': await connectionsOf(cluster, node),
    'unsettled messages': metrics('nano_messaging_unsettled_messages'),
    'backlog bytes': metrics('nano_messaging_backlog_bytes'),
  };
}

/** By how much each measure ended too high; empty if all ended where they began. */
export function excessOf(before: Sample, after: Sample): Partial<Record<Measure, number>> {
  const rows: Readonly<Record<Measure, MeasureRow>> = MEASURES;
  const excess = MEASURE_NAMES.map((name) => {
    const allowed = before[name] + (rows[name].tolerance?.(before[name]) ?? 0);
    return [name, after[name] - allowed] as const;
  });
  return Object.fromEntries(excess.filter(([, more]) => more > 0));
}

/** The sum of a gauge over its labels. */
async function readMetrics({ metricsUrl = '' }: ClusterNode): Promise<(name: string) => number> {
  const { pathname, origin } = new URL(metricsUrl);
  const { body } = await rawRequest({ url: origin }, pathname);
  const lines = body.toString().split('\n');
  return (name) =>
    lines
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

/** The channels to which a node's connections have subscribed, as Redis counts them. */
async function subscriptionsOf({ redis }: Cluster, { redisLinks }: ClusterNode): Promise<number> {
  const clients = await commandRedis(redis.port, 'CLIENT LIST');
  const ports = new Set(redisLinks.upstreamPorts);
  return clients
    .split('\n')
    .filter((line) => ports.has(Number(/\baddr=\S+:(\d+)/.exec(line)?.[1])))
    .reduce((sum, line) => sum + Number(/\bsub=(\d+)/.exec(line)?.[1] ?? 0), 0);
}

async function connectionsOf(
  { postgres }: Cluster,
  { databaseLinks }: ClusterNode,
): Promise<number> {
  const ports = [...databaseLinks.upstreamPorts, 0];
  const rows = await queryOnce<{ count: string }>(
    postgres.url,
    `SELECT count(*) FROM pg_stat_activity WHERE client_port IN (${ports.join(', ')})`,
  );
  return Number(rows[0]?.count);
}
