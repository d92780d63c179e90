#!/usr/bin/env node
/** Runs what is pending of migrations/, for where MIGRATE_ON_START is false. */
import { constants } from 'node:os';
import { loadConfig, loadEnvFile } from '../src/config.js';
import { createLogger } from '../src/logger.js';
import { connectDatabase } from '../src/store/connect.js';
import { migrate } from '../src/store/migrate.js';

/** Somebody waits for it. */
const PATIENCE_MS = 10_000;

async function main(): Promise<void> {
  // The kernel ignores these for a process 1 that does not handle them. What has begun is undone by Postgres.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => process.exit(128 + constants.signals[signal]));
  }
  loadEnvFile();
  const config = loadConfig(process.env);
  const logger = createLogger({ level: config.logLevel, production: config.production });
  const database = await connectDatabase(config, logger);
  try {
    const done = await migrate(database, logger, { patienceMs: PATIENCE_MS });
    process.stdout.write(done.length > 0 ? `migrated: ${done.join(', ')}\n` : 'up to date\n');
  } finally {
    await database.close();
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
