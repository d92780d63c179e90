#!/usr/bin/env node
/**
 * Tells the nodes that the database was restored in place: rooms begin anew, and no client goes on from a number of
 * before. A database that was moved or copied, or failed over to a standby, is noticed without it.
 */
import { loadConfig, loadEnvFile } from '../src/config.js';
import { createLogger } from '../src/logger.js';
import { connectDatabase } from '../src/store/connect.js';
import { replaceEpoch } from '../src/store/epoch.js';

async function main(): Promise<void> {
  loadEnvFile();
  const config = loadConfig(process.env);
  const logger = createLogger({ level: config.logLevel, production: config.production });
  const database = await connectDatabase(config, logger);
  try {
    process.stdout.write(`epoch: ${await replaceEpoch(database)}\n`);
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
