import { z } from 'zod';
import { requireMigrated } from '../store/migrate.js';
import { MAX_PARTITIONS, partitionMessages } from '../store/partition.js';
import { command } from './command.js';
import { PATIENCE_MS, withDatabase } from './database.js';
import { createProgress, type Progress } from './progress.js';

/** Between two lines about what the command waits for. */
const WAITING_INTERVAL_MS = 10_000;

const NUMBER = `must be a number from 2 to ${MAX_PARTITIONS}`;

export default command({
  help: `usage: nano-messaging partition --partitions NUMBER

Splits the table messages, the log of all rooms, into partitions by hash of the room, while servers run and people chat:
for a log of hundreds of gigabytes (docs/OPERATIONS.md, Partitions). It copies the log in batches, and then puts the
copy in its place: the disk must have room for it. If the command is stopped, run it again: it goes on where it was.

  --partitions   from 2 to ${MAX_PARTITIONS}

Example:
  DATABASE_URL=postgres://chat@db/chat nano-messaging partition --partitions 16
`,
  options: { partitions: { type: 'string' } },
  input: z.object({
    partitions: z
      .string('must be given')
      .regex(/^\d{1,4}$/, NUMBER)
      .transform(Number)
      .refine((partitions) => partitions >= 2 && partitions <= MAX_PARTITIONS, NUMBER),
  }),
  async run({ partitions }) {
    await withDatabase(async (database, { config, logger }) => {
      if (config.database === undefined) {
        throw new Error('the embedded database has no use for partitions: set DATABASE_URL');
      }
      if (database.directAddress.isPooled === true) {
        // VACUUM has to be alone in its message, and the settings of a pooled connection go with each.
        throw new Error('it needs a connection past the pooler: set DATABASE_DIRECT_URL');
      }
      await requireMigrated(database, logger, { patienceMs: PATIENCE_MS });
      let progress: Progress | undefined;
      let toldAt = -Infinity;
      const copied = await partitionMessages(database.directAddress, partitions, {
        onProgress(entries, total) {
          progress ??= createProgress(total);
          progress.at(entries);
        },
        onWaiting(pids) {
          if (performance.now() - toldAt < WAITING_INTERVAL_MS) return;
          toldAt = performance.now();
          process.stderr.write(
            `waiting for transactions of Postgres, processes ${pids.join(', ')}\n`,
          );
        },
      });
      progress?.end();
      process.stdout.write(
        copied === undefined
          ? `messages has ${partitions} partitions already\n`
          : `partitioned: ${copied} entries, in ${partitions} partitions\n`,
      );
    });
  },
});
