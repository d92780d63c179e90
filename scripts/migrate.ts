#!/usr/bin/env node
/** Runs the pending files of migrations/, for nodes whose MIGRATE_ON_START is false. */
import { migrate } from '../src/store/migrate.js';
import { runDatabaseCommand } from './database-command.js';

await runDatabaseCommand(async (database, { logger, ...patience }) => {
  const done = await migrate(database, logger, patience);
  return done.length > 0 ? `migrated: ${done.join(', ')}` : 'up to date';
});
