#!/usr/bin/env node
/**
 * Tells the nodes that the database was restored in place: sessions leave their rooms, and earlier numbers are no
 * longer valid. Nodes notice by themselves if the database was moved, copied, or failed over to a standby.
 */
import { replaceEpoch } from '../src/store/epoch.js';
import { runDatabaseCommand } from './database-command.js';

await runDatabaseCommand(
  async (database, options) => `epoch: ${await replaceEpoch(database, options)}`,
);
