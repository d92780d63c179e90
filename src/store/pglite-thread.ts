import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { StartError } from '../errors.js';

/**
 * The thread counts as hung after 6 pings of 5 s without an answer: half a minute, as it answers none for seconds while
 * it creates a database or runs a long query.
 */
const PING_INTERVAL_MS = 5_000;
const MAX_UNANSWERED = 6;
/**
 * After this time a shutdown is given up, within the default of SHUTDOWN_TIMEOUT_MS: the next start recovers from the
 * write-ahead log.
 */
const CLOSE_TIMEOUT_MS = 5_000;

/** Messages of the thread. */
type Message = 'ready' | 'pong' | { readonly failed: string };

export interface PGliteThread {
  /**
   * Resolves with the reason if the database is lost: its thread hangs, or Postgres panicked, on a full disk for
   * example.
   */
  readonly failed: Promise<Error>;
  close(): Promise<void>;
}

/**
 * Opens a database in a folder, after creating it if need be, in a thread of its own that listens on a Unix socket.
 * @throws {StartError} if Postgres can't open it, with its message
 */
export async function startPGlite(options: {
  readonly folder: string;
  readonly socket: string;
  readonly maxConnections: number;
  readonly pingIntervalMs?: number;
}): Promise<PGliteThread> {
  const { pingIntervalMs = PING_INTERVAL_MS, ...workerData } = options;
  const thread = new Worker(new URL('./pglite-worker.js', import.meta.url), {
    workerData,
    // Without the options and the environment of the process.
    execArgv: [],
    env: {},
  });
  let unanswered = 0;
  let failure = 'its thread ended';
  let becomeReady = (): void => undefined;
  const ready = new Promise<void>((resolve) => (becomeReady = resolve));
  thread.on('message', (message: Message) => {
    if (message === 'ready') becomeReady();
    else if (message === 'pong') unanswered = 0;
    else failure = message.failed;
  });
  thread.on('error', (error) => {
    failure = error.message;
  });
  const exited = once(thread, 'exit');
  const failed = exited.then(() => new StartError(`the embedded database: ${failure}`));
  await Promise.race([
    ready,
    failed.then((error) => {
      throw error;
    }),
  ]);

  const watch = setInterval(() => {
    unanswered += 1;
    if (unanswered <= MAX_UNANSWERED) {
      thread.postMessage('ping');
      return;
    }
    failure = 'it hangs';
    void thread.terminate();
  }, pingIntervalMs);

  return {
    failed: failed.finally(() => {
      clearInterval(watch);
    }),
    async close() {
      clearInterval(watch);
      thread.postMessage('close');
      const patience = setTimeout(() => void thread.terminate(), CLOSE_TIMEOUT_MS);
      await exited;
      clearTimeout(patience);
    },
  };
}
