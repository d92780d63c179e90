#!/usr/bin/env node
/**
 * The process. Signals first, before anything is loaded that takes its time: the kernel ignores SIGTERM for a process 1
 * that does not handle it, and a container would hang until it is killed.
 */
import type { AddressInfo } from 'node:net';
import type { Config } from './config/load.js';
import type { Logger } from './logger.js';
import type { Server } from './server.js';

let logger: Logger | undefined;
/** What has to be ended; nothing yet while the process starts. */
let running: { server: Server; timeoutMs: number } | undefined;
let signalled = false;

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // The second one is impatience.
    if (signalled) process.exit(1);
    signalled = true;
    logger?.info({ signal }, 'going down');
    // Nobody is served yet, and what has begun is undone by its end, like that of a process that is killed.
    if (running === undefined) process.exit(0);
    goDown(running);
  });
}

function goDown({ server, timeoutMs }: NonNullable<typeof running>): void {
  setTimeout(() => {
    logger?.error('could not end in time');
    process.exit(1);
  }, timeoutMs).unref();
  server.close().then(
    () => process.exit(0),
    (error: unknown) => {
      logger?.error({ err: error }, 'could not end in order');
      process.exit(1);
    },
  );
}

process.on('uncaughtException', (error) => {
  logger?.fatal({ err: error }, 'uncaught');
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

/** Addresses by which this machine reaches itself as localhost. */
const LOCALHOST = new Set(['::', '0.0.0.0', '127.0.0.1']);

function announce(server: Server, { address, port, family }: AddressInfo, logger: Logger): void {
  const byAddress = family === 'IPv6' ? `[${address}]` : address;
  const host = `${LOCALHOST.has(address) ? 'localhost' : byAddress}:${port}`;
  logger.info({ address, port }, `listening on http://${host} (WebSocket: ws://${host}/chat)`);
  if (server.embedded) {
    logger.info('embedded: Postgres in DATA_DIR, no Redis; one process. See .env.example for more');
  }
  logger.info('make a token: npm run -s createJWT');
}

async function start(): Promise<void> {
  const config = await readConfig();
  const { createLogger } = await import('./logger.js');
  const log = createLogger({ level: config.logLevel, production: config.production });
  logger = log;
  try {
    const { createServer } = await import('./server.js');
    const server = await createServer(config, log);
    running = { server, timeoutMs: config.limits.shutdownTimeoutMs };
    void server.failed.then((error) => {
      if (signalled) return;
      log.fatal(`cannot go on: ${error.message}`);
      process.exit(1);
    });
    announce(server, await server.listen(), log);
  } catch (error) {
    const { StartError } = await import('./errors.js');
    // What the system refuses, a port or a file, is named by Node's message.
    const isClear = error instanceof StartError || (error instanceof Error && 'syscall' in error);
    if (isClear) log.fatal(`could not start: ${error.message}`);
    else log.fatal({ err: error }, 'could not start');
    process.exit(1);
  }
}

await start();
