import { fstatSync } from 'node:fs';
import { z } from 'zod';
import { roomIdSchema } from '../protocol/values.js';
import { requireMigrated } from '../store/migrate.js';
import { createImports } from '../store/imports.js';
import { command, UsageError } from './command.js';
import { PATIENCE_MS, withDatabase } from './database.js';
import { importLines } from '../transfer/import-lines.js';
import { parseLines } from '../transfer/lines.js';
import { createProgress } from './progress.js';
import { lineSchema, maxLineBytes } from '../transfer/room-file.js';

export default command({
  help: `usage: nano-messaging import ROOM < FILE

Stores the lines of the command export, read from stdin, in an empty room: one without messages, such as a new one.
Messages keep their order, dates, senders and refs, and get new numbers. The rules and the read markers of the file are
added to those of the room, and its settings become those of the file.

  ROOM       the id of the room

If it ends early, run it again with the same file: it goes on after what is stored. A line that is malformed, and what
follows it, is not stored, and the command says which line that is. Nobody should write in the room meanwhile.

It writes into the database itself: that of DATABASE_URL, or the embedded one in DATA_DIR while no server uses it.

Examples:
  nano-messaging import 2 < room.jsonl
  gunzip < room.jsonl.gz | nano-messaging import 2
`,
  positionals: ['room'],
  input: z.object({ room: roomIdSchema('must be the id of a room') }),
  async run({ room: id }) {
    if (process.stdin.isTTY) throw new UsageError('there is no file on stdin');
    await withDatabase(async ({ sequelize, ...database }, { logger, config }) => {
      await requireMigrated(database, logger, { patienceMs: PATIENCE_MS });
      const imports = createImports({ sequelize });
      const target = await imports.open(id);
      if (target === undefined) throw new Error(`there is no room ${id}`);
      const progress = createProgress(sizeOfInput());
      const options = {
        schema: lineSchema(config.limits),
        maxBytes: maxLineBytes(config.limits),
        onBytes: (bytes: number) => {
          progress.at(bytes);
        },
      };
      try {
        const { count, added } = await importLines(
          imports,
          target,
          parseLines(process.stdin, options),
        );
        progress.end();
        process.stderr.write(`imported: ${count} entries, ${count - added} of them before\n`);
      } catch (error) {
        progress.end();
        throw error;
      }
    });
  },
});

/** Bytes of stdin; undefined if it is not a file. */
function sizeOfInput(): number | undefined {
  const input = fstatSync(process.stdin.fd);
  return input.isFile() ? input.size : undefined;
}
