import { setTimeout as delay } from 'node:timers/promises';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Logger } from '../logger.js';
import { forgetAbout, IS_TALKED_ABOUT } from './about-messages.js';
import { appendLocked } from './append.js';
import { erasureContent, reactionOf, type Entry } from './entry.js';
import { emojiKey } from './message-change.js';
import { isUnavailable } from './pg-errors.js';
import { plain } from './prepared.js';

/**
 * Entries of the log that one statement passes, as one query of the history: by an index alone, which takes a few
 * milliseconds.
 */
const WINDOW_ENTRIES = 10_000;
/**
 * Messages and reactions of one transaction, which has the lock of their room meanwhile, beside as much of what others have
 * said about them (about-messages.ts). Others wait for such a lock for 2 s at most (connect.ts).
 */
const CHUNK_ENTRIES = 1_000;
/** How often a node checks for erasures that were interrupted; nobody waits for it. */
const CHECK_INTERVAL_MS = 10_000;
/** Behind all entries of a room. */
const LAST_SEQ = Number.MAX_SAFE_INTEGER;

/** What a user has written is being erased, or is. */
export interface Erasure {
  readonly userUUID: string;
  /** What was stored until then is erased. */
  readonly requestedAt: Date;
  /** Null while it goes on. */
  readonly finishedAt: Date | null;
  /** How many were erased so far; `rooms` are those with an entry that says so. */
  readonly rooms: number;
  readonly messages: number;
  readonly reactions: number;
}

export interface Erasures {
  /**
   * Erases all that a user has written until now, in every room and as the reason of a report, and the name and the
   * picture, which only a token that is signed later tells again. If it is asked for again while it goes on, it begins
   * anew at its end.
   * @param emitter the `userUUID` of who asks
   * @returns as far as it is after half of STORE_TIMEOUT_MS; it goes on by itself, also if the node ends
   * @throws {ChatError} UNAVAILABLE
   */
  erase(userUUID: string, emitter: string): Promise<Erasure>;
  /**
   * How far the erasure of a user is that was asked for last; undefined if none ever was.
   * @throws {ChatError} UNAVAILABLE
   */
  find(userUUID: string): Promise<Erasure | undefined>;
  /** Begins nothing more; resolves when nothing is running. */
  close(): Promise<void>;
}

/** A place in the log of all rooms, which are in the order of their ids. */
interface Place {
  readonly roomId: number;
  readonly seq: number;
}

/** An erasure that goes on at a place. */
interface Due extends Place {
  readonly userUUID: string;
  readonly emitter: string;
  readonly requestedAt: Date;
  /** Whether something of the room is erased, and its entry not appended yet. */
  readonly isOwed: boolean;
}

type Found = Place &
  (
    | { readonly kind: 'message' }
    | { readonly kind: 'reaction'; readonly target: number; readonly content: string }
  );

interface Passed {
  /** Entries that were passed: fewer than WINDOW_ENTRIES at the end of the log. */
  readonly count: number;
  /** The last of them; null if there are none. */
  readonly last: Place | null;
  readonly found: readonly Found[];
}

/** What is to be erased next. */
interface Chunk {
  readonly roomId: number;
  readonly found: readonly Found[];
  /** Whether nothing of the room is left behind it. */
  readonly isLast: boolean;
}

interface ErasedChunk {
  /** Undefined if it is to come, if the room is gone, or if all was deleted meanwhile. */
  readonly entry: Entry | undefined;
  /** Where to go on with the same chunk; undefined if nothing of it is left. */
  readonly left: Due | undefined;
}

/**
 * Of the WINDOW_ENTRIES entries behind the place $1, $2, what the user $3 has written until $4 and is not erased, or is
 * still talked about: $5 at most. The entries of a user have no index, which every message would pay for; the primary key
 * has what it takes to pass those of others without reading them.
 */
const PASS = `WITH passed AS MATERIALIZED (
    SELECT room_id, seq, kind, emitter FROM messages WHERE (room_id, seq) > ($1::integer, $2::bigint)
    ORDER BY room_id, seq LIMIT ${WINDOW_ENTRIES}
  )
  SELECT (SELECT count(*) FROM passed) AS count,
    (SELECT json_build_object('roomId', room_id, 'seq', seq) FROM passed ORDER BY room_id DESC, seq DESC LIMIT 1) AS last,
    (SELECT coalesce(json_agg(own), '[]') FROM (
       SELECT m.room_id AS "roomId", m.seq, m.kind, m.target, CASE m.kind WHEN 'reaction' THEN m.content END AS content
       FROM passed CROSS JOIN LATERAL (
         SELECT * FROM messages WHERE room_id = passed.room_id AND seq = passed.seq LIMIT 1
       ) AS m
       WHERE passed.emitter = $3 AND passed.kind IN ('message', 'reaction') AND m."createdAt" <= $4
         AND CASE passed.kind WHEN 'message' THEN m.deleted_by IS NULL OR ${IS_TALKED_ABOUT} ELSE m.content <> '' END
       ORDER BY m.room_id, m.seq LIMIT $5
     ) AS own) AS found`;

