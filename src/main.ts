#!/usr/bin/env node
/**
 * The process. It handles signals before it loads the rest, which takes a moment: the kernel drops a SIGTERM that
 * process 1 does not handle, so a container would hang until it is killed.
 */
import type { AddressInfo } from 'node:net';
import type { Config } from './config/load.js';
import type { Logger } from './logger.js';
import type { Server } from './server.js';

let logger: Logger | undefined;
/** The server to close; undefined while the process starts. */
let running: { server: Server; timeoutMs: number } | undefined;
let signalled = false;

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // A second signal means that the operator does not want to wait.
    if (signalled) process.exit(1);
    signalled = true;
    logger?.info({ signal }, 'shutting down');
    // No client is served yet, and whatever the start has begun survives a kill: Postgres rolls it back.
    if (running === undefined) process.exit(0);
    shutDown(running);
  });
}

function shutDown({ server, timeoutMs }: NonNullable<typeof running>): void {
  setTimeout(() => {
    logger?.error('shutdown timed out');
    process.exit(1);
  }, timeoutMs).unref();
  server.close().then(
    () => process.exit(0),
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
    return loadConfig(process.env);
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
  if (server.hasPage) logger.info(`chat page: http://${host}/`);
  const { metricsAddress } = server;
  if (metricsAddress !== undefined) logger.info(metricsAddress, 'metrics are served at /metrics');
  if (server.embedded) {
    logger.info(
      'Postgres is embedded in DATA_DIR and there is no Redis: one process only (see .env.example)',
    );
  }
  logger.info('make a token: npx nano-messaging token');
}

async function start(): Promise<void> {
  const config = await readConfig();
  const { createLogger } = await import('./logger.js');
  const log = createLogger({ level: config.logLevel, production: config.production });
  logger = log;
  try {
    const { createServer } = await import('./server.js');
    const server = await createServer(config, log);
    const { drainSeconds, shutdownTimeoutMs } = config.limits;
    running = { server, timeoutMs: drainSeconds * 1_000 + shutdownTimeoutMs };
    void server.failed.then((error) => {
      if (signalled) return;
      log.fatal(`exiting: ${error.message}`);
      process.exit(1);
    });
    logAddress(server, await server.listen(), log);
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
