import { fstatSync } from 'node:fs';
import type { Sequelize } from 'sequelize';
import { z } from 'zod';
import { MAX_RULES } from '../protocol/room-fields.js';
import { roomIdSchema } from '../protocol/values.js';
import { requireMigrated } from '../store/migrate.js';
import type { MessageEntry, RoomUser } from '../store/room-export.js';
import {
  ImportRefusal,
  importSettings,
  roomToImport,
  storeImported,
  type ImportedRoom,
  type ImportedRule,
} from '../store/room-import.js';
import { command, UsageError } from './command.js';
import { PATIENCE_MS, withDatabase } from './database.js';
import { LineError, parseLines, type ParsedLine } from './lines.js';
import { createProgress } from './progress.js';
import { Renumbering } from './renumbering.js';
import { lineSchema, type Line, type RoomLine } from './room-file.js';

/** Entries, and bytes of lines, of one transaction: it keeps the room locked. */
const BATCH_ENTRIES = 500;
const BATCH_BYTES = 1_048_576;

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
      const target = await roomToImport(sequelize, id);
      if (target === undefined) throw new Error(`there is no room ${id}`);
      const progress = createProgress(sizeOfInput());
      const options = {
        schema: lineSchema(config.limits),
        // The longest message fits into a frame; here its sender, date and number stand beside it.
        maxBytes: 2 * config.limits.frameBytes,
        onBytes: (bytes: number) => {
          progress.at(bytes);
        },
      };
      try {
        const { count, added } = await importLines(
          sequelize,
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

interface Imported {
  /** Entries of the file. */
  readonly count: number;
  /** Those of them that were not stored before. */
  readonly added: number;
}

/** Imports the lines of a file: its entries, then its settings and rules, so that nobody is let in too early. */
async function importLines(
  sequelize: Sequelize,
  { room, first, users: pair }: ImportedRoom,
  lines: AsyncIterable<ParsedLine<Line>>,
): Promise<Imported> {
  const batches = new EntryBatches(sequelize, room.id, first);
  let head: RoomLine | undefined;
  const rules = new Map<string, ImportedRule>();
  const users = new Map<string, RoomUser>();
  for await (const { number, value, bytes } of lines) {
    if (value.kind === 'room') {
      if (head !== undefined) throw new LineError(number, 'is a second room');
      if (value.type !== room.type)
        throw new LineError(number, `type is not that of the room, ${room.type}`);
      head = value;
    } else if (head === undefined) {
      throw new LineError(number, 'is not a room, as the first line has to be');
    } else if (value.kind !== 'entry' && batches.count > 0) {
      throw new LineError(number, `is a ${value.kind} behind entries`);
    } else if (value.kind === 'user') {
      const { user } = value;
      if (users.has(user.userUUID)) throw new LineError(number, 'is a second line of the user');
      users.set(user.userUUID, user);
    } else if (value.kind === 'rule') {
      const { rule, since } = value;
      if (rules.size === MAX_RULES)
        throw new LineError(number, `is a rule behind ${MAX_RULES} others`);
      if (rules.has(rule.entityUUID)) throw new LineError(number, 'is a second rule of the UUID');
      if (pair?.includes(rule.entityUUID) === false) {
        throw new LineError(number, 'entity_UUID is not one of the two users of the room');
      }
      rules.set(rule.entityUUID, { rule, since });
    } else {
      await batches.add(value.entry, number, bytes);
    }
  }
  if (head === undefined) throw new Error('there are no lines');
  await batches.end(head.entries);
  await importSettings(sequelize, room, {
    settings: head.settings,
    rules: [...rules.values()].map(({ rule, since }) => ({
      rule,
      since: since === undefined ? undefined : batches.seqUpTo(since),
    })),
    users: [...users.values()].map((user) =>
      user.upto === null ? user : { ...user, upto: batches.seqUpTo(user.upto) },
    ),
  });
  return { count: batches.count, added: batches.added };
}

/** Renumbers entries, and stores them in batches. */
class EntryBatches {
  /** Entries that were taken. */
  count = 0;
  /** Entries that were stored, and were not before. */
  added = 0;
  readonly #sequelize: Sequelize;
  readonly #roomId: number;
  readonly #seqs: Renumbering;
  #batch: { readonly entry: MessageEntry; readonly line: number }[] = [];
  #bytes = 0;
  /** Numbers in the file of messages that are to be deleted by a later line. */
  readonly #toDelete = new Set<number>();

  constructor(sequelize: Sequelize, roomId: number, first: number) {
    this.#sequelize = sequelize;
    this.#roomId = roomId;
    this.#seqs = new Renumbering(first);
  }

  /** @throws {LineError} */
  async add(entry: MessageEntry, line: number, bytes: number): Promise<void> {
    const seq = this.#seqs.add(entry.seq);
    if (seq === undefined) throw new LineError(line, 'seq is not above that of the line before');
    const about = { ...entry, seq };
    for (const field of ['target', 'replyTo'] as const) {
      const before = entry[field];
      if (before === undefined) continue;
      const now = this.#seqs.get(before);
      if (now === undefined || now === seq) {
        const name = field === 'target' ? field : 'reply_to';
        throw new LineError(line, `${name} is not the number of an earlier message`);
      }
      Object.assign(about, { [field]: now });
    }
    if (entry.isDeleted) this.#toDelete.add(entry.seq);
    if (entry.kind === 'delete') this.#toDelete.delete(entry.target ?? 0);
    this.count += 1;
    this.#batch.push({ entry: about, line });
    this.#bytes += bytes;
    if (this.#batch.length >= BATCH_ENTRIES || this.#bytes >= BATCH_BYTES) await this.#store();
  }

  /**
   * Stores the rest.
   * @param count entries that there must have been
   * @throws {LineError}
   */
  async end(count: number): Promise<void> {
    await this.#store();
    if (this.count !== count) {
      throw new Error(
        `the file has ${this.count} entries, and not ${count}, as its first line says`,
      );
    }
    const [left] = this.#toDelete;
    if (left !== undefined) {
      throw new Error(`the message with seq ${left} is deleted, but no line says by whom`);
    }
  }

  /** The number in the room of the last entry up to this number of the file, or 0. */
  seqUpTo(number: number): number {
    return this.#seqs.upTo(number);
  }

  async #store(): Promise<void> {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    this.#bytes = 0;
    try {
      const entries = batch.map(({ entry }) => entry);
      this.added += await storeImported(this.#sequelize, this.#roomId, entries);
    } catch (error) {
      const line = error instanceof ImportRefusal ? batch[error.index]?.line : undefined;
      if (line === undefined) throw error;
      throw new LineError(line, (error as ImportRefusal).message);
    }
  }
}