/** The seqs $2 as a list that the planner does not count: it would read all of a table that is not large yet. */
const SEQS = 'ANY (ARRAY(SELECT unnest($2::bigint[])))';

/**
 * Erases the messages $2 of the room $1 as a deletion with the number $3 would. First of all: its locks are why the words
 * of no message are stored after `FORGET_WORDS` (message-words.ts).
 */
const ERASE_MESSAGES = `WITH erased AS (
    UPDATE messages SET content = '', data = NULL, mentions = NULL, text_seq = NULL, deleted_by = $3, rev = $3,
      "updatedAt" = clock_timestamp()
    WHERE room_id = $1 AND seq = ${SEQS} AND deleted_by IS NULL RETURNING 1
  )
  SELECT count(*) AS messages FROM erased`;

const FORGET_WORDS = `DELETE FROM message_words WHERE room_id = $1 AND seq = ${SEQS}`;

/**
 * Takes off the reactions $2 of the user $3, to the messages $4 with the emojis $5; $6 is the number of the last change of
 * these messages from then on. Each is looked up by its key: others may have a million reactions to the same message.
 */
const ERASE_REACTIONS = `WITH erased AS (
    UPDATE messages SET content = '' WHERE room_id = $1 AND seq = ${SEQS} AND content <> '' RETURNING 1
  ), gone AS (
    DELETE FROM reactions WHERE room_id = $1 AND ctid = ANY (ARRAY(
      SELECT last.place FROM unnest($2::bigint[], $4::bigint[], $5::text[]) AS own (seq, target, key)
      CROSS JOIN LATERAL (
        SELECT ctid AS place, seq FROM reactions
        WHERE room_id = $1 AND target = own.target AND emoji_key = own.key AND emitter = $3 LIMIT 1
      ) AS last WHERE last.seq = own.seq
    )) RETURNING target, is_on
  ), changed AS (
    UPDATE messages SET rev = $6
    WHERE room_id = $1 AND seq = ANY (ARRAY(SELECT target FROM gone WHERE is_on)) AND deleted_by IS NULL
  )
  SELECT count(*) AS reactions FROM erased`;

