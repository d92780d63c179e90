import { z } from 'zod';
import { replaceEpoch } from '../store/epoch.js';
import { command } from './command.js';
import { PATIENCE_MS, withDatabase } from './database.js';

export default command({
  help: `usage: nano-messaging new-epoch

Tells the servers that the database was restored in place (pg_restore over the same database): clients leave their
rooms, and begin anew. Servers notice by themselves if the database was moved, copied, or failed over to a standby.

Example:
  pg_restore --clean --dbname chat chat.dump && nano-messaging new-epoch
`,
  input: z.object({}),
  async run() {
    const epoch = await withDatabase((database, { logger }) =>
      replaceEpoch(database, { patienceMs: PATIENCE_MS, logger }),
    );
    process.stdout.write(`epoch: ${epoch}\n`);
  },
});
