import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import { reactionOf, type Entry, type Reaction } from './entry.js';
import { lockRoom } from './lock-room.js';
import { emojiKey } from './message-change.js';
import type { Room } from './models/room.js';
import { KINDS_ABOUT_MESSAGES, type MessageEntry } from './room-export.js';
import { findRoom } from './room-settings.js';

/** Why an entry can't be imported. */
export class ImportRefusal extends Error {
  override readonly name = 'ImportRefusal';
  /** Of the entry in its batch. */
  readonly index: number;

  constructor(index: number, problem: string) {
    super(problem);
    this.index = index;
  }
}

/** A room that entries are imported into. */
export interface ImportedRoom {
  readonly room: Room;
  /** Seq that the first imported entry has, or is to have: that of the first entry that is about a message. */
  readonly first: number;
  /** UUIDs that may have rules: those of a direct room have theirs. Undefined if all may. */
  readonly users: readonly string[] | undefined;
}

/** The room, and where its messages begin, or are to begin; undefined if there is no such room. */
export async function roomToImport(
  sequelize: Sequelize,
  roomId: number,
): Promise<ImportedRoom | undefined> {
  const room = await findRoom(sequelize, { id: roomId });
  if (room === undefined) return undefined;
  const [place] = await sequelize.query<{ first: number; users: readonly string[] | null }>(
    `SELECT coalesce(
       (SELECT seq FROM messages WHERE room_id = $1 AND kind IN ${KINDS_ABOUT_MESSAGES} ORDER BY seq LIMIT 1),
       head + 1) AS first,
       CASE type WHEN 'user2user' THEN
         (SELECT json_agg("entity_UUID") FROM room_permissions WHERE room_id = $1) END AS users
     FROM rooms WHERE id = $1`,
    { bind: [roomId], type: QueryTypes.SELECT },
  );
  return { room, first: place?.first ?? 1, users: place?.users ?? undefined };
}

interface StoredRow extends Pick<Entry, 'seq' | 'kind' | 'emitter' | 'ref'> {
  readonly target: number | null;
  readonly replyTo: number | null;
  readonly createdAt: Date;
}

/**
 * The entries $2, a JSON array of rows, and the room's new head $3. A message that is to be deleted or erased is none from
 * the beginning, by its own number: that of the deletion follows with it.
 */
const INSERT = `
  WITH inserted AS (
    INSERT INTO messages
      (room_id, seq, kind, emitter, content, ref, target, data, reply_to, mentions, deleted_by, "createdAt", "updatedAt")
    SELECT $1::int, seq, kind, emitter, content, ref, target, data, "replyTo", mentions,
      CASE WHEN "isDeleted" THEN seq END, "createdAt", "createdAt"
    FROM json_to_recordset($2::json) AS e (seq bigint, kind text, emitter uuid, content text, ref text, target bigint,
      data text, "replyTo" bigint, mentions uuid[], "isDeleted" boolean, "createdAt" timestamptz)
  )
  UPDATE rooms SET head = $3 WHERE id = $1`;

/**
 * Applies changes to their messages: $2 are seqs of messages, $3 of the last change of each, $4 of the last edit or
 * null, $5 of the deletion or null, $6 the dates of these.
 */
const APPLY_CHANGES = `
  UPDATE messages AS m SET rev = c.rev, deleted_by = coalesce(c.deleted_by, m.deleted_by),
    text_seq = CASE WHEN coalesce(c.deleted_by, m.deleted_by) IS NULL THEN coalesce(c.text_seq, m.text_seq) END,
    content = CASE WHEN c.deleted_by IS NULL THEN m.content ELSE '' END,
    data = CASE WHEN c.deleted_by IS NULL THEN m.data END,
    mentions = CASE WHEN c.deleted_by IS NULL THEN m.mentions END,
    "updatedAt" = coalesce(c.moment, m."updatedAt")
  FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[])
    AS c (seq, rev, text_seq, deleted_by, moment)
  WHERE m.room_id = $1 AND m.seq = c.seq`;

