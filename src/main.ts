#!/usr/bin/env node
/**
 * The process. It handles signals before it loads the rest, which takes a moment: the kernel drops a SIGTERM that
 * process 1 does not handle, so a container would hang until it is killed.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Config } from './config/load.js';
import type { Logger } from './logger.js';
import type { Server } from './server.js';
import type { Order, Report } from './workers.js';

let logger: Logger | undefined;
/** What a signal shuts down, and its exit code; undefined while the process starts. */
let running: { readonly close: () => Promise<number>; readonly timeoutMs: number } | undefined;
let signalled = false;
let isEnding = false;
/** The number of this worker (workers.ts), from 1; 0: the process is none. */
const worker = Number(process.env['NANO_WORKER'] ?? 0);

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // A second signal means that the operator does not want to wait.
    if (signalled) process.exit(1);
    signalled = true;
    // A worker may have had its order before the same signal.
    if (!isEnding) end({ signal });
  });
}

if (worker > 0) {
  process.on('message', (order: Order) => {
    if (order === 'shut down' && !isEnding) end({});
  });
}

function end(reason: { readonly signal?: NodeJS.Signals }): void {
  isEnding = true;
  logger?.info(reason, 'shutting down');
  // No client is served yet, and whatever the start has begun survives a kill: Postgres rolls it back.
  if (running === undefined) process.exit(0);
  shutDown(running);
}

function shutDown({ close, timeoutMs }: NonNullable<typeof running>): void {
  setTimeout(() => {
    logger?.error('shutdown timed out');
    process.exit(1);
  }, timeoutMs).unref();
  close().then(
    (code) => process.exit(code),
    (error: unknown) => {
      logger?.error({ err: error }, 'shutdown failed');
      process.exit(1);
    },
  );
}

process.on('uncaughtException', (error) => {
  logger?.fatal({ err: error }, 'uncaught exception');
  if (logger === undefined) process.stderr.write(`${error.stack ?? error.message}\n`);
  process.exit(1);
});

async function readConfig(): Promise<Config> {
  const { ConfigError, loadConfig, loadEnvFile } = await import('./config/load.js');
  try {
    loadEnvFile();
    const config = loadConfig(process.env);
    return worker > 0 ? (await import('./workers.js')).configOfWorker(config, worker) : config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}

/** Addresses that are reachable as localhost on this machine. */
const LOCALHOST = new Set(['::', '0.0.0.0', '127.0.0.1']);

function logAddress(server: Server, { address, port, family }: AddressInfo, logger: Logger): void {
  const byAddress = family === 'IPv6' ? `[${address}]` : address;
  const host = `${LOCALHOST.has(address) ? 'localhost' : byAddress}:${port}`;
  logger.info({ address, port }, `listening on http://${host} (WebSocket: ws://${host}/chat)`);
  const { metricsAddress } = server;
  if (metricsAddress !== undefined) logger.info(metricsAddress, 'metrics are served at /metrics');
  // The same for all workers.
  if (worker > 1) return;
  if (server.hasPage) logger.info(`chat page: http://${host}/`);
  if (server.embedded) {
    logger.info(
      'Postgres is embedded in DATA_DIR and there is no Redis: one process only (see .env.example)',
    );
  }
  logger.info('make a token: npx nano-messaging token');
}

/** Starts the server of this process; in a worker, it listens when the primary says so. */
async function startServer(config: Config, log: Logger): Promise<void> {
  const { createServer } = await import('./server.js');
  const server = await createServer(config, log);
  running = { close: () => server.close().then(() => 0), timeoutMs: shutdownMs(config) };
  void server.failed.then((error) => {
    if (isEnding) return;
    log.fatal(`exiting: ${error.message}`);
    process.exit(1);
  });
  if (worker > 0) {
    report('ready');
    await once(process, 'message');
    if (isEnding) return;
  }
  logAddress(server, await server.listen(), log);
  if (worker > 0) report('listening');
}

function report(message: Report): void {
  process.send?.(message);
}

/** Starts the workers of this process, each of which is a server. */
async function startWorkers(config: Config, log: Logger): Promise<void> {
  const { createWorkers } = await import('./workers.js');
  const workers = createWorkers(config.workers, log);
  running = { close: () => workers.close(), timeoutMs: shutdownMs(config) };
  const code = await workers.start();
  if (isEnding) return;
  // The worker has logged why.
  if (code !== undefined) process.exit(code);
  log.info({ workers: config.workers }, 'all workers listen');
}

/** How long a shutdown may take, in milliseconds. */
function shutdownMs({ limits: { drainSeconds, shutdownTimeoutMs } }: Config): number {
  return drainSeconds * 1_000 + shutdownTimeoutMs;
}

async function start(): Promise<void> {
  const config = await readConfig();
  const { createLogger } = await import('./logger.js');
  const { logLevel: level, production } = config;
  const log = createLogger({ level, production, worker });
  logger = log;
  try {
    const isPrimary = worker === 0 && config.workers > 1;
    await (isPrimary ? startWorkers(config, log) : startServer(config, log));
  } catch (error) {
    const { StartError } = await import('./errors.js');
    // If the system refuses a port or a file, Node's message names it.
    const isClear = error instanceof StartError || (error instanceof Error && 'syscall' in error);
    if (isClear) log.fatal(`could not start: ${error.message}`);
    else log.fatal({ err: error }, 'could not start');
    process.exit(1);
  }
}

await start();
