import { loadConfig, loadEnvFile, type Config } from '../config/load.js';
import { createLogger, type Logger } from '../logger.js';
import { connectDatabase, type Database } from '../store/connect.js';

/** How long to wait for a database that does not answer: an operator waits for the command. */
export const PATIENCE_MS = 10_000;

/**
 * Opens the database of the environment for a command, and closes it after the command. What is logged goes to stderr.
 * @throws {StartError} if it can't be used: a running server has the embedded one, for example
 */
export async function withDatabase<T>(
  use: (database: Database, context: { logger: Logger; config: Config }) => Promise<T>,
): Promise<T> {
  loadEnvFile();
  const config = loadConfig(process.env);
  const logger = createLogger({ level: config.logLevel, production: config.production, fd: 2 });
  const database = await connectDatabase(config, logger);
  try {
    return await use(database, { logger, config });
  } finally {
    await database.close();
  }
}
