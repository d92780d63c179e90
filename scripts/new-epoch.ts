#!/usr/bin/env node
/**
 * Tells the nodes that the database was restored in place: rooms begin anew, and no client goes on from a number of
 * before. A database that was moved or copied, or failed over to a standby, is noticed without it.
 */
import { replaceEpoch } from '../src/store/epoch.js';
import { runDatabaseCommand } from './database-command.js';

await runDatabaseCommand(
  async (database, options) => `epoch: ${await replaceEpoch(database, options)}`,
);
