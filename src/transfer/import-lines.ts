import { MAX_RULES } from '../protocol/room-fields.js';
import { erasedUserOf } from '../store/entry.js';
import type { ImportedRule } from '../store/import-settings.js';
import type { Imports } from '../store/imports.js';
import type { MessageEntry, RoomUser } from '../store/room-export.js';
import { ImportRefusal, type ImportedRoom } from '../store/room-import.js';
import type { ChangedRoom } from '../store/room-settings.js';
import { FileError, LineError, type ParsedLine } from './lines.js';
import { Renumbering } from './renumbering.js';
import type { Line, RoomLine } from './room-file.js';

/** Entries, and bytes of lines, of one transaction: it keeps the room locked. */
const BATCH_ENTRIES = 500;
const BATCH_BYTES = 1_048_576;

export interface Imported {
  /** Entries of the file. */
  readonly count: number;
  /** Those of them that were not stored before. */
  readonly added: number;
  /** What the settings and rules of the file have changed, in this order. */
  readonly changes: readonly ChangedRoom[];
}

/**
 * Imports the lines of a file into an empty room: its entries, then its settings and rules, so that nobody is let in too
 * early.
 * @throws {LineError} at the first line that can't be imported; FileError if the file is not whole
 */
export async function importLines(
  imports: Pick<Imports, 'storeEntries' | 'storeSettings'>,
  { room, first, users: pair }: ImportedRoom,
  lines: AsyncIterable<ParsedLine<Line>>,
): Promise<Imported> {
  const batches = new EntryBatches(imports, room.id, first);
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
  if (head === undefined) throw new FileError('there are no lines');
  await batches.end(head.entries);
  const changes = await imports.storeSettings(room, {
    settings: head.settings,
    rules: [...rules.values()].map(({ rule, since }) => ({
      rule,
      since: since === undefined ? undefined : batches.seqUpTo(since),
    })),
    users: [...users.values()].map((user) =>
      user.upto === null ? user : { ...user, upto: batches.seqUpTo(user.upto) },
    ),
  });
  return { count: batches.count, added: batches.added, changes };
}

/** Renumbers entries, and stores them in batches. */
class EntryBatches {
  /** Entries that were taken. */
  count = 0;
  /** Entries that were stored, and were not before. */
  added = 0;
  readonly #imports: Pick<Imports, 'storeEntries'>;
  readonly #roomId: number;
  readonly #seqs: Renumbering;
  #batch: { readonly entry: MessageEntry; readonly line: number }[] = [];
  #bytes = 0;
  /** Numbers in the file, and emitters, of messages that are to be deleted or erased by a later line. */
  readonly #toDelete = new Map<number, string>();

  constructor(imports: Pick<Imports, 'storeEntries'>, roomId: number, first: number) {
    this.#imports = imports;
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
    if (entry.isDeleted) this.#toDelete.set(entry.seq, entry.emitter);
    if (entry.kind === 'delete') this.#toDelete.delete(entry.target ?? 0);
    if (entry.kind === 'erase') this.#erased(erasedUserOf(entry));
    this.count += 1;
    this.#batch.push({ entry: about, line });
    this.#bytes += bytes;
    if (this.#batch.length >= BATCH_ENTRIES || this.#bytes >= BATCH_BYTES) await this.#store();
  }

  /**
   * Stores the rest.
   * @param count entries that there must have been
   * @throws {LineError, FileError}
   */
  async end(count: number): Promise<void> {
    await this.#store();
    if (this.count !== count) {
      throw new FileError(
        `the file has ${this.count} entries, and not ${count}, as its first line says`,
      );
    }
    const [left] = this.#toDelete.keys();
    if (left !== undefined) {
      throw new FileError(`the message with seq ${left} is deleted, but no line says by whom`);
    }
  }

  /** The number in the room of the last entry up to this number of the file, or 0. */
  seqUpTo(number: number): number {
    return this.#seqs.upTo(number);
  }

  #erased(userUUID: string): void {
    for (const [seq, emitter] of this.#toDelete) {
      if (emitter === userUUID) this.#toDelete.delete(seq);
    }
  }

  async #store(): Promise<void> {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    this.#bytes = 0;
    try {
      const entries = batch.map(({ entry }) => entry);
      this.added += await this.#imports.storeEntries(this.#roomId, entries);
    } catch (error) {
      const line = error instanceof ImportRefusal ? batch[error.index]?.line : undefined;
      if (line === undefined) throw error;
      throw new LineError(line, (error as ImportRefusal).message);
    }
  }
}
