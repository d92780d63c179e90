import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { roomIdSchema } from '../protocol/values.js';
import { requireMigrated } from '../store/migrate.js';
import { exportRoom, type ExportedRoom } from '../store/room-export.js';
import { command } from './command.js';
import { PATIENCE_MS, withDatabase } from './database.js';
import { createProgress } from './progress.js';
import { entryLine, roomLine, ruleLine, userLine } from '../transfer/room-file.js';

export default command({
  help: `usage: nano-messaging export ROOM > FILE

Writes a room to stdout, as it is at one moment: a line of JSON for the room, one for each rule and each user, and one
for each message, edit, deletion and reaction, in order. A message has its present text, and a deleted one has none. The
command import reads these lines.

  ROOM       the id of the room

It reads the database itself: that of DATABASE_URL, or the embedded one in DATA_DIR while no server uses it.

Examples:
  nano-messaging export 1 > room.jsonl
  nano-messaging export 1 | gzip > room.jsonl.gz
`,
  positionals: ['room'],
  input: z.object({ room: roomIdSchema('must be the id of a room') }),
  async run({ room: id }) {
    await withDatabase(async (database, { logger }) => {
      await requireMigrated(database, logger, { patienceMs: PATIENCE_MS });
      await exportRoom(database.sequelize, id, async (room) => {
        if (room === undefined) throw new Error(`there is no room ${id}`);
        await pipeline(Readable.from(linesOf(room)), process.stdout, { end: false });
        process.stderr.write(`exported: ${room.rules.length} rules, ${room.count} entries\n`);
      });
    });
  },
});

/** The room as text, a page of it at a time. */
async function* linesOf(room: ExportedRoom): AsyncGenerator<string> {
  // On one terminal, it would stand among the lines.
  const progress = createProgress(process.stdout.isTTY ? undefined : room.head);
  yield join([roomLine(room), ...room.rules.map(ruleLine), ...room.users.map(userLine)]);
  for await (const page of room.pages) {
    progress.at(page.at(-1)?.seq ?? 0);
    if (page.length > 0) yield join(page.map(entryLine));
  }
  progress.at(room.head);
  progress.end();
}

function join(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`;
}
