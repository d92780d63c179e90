import { z } from 'zod';
import { requireMigrated } from '../store/migrate.js';
import { carryOver } from '../store/proof-of-concept.js';
import { command } from './command.js';
import { PATIENCE_MS, withDatabase } from './database.js';
import { createProgress, type Progress } from './progress.js';

export default command({
  help: `usage: nano-messaging carry-over

Copies the rooms, rules and messages of the proof of concept: its tables "Rooms", "Room_permissions" and "Messages" have
to be in the same database, and stay as they are. Rooms keep their ids; messages are numbered by their dates. Stop the
proof of concept first. If the command is stopped, run it again: it goes on where it was.

Example:
  DATABASE_URL=postgres://chat@db/chat nano-messaging carry-over
`,
  input: z.object({}),
  async run() {
    await withDatabase(async (database, { config, logger }) => {
      if (config.database === undefined) {
        throw new Error('the tables of the proof of concept are in a Postgres: set DATABASE_URL');
      }
      await requireMigrated(database, logger, { patienceMs: PATIENCE_MS });
      let progress: Progress | undefined;
      const carried = await carryOver(database, logger, {
        onProgress(stored, total) {
          progress ??= createProgress(total);
          progress.at(stored);
        },
      });
      progress?.end();
      process.stdout.write(`carried over: ${carried.rooms} rooms, ${carried.messages} messages\n`);
    });
  },
});
