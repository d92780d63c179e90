import { QueryTypes, type Sequelize } from 'sequelize';
import type { Caller, RoomAccess, Rule } from '../access/permissions.js';
import type { Limits } from '../config/load.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import { appendEntries, type CheckedDraft, type Outcome } from './append.js';
import type { Entry, EntryDraft } from './entry.js';
import { isolateRefused } from './isolate-refused.js';
import { PAGE_CONNECTIONS } from './connect.js';
import { FairLimit } from './fair-limit.js';
import { isLockTimeout, isUnavailable } from './pg-errors.js';
import { GroupCommit, type Appended, type QueuedMessage, type LiveRoom } from './group-commit.js';
import type { RunStatement } from './prepared.js';

/** A room with its rules at one moment. */
export interface RoomState {
  readonly id: number;
  /** Seq of its last entry. */
  readonly head: number;
  /** Seq of the last rule entry that changed rights. */
  readonly rulesHead: number;
  /** Date of the last entry; empty if there is none. */
  readonly headMadeAt: string;
  readonly access: RoomAccess & { readonly rules: ReadonlyMap<string, Rule> };
}

export interface Log {
  /**
   * Stores a message with its room's next number; `writer.stored` has had it before this resolves.
   * @throws {ChatError} UNAVAILABLE: it is not known to be stored, STORE_TIMEOUT_MS later at the latest; FORBIDDEN; NOT_FOUND; REF_USED
   */
  append(room: LiveRoom, caller: Caller, draft: EntryDraft): Promise<Appended>;
  /** Entries beyond `after` up to `upTo`, in order, at most `limit`. */
  read(roomId: number, range: { after: number; upTo: number; limit: number }): Promise<Entry[]>;
  /** A room's head and rules at one moment; undefined where there is no such room. */
  state(roomId: number): Promise<RoomState | undefined>;
  /** Numbers of the rooms' last entries, in one query; a room that is gone is not in the map. */
  heads(roomIds: readonly number[]): Promise<Map<number, number>>;
  /** Takes nothing more, and resolves when what it took is stored or refused. */
  close(): Promise<void>;
}

interface EntryRow extends Omit<Entry, 'createdAt'> {
  createdAt: Date;
}

interface StateRow extends Omit<RoomAccess, 'rules'> {
  id: number;
  head: number;
  rules_head: number;
  head_made_at: Date | null;
  rules: Rule[];
}

/** A message whose sender waits to be told. */
interface Unanswered extends QueuedMessage {
  /** The number of sweeps before it came. */
  readonly since: number;
  isGivenUp: boolean;
  /** Tells the sender; what becomes of the message is of no more interest then. */
  answer(error: ChatError): void;
}

/** How often, in the time that a message has, it is looked for those whose time is over. */
const SWEEPS = 10;
/** How often it is said that messages are given up. */
const WARNING_INTERVAL_MS = 60_000;

