import { z } from 'zod';
import { migrate } from '../store/migrate.js';
import { command } from './command.js';
import { PATIENCE_MS, withDatabase } from './database.js';

export default command({
  help: `usage: nano-messaging migrate

Brings the tables of the database up to date. A server does the same when it starts, unless MIGRATE_ON_START is
false. The database is that of DATABASE_URL, or the embedded one in DATA_DIR while no server uses it.

Example:
  DATABASE_URL=postgres://chat@db/chat nano-messaging migrate
`,
  input: z.object({}),
  async run() {
    const done = await withDatabase((database, { logger }) =>
      migrate(database, logger, { patienceMs: PATIENCE_MS }),
    );
    process.stdout.write(done.length > 0 ? `migrated: ${done.join(', ')}\n` : 'up to date\n');
  },
});
