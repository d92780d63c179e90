import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import type { Config } from './config/load.js';
import { StartError } from './errors.js';
import type { Logger } from './logger.js';

/** What the primary tells a worker. */
export type Order = 'listen' | 'shut down';
/** What a worker tells the primary: that its parts are ready, and that it accepts connections. */
export type Report = 'ready' | 'listening';

/** A worker that ends at once each time must not take a core; one that ended by chance should be back before it is missed. */
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 10_000;
/** A worker that has listened for so long did not end because of its start. */
const STEADY_MS = 60_000;

/** The workers of a process with WORKERS above 1: processes that share its port. Each of them is a node. */
export interface Workers {
  /**
   * Starts the workers, one after the other, so that the first one migrates and an error is logged once. They listen when
   * all of them are ready: otherwise all clients would connect to the first one. Resolves when they do, or with the exit
   * code of a worker that ended before.
   */
  start(): Promise<number | undefined>;
  /** Has the workers shut down; resolves with their highest exit code when all have ended. */
  close(): Promise<number>;
}

/** One of the workers, and its successors. */
interface Place {
  readonly number: number;
  /** Undefined while it waits to be started again. */
  worker?: Worker | undefined;
  restart?: NodeJS.Timeout;
  /** How often in a row it has ended soon. */
  failures: number;
  listeningSince?: number | undefined;
}

/**
 * Owns `count` workers: starts one again that ends, and kills all when this process exits. If this process is killed,
 * Node ends each of them as its channel closes.
 * @throws {StartError} if this process is itself a worker of another program
 */
export function createWorkers(count: number, logger: Logger): Workers {
  if (!cluster.isPrimary) {
    throw new StartError('WORKERS must be 1 if another program runs the server as a cluster');
  }
  cluster.setupPrimary({ exec: fileURLToPath(new URL('./main.js', import.meta.url)), args: [] });
  const places = Array.from({ length: count }, (_, index): Place => {
    return { number: index + 1, failures: 0 };
  });
  let state: 'starting' | 'running' | 'closing' = 'starting';
  let highestCode = 0;
  let endedBeforeAllListened: ((code: number) => void) | undefined;
  let allEnded: (() => void) | undefined;

  process.on('exit', () => {
    for (const { worker } of places) worker?.process.kill('SIGKILL');
  });

  function fork(place: Place): Worker {
    const worker = cluster.fork({ NANO_WORKER: String(place.number) });
    place.worker = worker;
    worker.on('error', (error) => {
      logger.error({ err: error, worker: place.number }, 'worker process error');
      // It could not be started, and will not exit.
      if (worker.process.pid === undefined) ended(place, 1, undefined);
    });
    worker.on('exit', (code: number | null, signal?: string) => {
      ended(place, code ?? 1, signal);
    });
    worker.on('message', (report: Report) => {
      if (report === 'listening') place.listeningSince = performance.now();
    });
    return worker;
  }

  function ended(place: Place, code: number, signal: string | undefined): void {
    const steady = performance.now() - (place.listeningSince ?? performance.now()) > STEADY_MS;
    place.worker = undefined;
    place.listeningSince = undefined;
    if (state === 'starting') {
      endedBeforeAllListened?.(code);
      return;
    }
    if (state === 'closing') {
      highestCode = Math.max(highestCode, code);
      if (places.every(({ worker }) => worker === undefined)) allEnded?.();
      return;
    }
    place.failures = steady ? 1 : place.failures + 1;
    const delayMs = Math.min(RESTART_MIN_MS * 2 ** (place.failures - 1), RESTART_MAX_MS);
    logger.error({ worker: place.number, code, signal, delayMs }, 'worker ended: it is restarted');
    place.restart = setTimeout(() => {
      restart(place);
    }, delayMs);
  }

  function restart(place: Place): void {
    try {
      const worker = fork(place);
      worker.on('message', (report: Report) => {
        if (report === 'ready') tell(worker, 'listen');
      });
    } catch (error) {
      logger.error({ err: error, worker: place.number }, 'worker process error');
      ended(place, 1, undefined);
    }
  }

  async function startAll(): Promise<void> {
    const workers: Worker[] = [];
    for (const place of places) {
      // A signal came meanwhile.
      if (state === 'closing') return;
      const worker = fork(place);
      workers.push(worker);
      await reported(worker, 'ready');
    }
    for (const worker of workers) {
      tell(worker, 'listen');
      await reported(worker, 'listening');
    }
    if (state === 'starting') state = 'running';
  }

  return {
    start() {
      const failure = new Promise<number>((resolve) => {
        endedBeforeAllListened = resolve;
      });
      return Promise.race([startAll().then(() => undefined), failure]);
    },

    close() {
      state = 'closing';
      const closed = new Promise<void>((resolve) => {
        allEnded = resolve;
      });
      for (const { worker, restart } of places) {
        clearTimeout(restart);
        if (worker !== undefined) tell(worker, 'shut down');
      }
      if (places.every(({ worker }) => worker === undefined)) allEnded?.();
      return closed.then(() => highestCode);
    },
  };
}

/** Not by a signal: in a terminal, or from systemd, a worker gets that as well, and a second one ends it at once. */
function tell(worker: Worker, order: Order): void {
  // It fails if the worker has just ended, which `exit` tells.
  worker.send(order, () => undefined);
}

/** Resolves when a worker has reported; never if it ends before. */
function reported(worker: Worker, report: Report): Promise<void> {
  return new Promise((resolve) => {
    worker.on('message', (message: Report) => {
      if (message === report) resolve();
    });
  });
}

/** What a worker differs in from a process that is alone: the first has METRICS_PORT, each other one the next port. */
export function configOfWorker(config: Config, number: number): Config {
  const { metrics } = config;
  if (metrics === undefined || metrics.port === 0) return config;
  return { ...config, metrics: { ...metrics, port: metrics.port + number - 1 } };
}