/** Stores the reactions $2 to $7, and forgets those, and the words, of the deleted messages $8. */
const APPLY_REACTIONS = `
  WITH reacted AS (
    INSERT INTO reactions (room_id, target, emoji_key, emitter, emoji, is_on, seq)
    SELECT $1::int, r.* FROM unnest($2::bigint[], $3::text[], $4::uuid[], $5::text[], $6::boolean[], $7::bigint[]) AS r
    ON CONFLICT (room_id, target, emoji_key, emitter)
      DO UPDATE SET emoji = excluded.emoji, is_on = excluded.is_on, seq = excluded.seq
  ), forgotten AS (
    DELETE FROM reactions WHERE room_id = $1 AND target = ANY ($8::bigint[])
  ), no_words AS (
    DELETE FROM message_words WHERE room_id = $1 AND seq = ANY ($8::bigint[])
  )
  UPDATE messages SET content = '' WHERE room_id = $1 AND target = ANY ($8::bigint[]) AND content <> ''`;

/**
 * Stores entries with the numbers and the dates that they have, all or none. Those that are stored already must be the
 * same. Nodes read them from the log once they know that it has grown, and store their words for the search.
 * @param entries whose numbers follow each other, from at most one behind the room's head
 * @returns how many of them were not stored before
 * @throws {ImportRefusal} if the room is gone or has other entries, or an entry is about no message of the room, or has
 *   the ref of another one of its emitter
 */
export function storeImported(
  sequelize: Sequelize,
  roomId: number,
  entries: readonly MessageEntry[],
): Promise<number> {
  return sequelize.transaction(async (transaction) => {
    const room = await lockRoom(sequelize, roomId, [], [], transaction);
    if (room === undefined) throw new ImportRefusal(0, 'the room was deleted');
    const stored = await readStored(sequelize, roomId, entries, transaction);
    for (const [index, row] of stored.entries()) {
      if (!isStored(entries[index], row)) {
        throw new ImportRefusal(
          index,
          `the room has another entry at this place, ${row.seq}: it was not empty, or somebody has written in it`,
        );
      }
    }
    const added = entries.slice(stored.length);
    const last = added.at(-1);
    if (last === undefined) return 0;
    const copy = await findUsedRef(sequelize, roomId, added, transaction);
    if (copy !== undefined) {
      throw new ImportRefusal(
        stored.length + copy,
        'ref is that of an earlier entry of the same emitter',
      );
    }
    await sequelize.query(INSERT, { bind: [roomId, JSON.stringify(added), last.seq], transaction });
    await apply(sequelize, roomId, added, stored.length, transaction);
    return added.length;
  });
}

async function readStored(
  sequelize: Sequelize,
  roomId: number,
  entries: readonly MessageEntry[],
  transaction: Transaction,
): Promise<StoredRow[]> {
  return sequelize.query<StoredRow>(
    `SELECT seq, kind, emitter, ref, target, reply_to AS "replyTo", "createdAt" FROM messages
     WHERE room_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq`,
    {
      bind: [roomId, entries[0]?.seq ?? 0, entries.at(-1)?.seq ?? 0],
      type: QueryTypes.SELECT,
      transaction,
    },
  );
}

/** Whether a row is that of the entry. A text may have been edited since. */
function isStored(entry: MessageEntry | undefined, row: StoredRow): boolean {
  return (
    entry !== undefined &&
    entry.seq === row.seq &&
    entry.kind === row.kind &&
    entry.emitter === row.emitter &&
    entry.ref === row.ref &&
    entry.target === (row.target ?? undefined) &&
    entry.replyTo === (row.replyTo ?? undefined) &&
    entry.createdAt === row.createdAt.toISOString()
  );
}

/** The index of the first entry whose emitter has used its ref before, in the room or in the list. */
async function findUsedRef(
  sequelize: Sequelize,
  roomId: number,
  entries: readonly MessageEntry[],
  transaction: Transaction,
): Promise<number | undefined> {
  const keys = entries.map(({ emitter, ref }) => (ref === null ? undefined : `${emitter} ${ref}`));
  if (keys.every((key) => key === undefined)) return undefined;
  const used = await sequelize.query<{ key: string }>(
    `SELECT m.emitter || ' ' || m.ref AS key FROM unnest($2::uuid[], $3::text[]) AS e (emitter, ref)
     JOIN messages AS m ON m.room_id = $1 AND m.emitter = e.emitter AND m.ref = e.ref`,
    {
      bind: [roomId, entries.map(({ emitter }) => emitter), entries.map(({ ref }) => ref)],
      type: QueryTypes.SELECT,
      transaction,
    },
  );
  const seen = new Set(used.map(({ key }) => key));
  for (const [index, key] of keys.entries()) {
    if (key === undefined) continue;
    if (seen.has(key)) return index;
    seen.add(key);
  }
  return undefined;
}