/** @param publish tells of the entries that say what was erased, each when it is committed */
export function createErasures({
  sequelize,
  publish,
  storeTimeoutMs,
  logger,
}: {
  sequelize: Sequelize;
  publish: (entry: Entry) => void;
  storeTimeoutMs: number;
  logger: Logger;
}): Erasures {
  const stop = new AbortController();
  const { signal } = stop;
  let working: Promise<void> | undefined;
  const timer = setInterval(() => void work(), CHECK_INTERVAL_MS);
  void work();

  /** Resolves when nothing is left that this node can do now. */
  function work(): Promise<void> {
    working ??= eraseAll()
      .catch((error: unknown) => {
        const level = isUnavailable(error) ? 'debug' : 'warn';
        logger[level]({ err: error }, 'erasing the messages of a user failed, will retry');
      })
      .finally(() => {
        working = undefined;
      });
    return working;
  }

  async function eraseAll(): Promise<void> {
    while (!signal.aborted && (await eraseNext())) continue;
  }

  /** @returns whether there may be more to do; not if another node does it */
  async function eraseNext(): Promise<boolean> {
    const [due] = await sequelize.query<Due>(
      `SELECT user_uuid AS "userUUID", emitter, "requestedAt", room_id AS "roomId", seq, is_owed AS "isOwed"
       FROM erasures WHERE "finishedAt" IS NULL ORDER BY "requestedAt" LIMIT 1`,
      { type: QueryTypes.SELECT },
    );
    if (due === undefined) return false;
    const next = await findNext(due);
    if (signal.aborted) return false;
    if (!('found' in next)) {
      return (await ifOurs(due, (transaction) => moveTo(due, next, transaction))) ?? false;
    }
    for (let left: Due | undefined = due; left !== undefined && !signal.aborted;) {
      const from: Due = left;
      const erased = await ifOurs(from, (transaction) => eraseChunk(from, next, transaction));
      if (erased === undefined) return false;
      if (erased.entry !== undefined) publish(erased.entry);
      left = erased.left;
    }
    return true;
  }

  /** Does a part of an erasure. @returns undefined if another node is at it, or has done it */
  function ifOurs<T>(
    due: Due,
    work: (transaction: Transaction) => Promise<T>,
  ): Promise<T | undefined> {
    return sequelize.transaction(async (transaction) => {
      const [same] = await sequelize.query(
        `SELECT FROM erasures WHERE user_uuid = $1 AND "requestedAt" = $2 AND room_id = $3 AND seq = $4
           AND is_owed = $5 AND "finishedAt" IS NULL FOR UPDATE SKIP LOCKED`,
        {
          bind: [due.userUUID, due.requestedAt.toISOString(), due.roomId, due.seq, due.isOwed],
          type: QueryTypes.SELECT,
          transaction,
        },
      );
      return same === undefined ? undefined : work(transaction);
    });
  }

  /** The next of what is to be erased; or how far the log was passed, `isEnd` if that is its end. */
  async function findNext(due: Due): Promise<Chunk | (Place & { readonly isEnd: boolean })> {
    let place: Place = due;
    let roomId = due.isOwed ? due.roomId : undefined;
    const found: Found[] = [];
    while (!signal.aborted) {
      const passed = await pass(due, place);
      for (const one of passed.found) {
        roomId ??= one.roomId;
        if (one.roomId !== roomId) return { roomId, found, isLast: true };
        if (found.length === CHUNK_ENTRIES) return { roomId, found, isLast: false };
        found.push(one);
      }
      const isEnd = passed.count < WINDOW_ENTRIES;
      place = passed.last ?? place;
      if (roomId === undefined) return { ...place, isEnd };
      if (isEnd || place.roomId > roomId) return { roomId, found, isLast: true };
    }
    return { ...due, isEnd: false };
  }

  async function pass({ userUUID, requestedAt }: Due, { roomId, seq }: Place): Promise<Passed> {
    const [passed] = await sequelize.query<Passed>(PASS, {
      // One more than a chunk, to know whether it is the room's last.
      bind: [roomId, seq, userUUID, requestedAt.toISOString(), CHUNK_ENTRIES + 1],
      type: QueryTypes.SELECT,
    });
    if (passed === undefined) throw new Error('the log was not read');
    return passed;
  }

  async function moveTo(
    { userUUID }: Due,
    { roomId, seq, isEnd }: Place & { readonly isEnd: boolean },
    transaction: Transaction,
  ): Promise<true> {
    await sequelize.query(
      isEnd
        ? `UPDATE erasures SET "finishedAt" = CASE WHEN "againAt" IS NULL THEN clock_timestamp() END,
             "requestedAt" = coalesce("againAt", "requestedAt"), "againAt" = NULL, room_id = 0, seq = 0
           WHERE user_uuid = $1`
        : 'UPDATE erasures SET room_id = $2, seq = $3 WHERE user_uuid = $1',
      { bind: isEnd ? [userUUID] : [userUUID, roomId, seq], transaction },
    );
    return true;
  }

  /**
   * Erases a chunk. The last one of a room appends the entry: so nothing is shown with or after it, and a reader in between
   * finds that something is gone before the entry says so. The chunks before have the number of the room's last entry at
   * that time, and so has a chunk of which more is said than is forgotten at once.
   */
  async function eraseChunk(
    due: Due,
    { roomId, found, isLast }: Chunk,
    transaction: Transaction,
  ): Promise<ErasedChunk> {
    const { userUUID, emitter } = due;
    const head = await lock(roomId, transaction);
    const seqs = found.filter(({ kind }) => kind === 'message').map(({ seq }) => seq);
    const isForgotten =
      head === undefined || (await forgetAbout(sequelize, roomId, { seqs }, transaction));
    const isEnd = isLast && isForgotten;
    const at = head === undefined ? undefined : head + (isEnd ? 1 : 0);
    const { messages, reactions } =
      at === undefined
        ? { messages: 0, reactions: 0 }
        : await eraseFound(due, { roomId, found, at }, transaction);
    const isErased = due.isOwed || messages > 0 || reactions > 0;
    const isTold = at !== undefined && isEnd && isErased;
    const place = isForgotten ? found.at(-1)?.seq : (found[0]?.seq ?? 1) - 1;
    const behind = { roomId, seq: isEnd ? LAST_SEQ : (place ?? 0), isOwed: !isEnd && isErased };
    await sequelize.query(
      `UPDATE erasures SET room_id = $2, seq = $3, is_owed = $4,
         rooms = rooms + $5, messages = messages + $6, reactions = reactions + $7
       WHERE user_uuid = $1`,
      {
        bind: [userUUID, roomId, behind.seq, behind.isOwed, isTold ? 1 : 0, messages, reactions],
        transaction,
      },
    );
    const left = isForgotten ? undefined : { ...due, ...behind };
    if (!isTold) return { entry: undefined, left };
    const draft = {
      roomId,
      kind: 'erase' as const,
      emitter,
      content: erasureContent(userUUID),
      ref: null,
    };
    const [entry] = await appendLocked(plain(sequelize, transaction), [{ draft, rulesHead: null }]);
    if (entry?.seq !== at)
      throw new Error('an entry under the lock of its room has another number');
    return { entry, left };
  }

  /** Locks a room until the transaction ends. @returns its head; undefined if there is no such room */
  async function lock(roomId: number, transaction: Transaction): Promise<number | undefined> {
    const [room] = await sequelize.query<{ head: number }>(
      'SELECT head FROM rooms WHERE id = $1 FOR NO KEY UPDATE',
      { bind: [roomId], type: QueryTypes.SELECT, transaction },
    );
    return room?.head;
  }

  async function eraseFound(
    { userUUID }: Due,
    { roomId, found, at }: Pick<Chunk, 'roomId' | 'found'> & { readonly at: number },
    transaction: Transaction,
  ): Promise<{ messages: number; reactions: number }> {
    const messages = found.filter((one) => one.kind === 'message').map(({ seq }) => seq);
    const reactions = found.filter((one) => one.kind === 'reaction');
    const options = { type: QueryTypes.SELECT, transaction } as const;
    const [erased] = await sequelize.query<{ messages: number }>(ERASE_MESSAGES, {
      bind: [roomId, messages, at],
      ...options,
    });
    await sequelize.query(FORGET_WORDS, { bind: [roomId, messages], transaction });
    const [taken] = await sequelize.query<{ reactions: number }>(ERASE_REACTIONS, {
      bind: [
        roomId,
        reactions.map(({ seq }) => seq),
        userUUID,
        reactions.map(({ target }) => target),
        reactions.map((one) => emojiKey(reactionOf(one).emoji)),
        at,
      ],
      ...options,
    });
    return { messages: erased?.messages ?? 0, reactions: taken?.reactions ?? 0 };
  }

  /** @throws {ChatError} UNAVAILABLE */
  async function request(userUUID: string, emitter: string): Promise<void> {
    await sequelize.transaction(async (transaction) => {
      // First: from here on the row is locked, and does not finish before it is looked at.
      await sequelize.query(
        `INSERT INTO erasures (user_uuid, emitter, "requestedAt", room_id, seq, is_owed, rooms, messages, reactions)
         VALUES ($1, $2, clock_timestamp(), 0, 0, false, 0, 0, 0)
         ON CONFLICT (user_uuid) DO UPDATE SET "againAt" = excluded."requestedAt"`,
        { bind: [userUUID, emitter], transaction },
      );
      await sequelize.query(
        `UPDATE erasures SET emitter = $2, "requestedAt" = "againAt", "againAt" = NULL, "finishedAt" = NULL,
           room_id = 0, seq = 0, is_owed = false, rooms = 0, messages = 0, reactions = 0
         WHERE user_uuid = $1 AND "finishedAt" IS NOT NULL`,
        { bind: [userUUID, emitter], transaction },
      );
      await sequelize.query(
        'UPDATE reports SET reason = NULL WHERE reporter = $1 AND reason IS NOT NULL',
        { bind: [userUUID], transaction },
      );
      // The row stays, without a name: an older token, seen here or on another node, does not bring it back.
      await sequelize.query(
        `INSERT INTO user_profiles (uuid, "updatedAt") VALUES ($1, clock_timestamp())
         ON CONFLICT (uuid) DO UPDATE SET name = NULL, picture = NULL, "updatedAt" = excluded."updatedAt"`,
        { bind: [userUUID], transaction },
      );
    });
  }

  async function find(userUUID: string): Promise<Erasure | undefined> {
    const [erasure] = await sequelize.query<Erasure>(
      `SELECT user_uuid AS "userUUID", coalesce("againAt", "requestedAt") AS "requestedAt", "finishedAt", rooms, messages, reactions
       FROM erasures WHERE user_uuid = $1`,
      { bind: [userUUID], type: QueryTypes.SELECT },
    );
    return erasure;
  }

  return {
    async erase(userUUID, emitter) {
      await request(userUUID, emitter);
      const answered = new AbortController();
      // What is at work may have looked for erasures before.
      const done = work().then(() => work());
      const wait = { signal: answered.signal, ref: false };
      await Promise.race([done, delay(storeTimeoutMs / 2, undefined, wait)]);
      answered.abort();
      const erasure = await find(userUUID);
      if (erasure === undefined) throw new Error('an erasure was asked for and is not stored');
      return erasure;
    },

    find,

    async close() {
      stop.abort();
      clearInterval(timer);
      await working;
    },
  };
}
