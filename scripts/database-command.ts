/** What the commands of an operator over the database have in common. */
import { constants } from 'node:os';
import { loadConfig, loadEnvFile } from '../src/config/load.js';
import { createLogger } from '../src/logger.js';
import { connectDatabase, type Database } from '../src/store/connect.js';
import type { ReachOptions } from '../src/store/reach.js';

/** How long a database is waited for that does not answer: somebody waits for the command. */
const PATIENCE_MS = 10_000;

/**
 * Runs a command over the database of the environment, and prints the line that it comes to, or, with exit code 1, the
 * one that says why not.
 */
export async function runDatabaseCommand(
  command: (database: Database, options: ReachOptions) => Promise<string>,
): Promise<void> {
  // The kernel ignores these for a process 1 that does not handle them. What has begun is undone by Postgres.
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