/** The log of all rooms over one database. */
export function createLog({
  rooms,
  pages,
  runAppend,
  limits,
  logger,
}: {
  /** For what a few rows answer. */
  rooms: Sequelize;
  /** For stretches of the log. */
  pages: Sequelize;
  runAppend: RunStatement;
  limits: Pick<
    Limits,
    'storeTimeoutMs' | 'logBatchesInFlight' | 'logQueueEntries' | 'logQueueBytes'
  >;
  logger: Logger;
}): Log {
  const groupCommit = new GroupCommit(
    append,
    (error, entries) => {
      if (!isUnavailable(error))
        logger.error({ err: error, entries }, 'a batch could not be stored');
    },
    limits.logBatchesInFlight,
  );
  // As many as there are connections, which would else be given to who asked first.
  const readers = new FairLimit<number>(PAGE_CONNECTIONS, limits.storeTimeoutMs);
  let queuedEntries = 0;
  let queuedBytes = 0;
  let closed = false;
  /** Messages whose senders wait, in the order in which they came. */
  const unanswered = new Set<Unanswered>();
  /** Those that were given up since it was last said. */
  let givenUp = 0;
  let warnedAt = -Infinity;
  let sweeps = 0;
  // One timer for all of them.
  const sweep = setInterval(giveUp, limits.storeTimeoutMs / SWEEPS).unref();

  /** Whatever they wait for: a statement, rules, or what is in front of them. */
  function giveUp(): void {
    sweeps += 1;
    for (const message of unanswered) {
      // One that came between two sweeps has missed a part of the first.
      if (sweeps - message.since <= SWEEPS) break;
      unanswered.delete(message);
      message.isGivenUp = true;
      message.answer(new ChatError('UNAVAILABLE', { detail: 'it could not be stored in time' }));
      givenUp += 1;
    }
    const now = performance.now();
    if (givenUp === 0 || now - warnedAt < WARNING_INTERVAL_MS) return;
    logger.warn({ entries: givenUp }, 'messages could not be stored in time');
    warnedAt = now;
    givenUp = 0;
  }

  function settle(message: Unanswered, bytes: number): void {
    unanswered.delete(message);
    queuedEntries -= 1;
    queuedBytes -= bytes;
  }

  /** A room whose lock is not to be had is one that is `busy`. */
  function appendOrBusy(
    checked: readonly CheckedDraft[],
    waitsForLocks: boolean,
  ): Promise<Outcome[]> {
    return appendEntries(runAppend, checked, waitsForLocks).catch((error: unknown) => {
      if (!isLockTimeout(error)) throw error;
      return checked.map((): Outcome => ({ outcome: 'busy' }));
    });
  }

  async function append(
    checked: readonly CheckedDraft[],
    waitsForLocks: boolean,
  ): Promise<readonly Outcome[]> {
    const outcomes = await isolateRefused((part) => appendOrBusy(part, waitsForLocks), checked);
    const refused = outcomes.flatMap((one) => (one.outcome === 'refused' ? [one.error] : []));
    if (refused.length > 0) {
      logger.error({ err: refused[0], entries: refused.length }, 'the database refuses messages');
    }
    const busy = checked.filter((_, index) => outcomes[index]?.outcome === 'busy');
    if (waitsForLocks && busy.length > 0) {
      const rooms = new Set(busy.map(({ draft }) => draft.room_id));
      logger.warn({ rooms: [...rooms], entries: busy.length }, 'rooms are locked');
    }
    return outcomes;
  }

  return {
    append(room, caller, draft) {
      const bytes = Buffer.byteLength(draft.content);
      const isFull =
        queuedEntries >= limits.logQueueEntries || queuedBytes + bytes > limits.logQueueBytes;
      if (closed || isFull) {
        return Promise.reject(
          new ChatError('UNAVAILABLE', {
            detail: closed ? 'the server is going down' : 'too many messages wait to be stored',
          }),
        );
      }
      queuedEntries += 1;
      queuedBytes += bytes;
      return new Promise<Appended>((resolve, reject) => {
        const message: Unanswered = {
          room,
          caller,
          draft,
          since: sweeps,
          isGivenUp: false,
          answer: reject,
          resolve(appended) {
            settle(message, bytes);
            resolve(appended);
          },
          reject(error) {
            settle(message, bytes);
            reject(error);
          },
        };
        unanswered.add(message);
        groupCommit.push(message);
      });
    },

    async read(roomId, { after, upTo, limit }) {
      const rows = await readers.run(roomId, () =>
        pages.query<EntryRow>(
          `SELECT room_id, seq, kind, emitter, content, ref, "createdAt" FROM messages
           WHERE room_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4`,
          // Numbers have no gaps: a range that ends with the page is short under any plan.
          { bind: [roomId, after, Math.min(upTo, after + limit), limit], type: QueryTypes.SELECT },
        ),
      );
      return rows.map((row) => ({ ...row, createdAt: row.createdAt.toISOString() }));
    },

    async state(roomId) {
      // One statement, so that the head and the rules are of one snapshot.
      const [row] = await rooms.query<StateRow>(
        `SELECT id, head, rules_head, type, entity_owner, level_admin, max_entity_rules,
           (SELECT "createdAt" FROM messages WHERE room_id = $1 AND seq = rooms.head) AS head_made_at,
           (SELECT coalesce(json_agg(p), '[]') FROM (
              SELECT "entity_UUID", level, permissions, accepted FROM room_permissions
              WHERE room_id = rooms.id) AS p) AS rules
         FROM rooms WHERE id = $1`,
        { bind: [roomId], type: QueryTypes.SELECT },
      );
      if (row === undefined) return undefined;
      const { id, head, rules_head, head_made_at, rules, ...room } = row;
      return {
        id,
        head,
        rulesHead: rules_head,
        headMadeAt: head_made_at?.toISOString() ?? '',
        access: { ...room, rules: new Map(rules.map((rule) => [rule.entity_UUID, rule])) },
      };
    },

    async heads(roomIds) {
      const rows = await rooms.query<{ id: number; head: number }>(
        'SELECT id, head FROM rooms WHERE id = ANY ($1)',
        { bind: [roomIds], type: QueryTypes.SELECT },
      );
      return new Map(rows.map(({ id, head }) => [id, head]));
    },

    async close() {
      closed = true;
      await groupCommit.close();
      clearInterval(sweep);
    },
  };
}
