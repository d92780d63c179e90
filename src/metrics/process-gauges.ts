import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, type Registry } from 'prom-client';
import { Gauges } from './gauges.js';

/** How often the delay of the event loop is sampled; a sample is the time that such a timer really took. */
const LAG_RESOLUTION_MS = 10;

/**
 * Adds metrics of the process, by the names that dashboards for Node know. Those of `collectDefaultMetrics` would watch
 * on after the node has closed.
 * @returns stops watching
 */
export function addProcessGauges(registry: Registry): () => void {
  const gauges = new Gauges(registry);
  const delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  delays.enable();
  const secondsOf = (nanoseconds: number): number =>
    Math.max(0, nanoseconds / 1e9 - LAG_RESOLUTION_MS / 1_000) || 0;

  gauges.add(
    'nodejs_eventloop_lag_p99_seconds',
    'By how much timers were late since the last scrape, 99th percentile',
    () => secondsOf(delays.percentile(99)),
  );
  gauges.add(
    'nodejs_eventloop_lag_max_seconds',
    'By how much timers were late since the last scrape, at most',
    () => {
      const max = secondsOf(delays.max);
      // Gauges are read in their order: the percentile has been.
      delays.reset();
      return max;
    },
  );
  const cpu = new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of the process, user and system',
    registers: [],
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  registry.registerMetric(cpu);
  gauges.add('process_resident_memory_bytes', 'Memory of the process', () =>
    process.memoryUsage.rss(),
  );
  gauges.add(
    'nodejs_heap_size_used_bytes',
    "Memory of V8's heap that is in use",
    () => process.memoryUsage().heapUsed,
  );
  gauges.add(
    'process_start_time_seconds',
    'When the process was started, in seconds since 1970',
    () => performance.timeOrigin / 1_000,
  );
  return () => {
    delays.disable();
  };
}