/** What the changes of a batch make of a message. */
interface Changed {
  rev: number;
  textSeq: number | null;
  deletedBy: number | null;
  moment: string | null;
  /** Of one who reacted, by user and emoji, the last. */
  readonly reactions: Map<string, Reaction & { readonly user: string; readonly seq: number }>;
}

function unchanged(): Changed {
  return { rev: 0, textSeq: null, deletedBy: null, moment: null, reactions: new Map() };
}

/** What an imported entry makes of its message, by kind; a message and an erasure are about none. */
const CHANGES: Readonly<
  Record<MessageEntry['kind'], (changed: Changed, entry: MessageEntry) => void>
> = {
  message: () => undefined,
  edit(changed, { seq, createdAt }) {
    changed.textSeq = seq;
    changed.moment = createdAt;
  },
  delete(changed, { seq, createdAt }) {
    changed.deletedBy = seq;
    changed.moment = createdAt;
  },
  erase: () => undefined,
  reaction(changed, entry) {
    if (entry.content === '') return;
    const { seq, emitter: user } = entry;
    const reaction = reactionOf(entry);
    changed.reactions.set(`${user} ${emojiKey(reaction.emoji)}`, { ...reaction, user, seq });
  },
};

/** Applies the stored entries to the messages that they are about. @param before entries of the batch before them */
async function apply(
  sequelize: Sequelize,
  roomId: number,
  added: readonly MessageEntry[],
  before: number,
  transaction: Transaction,
): Promise<void> {
  const messages = await readMessages(sequelize, roomId, added, transaction);
  const changed = new Map<number, Changed>();
  for (const [index, entry] of added.entries()) {
    const problem = problemOf(entry, messages);
    if (problem !== undefined) throw new ImportRefusal(before + index, problem);
    const { seq, target } = entry;
    if (target === undefined) continue;
    const change = changed.get(target) ?? unchanged();
    change.rev = seq;
    CHANGES[entry.kind](change, entry);
    changed.set(target, change);
    const message = messages.get(target);
    if (message !== undefined && change.deletedBy !== null) message.isDeleted = true;
  }
  if (changed.size === 0) return;
  const changes = [...changed.values()];
  await sequelize.query(APPLY_CHANGES, {
    bind: [
      roomId,
      [...changed.keys()],
      changes.map(({ rev }) => rev),
      changes.map(({ textSeq }) => textSeq),
      changes.map(({ deletedBy }) => deletedBy),
      changes.map(({ moment }) => moment),
    ],
    transaction,
  });
  const kept = [...changed].flatMap(([target, { deletedBy, reactions }]) =>
    deletedBy === null ? [...reactions.values()].map((one) => ({ target, ...one })) : [],
  );
  const gone = [...changed].flatMap(([target, { deletedBy }]) =>
    deletedBy === null ? [] : target,
  );
  await sequelize.query(APPLY_REACTIONS, {
    bind: [
      roomId,
      kept.map(({ target }) => target),
      kept.map(({ emoji }) => emojiKey(emoji)),
      kept.map(({ user }) => user),
      kept.map(({ emoji }) => emoji),
      kept.map(({ on }) => on),
      kept.map(({ seq }) => seq),
      gone,
    ],
    transaction,
  });
}

type Messages = Map<number, { isDeleted: boolean }>;

/** The messages that entries are about, or answer, as they were before the changes among these entries. */
async function readMessages(
  sequelize: Sequelize,
  roomId: number,
  entries: readonly MessageEntry[],
  transaction: Transaction,
): Promise<Messages> {
  const seqs = entries.flatMap(({ target, replyTo }) => target ?? replyTo ?? []);
  const rows = await sequelize.query<{ seq: number; isDeleted: boolean }>(
    `SELECT seq, coalesce(deleted_by > seq, false) AS "isDeleted" FROM messages
     WHERE room_id = $1 AND seq = ANY ($2::bigint[]) AND kind = 'message'`,
    { bind: [roomId, seqs], type: QueryTypes.SELECT, transaction },
  );
  return new Map(rows.map(({ seq, ...message }) => [seq, message]));
}

function problemOf({ target, replyTo }: MessageEntry, messages: Messages): string | undefined {
  if (replyTo !== undefined && !messages.has(replyTo))
    return 'reply_to is not the number of a message';
  if (target === undefined) return undefined;
  const message = messages.get(target);
  if (message === undefined) return 'target is not the number of a message';
  if (message.isDeleted) return 'the message was deleted by an earlier line';
  return undefined;
}
