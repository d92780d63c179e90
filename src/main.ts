#!/usr/bin/env node
import { ConfigError, loadConfig, loadEnvFile, type Config } from './config.js';
import { createLogger, type Logger } from './logger.js';
import { createServer, type Server } from './server.js';

function readConfig(): Config {
  loadEnvFile();
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}

function shutDownOn(
  signals: readonly NodeJS.Signals[],
  server: Server,
  logger: Logger,
  config: Config,
): void {
  let signalled = false;
  for (const signal of signals) {
    process.on(signal, () => {
      // The second one is impatience.
      if (signalled) process.exit(1);
      signalled = true;
      logger.info({ signal }, 'going down');
      setTimeout(() => {
        logger.error('could not end in time');
        process.exit(1);
      }, config.limits.shutdownTimeoutMs).unref();
      server.close().then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error({ err: error }, 'could not end in order');
          process.exit(1);
        },
      );
    });
  }
}

function announce(server: Server, port: number, logger: Logger): void {
  logger.info(`listening on http://localhost:${port} (WebSocket: ws://localhost:${port}/chat)`);
  if (server.embedded) {
    logger.info('embedded: Postgres in DATA_DIR, no Redis; one process. See .env.example for more');
  }
  logger.info('make a token: npm run -s createJWT');
}

const config = readConfig();
const logger = createLogger({ level: config.logLevel, production: config.production });
try {
  const server = await createServer(config, logger);
  shutDownOn(['SIGTERM', 'SIGINT'], server, logger, config);
  const { port } = await server.listen();
  announce(server, port, logger);
} catch (error) {
  logger.fatal({ err: error }, 'could not start');
  process.exit(1);
}
