import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller, RoomAccess, Rule } from '../access/permissions.js';
import { debugLog, type Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import type { Tracer } from '../tracer.js';
import { appendEntries, type CheckedDraft, type Outcome } from './append.js';
import type { Entry, EntryDraft } from './entry.js';
import { isolateRefused } from './isolate-refused.js';
import { FairLimit } from './fair-limit.js';
import { GroupCommit, type Appended, type GroupCommitLimits } from './group-commit.js';
import type { LiveRoom } from './live-room.js';
import { isLockTimeout } from './pg-errors.js';
import type { RunStatement } from './prepared.js';

/** A room with its rules at one moment. */
export interface RoomState {
  readonly id: number;
  readonly uuid: string;
  /** Seq of its last entry. */
  readonly head: number;
  /** Seq of the last entry that changed rights. */
  readonly rulesHead: number;
  /** Date of that entry, ISO 8601; null if there is none. */
  readonly rulesDate: string | null;
  /** Date of the last entry; empty if there is none. */
  readonly headCreatedAt: string;
  readonly access: RoomAccess & { readonly rules: ReadonlyMap<string, Rule> };
}

export interface Log {
  /**
   * Stores a message with its room's next seq; before this resolves, `room.stored` has had it.
   * @throws {ChatError} UNAVAILABLE within STORE_TIMEOUT_MS: it is not known whether it is stored
   * @throws {ChatError} FORBIDDEN by `room.refusal`; NOT_FOUND; REF_USED; NO_SUCH_MESSAGE if it answers none of
   * the room; INVALID if the database refuses its content
   */
  append(room: LiveRoom, caller: Caller, draft: EntryDraft): Promise<Appended>;
  /**
   * Resolves when the database has answered for all messages of a room that were given up, or does not any more;
   * undefined if none is left.
   */
  settledIn(roomId: number): Promise<void> | undefined;
  /** The messages that are not settled, and the bytes of their content. */
  unsettled(): { readonly entries: number; readonly bytes: number };
  /**
   * Entries after `after` up to `upTo`, in order, at most `limit`. A text that was set later is that of a message that
   * has `textSeq`, which may be beyond `upTo`.
   */
  read(roomId: number, range: { after: number; upTo: number; limit: number }): Promise<Entry[]>;
  /** A room's head and rules at one moment; undefined if there is no such room. */
  state(roomId: number): Promise<RoomState | undefined>;
  /** Seq up to which the log of a room is gone, because it is old; undefined if there is no such room. */
  horizon(roomId: number): Promise<number | undefined>;
  /** The heads of rooms, in one query; a deleted room is not in the map. */
  heads(roomIds: readonly number[]): Promise<Map<number, number>>;
  /** Takes no more messages, and resolves when those it took are stored or refused. */
  close(): Promise<void>;
}

type EntryRow = Pick<Entry, 'roomId' | 'seq' | 'kind' | 'emitter' | 'content' | 'ref'> & {
  createdAt: Date;
  /** The fields that most entries lack; null if this one lacks all of them. */
  others: Omit<Entry, keyof EntryRow> | null;
};

/** Entries with seqs from $2, exclusive, to $3, inclusive; edits without their texts. */
const READ = `
  SELECT room_id AS "roomId", seq, kind, emitter, content, ref, "createdAt",
    CASE WHEN num_nonnulls(target, data, reply_to, mentions, text_seq, deleted_by) > 0 THEN
      json_strip_nulls(json_build_object(
        'target', target, 'data', data, 'replyTo', reply_to, 'mentions', mentions, 'textSeq', text_seq,
        'isWithheld', nullif(CASE kind
          WHEN 'message' THEN deleted_by IS NOT NULL WHEN 'edit' THEN true WHEN 'reaction' THEN content = ''
        END, false)))
    END AS others
  FROM messages WHERE room_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4`;

/** The texts that the messages $2 have by the edits $3. */
const READ_TEXTS = `
  SELECT text_seq AS seq, content, data FROM messages
  WHERE room_id = $1 AND seq = ANY ($2::bigint[]) AND text_seq = ANY ($3::bigint[])`;

interface TextRow extends Pick<Entry, 'seq' | 'content'> {
  readonly data: string | null;
}

interface StateRow extends Omit<RoomAccess, 'rules'> {
  id: number;
  uuid: string;
  head: number;
  rulesHead: number;
  rulesDate: Date | null;
  headCreatedAt: Date | null;
  rules: Rule[];
}

/** The log of all rooms over one database. */
export function createLog({
  rooms,
  pages,
  pageReaders,
  runAppend,
  limits,
  logger,
  observer,
  tracer,
}: {
  /** For queries of a few rows. */
  rooms: Sequelize;
  /** For pages of the log. */
  pages: Sequelize;
  /** Pages that are read at a time. */
  pageReaders: number;
  runAppend: RunStatement;
  limits: GroupCommitLimits;
  logger: Logger;
  observer?: Observer | undefined;
  tracer?: Tracer | undefined;
}): Log {
  const debug = debugLog(logger);
  const groupCommit = new GroupCommit({ storeBatch, limits, logger });
  // Rooms take turns at the connections, which would else go to the rooms that asked first.
  const readers = new FairLimit<number>(pageReaders, limits.storeTimeoutMs);

  async function storeBatch(
    checked: readonly CheckedDraft[],
    waitsForLocks: boolean,
  ): Promise<readonly Outcome[]> {
    const sentAt = performance.now();
    const outcomes = await isolateRefused((part) => appendOrBusy(part, waitsForLocks), checked);
    if (tracer !== undefined) traceStored(tracer, checked, outcomes, sentAt);
    observer?.batchStored(
      checked.length,
      outcomes.filter(({ outcome }) => outcome === 'stored').length,
      performance.now() - sentAt,
    );
    debug?.(
      {
        rooms: [...new Set(checked.map(({ draft }) => draft.roomId))],
        entries: checked.length,
        stored: outcomes.filter(({ outcome }) => outcome === 'stored').length,
        ms: Math.round(performance.now() - sentAt),
      },
      'batch stored',
    );
    const refused = outcomes.flatMap((one) => (one.outcome === 'refused' ? [one.error] : []));
    if (refused.length > 0) {
      logger.error({ err: refused[0], entries: refused.length }, 'database refuses messages');
    }
    const busy = checked.filter((_, index) => outcomes[index]?.outcome === 'busy');
    if (waitsForLocks && busy.length > 0) {
      const rooms = new Set(busy.map(({ draft }) => draft.roomId));
      logger.warn({ rooms: [...rooms], entries: busy.length }, 'rooms are locked');
    }
    return outcomes;
  }

  /** A statement that fails for the lock of its only room is the same as an outcome `busy`. */
  function appendOrBusy(
    checked: readonly CheckedDraft[],
    waitsForLocks: boolean,
  ): Promise<Outcome[]> {
    return appendEntries(runAppend, checked, waitsForLocks).catch((error: unknown) => {
      if (!isLockTimeout(error)) throw error;
      return checked.map((): Outcome => ({ outcome: 'busy' }));
    });
  }

  /**
   * The entries, with the texts of edits that their messages still have. They are read later than the entries: a text
   * that was replaced or deleted meanwhile is withheld, too.
   */
  async function withTexts(
    roomId: number,
    entries: readonly Entry[],
    edits: readonly Entry[],
  ): Promise<Entry[]> {
    const bind = [roomId, edits.map(({ target }) => target), edits.map(({ seq }) => seq)];
    const rows = await readers.run(roomId, () =>
      pages.query<TextRow>(READ_TEXTS, { bind, type: QueryTypes.SELECT }),
    );
    const texts = new Map(rows.map((row) => [row.seq, row]));
    return entries.map((entry) => {
      const text = texts.get(entry.seq);
      if (text === undefined) return entry;
      const { content, data } = text;
      return { ...entry, content, data: data ?? undefined, isWithheld: undefined };
    });
  }

  return {
    append: (room, caller, draft) =>
      tracer === undefined
        ? groupCommit.append(room, caller, draft)
        : traced(tracer, draft, () => groupCommit.append(room, caller, draft)),
    settledIn: (roomId) => groupCommit.settledIn(roomId),
    unsettled: () => groupCommit.unsettled,

    async read(roomId, { after, upTo, limit }) {
      // Seqs have no gaps, so this range holds one page, and any plan of it is cheap.
      const bind = [roomId, after, Math.min(upTo, after + limit), limit];
      const rows = await readers.run(roomId, () =>
        pages.query<EntryRow>(READ, { bind, type: QueryTypes.SELECT }),
      );
      const entries = rows.map(({ others, ...row }) => ({
        ...row,
        createdAt: row.createdAt.toISOString(),
        ...others,
      }));
      const edits = entries.filter((entry) => entry.isWithheld && entry.target !== undefined);
      return edits.length === 0 ? entries : withTexts(roomId, entries, edits);
    },

    async state(roomId) {
      // One statement, so that the head and the rules are of one snapshot.
      const [row] = await rooms.query<StateRow>(
        `SELECT id, uuid, head, rules_head AS "rulesHead", rules_date AS "rulesDate", type,
           entity_owner AS "entityOwner",
           level_admin AS "levelAdmin", max_entity_rules AS "maxEntityRules",
           (SELECT "createdAt" FROM messages WHERE room_id = $1 AND seq = rooms.head) AS "headCreatedAt",
           (SELECT coalesce(json_agg(p), '[]') FROM (
              SELECT "entity_UUID" AS "entityUUID", level, permissions, accepted
              FROM room_permissions WHERE room_id = rooms.id) AS p) AS rules
         FROM rooms WHERE id = $1`,
        { bind: [roomId], type: QueryTypes.SELECT },
      );
      if (row === undefined) return undefined;
      const { id, uuid, head, rulesHead, rulesDate, headCreatedAt, rules, ...room } = row;
      return {
        id,
        uuid,
        head,
        rulesHead,
        rulesDate: rulesDate?.toISOString() ?? null,
        headCreatedAt: headCreatedAt?.toISOString() ?? '',
        access: { ...room, rules: new Map(rules.map((rule) => [rule.entityUUID, rule])) },
      };
    },

    async horizon(roomId) {
      const [row] = await rooms.query<{ horizon: number }>(
        'SELECT horizon FROM rooms WHERE id = $1',
        { bind: [roomId], type: QueryTypes.SELECT },
      );
      return row?.horizon;
    },

    async heads(roomIds) {
      const rows = await rooms.query<{ id: number; head: number }>(
        'SELECT id, head FROM rooms WHERE id = ANY ($1)',
        { bind: [roomIds], type: QueryTypes.SELECT },
      );
      return new Map(rows.map(({ id, head }) => [id, head]));
    },

    close: () => groupCommit.close(),
  };
}

async function traced(
  tracer: Tracer,
  { roomId, kind }: EntryDraft,
  append: () => Promise<Appended>,
): Promise<Appended> {
  const from = performance.now();
  const appended = await append();
  const { seq, known } = appended;
  if (!known) tracer.appended({ roomId, seq }, kind, { from, to: performance.now() });
  return appended;
}

function traceStored(
  tracer: Tracer,
  checked: readonly CheckedDraft[],
  outcomes: readonly Outcome[],
  from: number,
): void {
  const span = { from, to: performance.now() };
  for (const [index, { draft }] of checked.entries()) {
    const outcome = outcomes[index];
    if (outcome?.outcome !== 'stored') continue;
    tracer.stored({ roomId: draft.roomId, seq: outcome.seq }, span, checked.length);
  }
}
