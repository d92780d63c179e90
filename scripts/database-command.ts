/** The common part of an operator's commands over the database. */
import { constants } from 'node:os';
import { loadConfig, loadEnvFile } from '../src/config/load.js';
import { createLogger } from '../src/logger.js';
import { connectDatabase, type Database } from '../src/store/connect.js';
import type { ReachOptions } from '../src/store/reach.js';

/** How long to wait for a database that does not answer: an operator waits for the command. */
const PATIENCE_MS = 10_000;

/**
 * Runs a command over the database of the environment, and prints the line that it returns. If it fails, prints the
 * reason, and sets the exit code to 1.
 */
export async function runDatabaseCommand(
  command: (database: Database, options: ReachOptions) => Promise<string>,
): Promise<void> {
  // Without a handler, the kernel ignores these signals for process 1. Postgres rolls back an open transaction.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => process.exit(128 + constants.signals[signal]));
  }
  try {
    process.stdout.write(`${await runCommand(command)}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

async function runCommand(
  command: (database: Database, options: ReachOptions) => Promise<string>,
): Promise<string> {
  loadEnvFile();
  const config = loadConfig(process.env);
  const logger = createLogger({ level: config.logLevel, production: config.production });
  const database = await connectDatabase(config, logger);
  try {
    return await command(database, { patienceMs: PATIENCE_MS, logger });
  } finally {
    await database.close();
  }
}
