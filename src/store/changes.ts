import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import type { Caller, RoomAccess } from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import { appendEntries } from './append.js';
import type { Entry, EntryDraft } from './entry.js';
import { loadRoom, lockRoom } from './lock-room.js';
import {
  deletion,
  edit,
  emojiKey,
  reaction,
  type Deletion,
  type Edit,
  type KnownEntry,
  type MessageChange,
  type MessageState,
  type NewReaction,
  type Said,
} from './message-change.js';
import { storedWords } from './message-words.js';
import { plain } from './prepared.js';
import { RoomBatches, type Refused } from './room-batches.js';

export interface ChangedMessage {
  /** Seq of the entry that made the change, now or before. */
  readonly seq: number;
  /** The change as an entry of the room's log; undefined if it had been made before. */
  readonly entry: Entry | undefined;
}

/**
 * Changes messages, and appends each change to its room's log, in one transaction. In this order: the caller's right is
 * checked, then the ref is looked up, then the state of the message. A change that changes nothing stores nothing.
 *
 * All of them may throw NOT_FOUND if there is no such room, FORBIDDEN, REF_USED, NO_SUCH_MESSAGE, and UNAVAILABLE if the
 * room is locked for too long.
 */
export interface Changes {
  /**
   * The outcome of an edit that would store nothing; undefined if it would be stored as things are now.
   * @throws {ChatError} as `edit`
   */
  foresee(caller: Caller, roomId: number, edit: Edit): Promise<ChangedMessage | undefined>;
  /** @throws {ChatError} DELETED */
  edit(caller: Caller, roomId: number, edit: Edit): Promise<ChangedMessage>;
  remove(caller: Caller, roomId: number, deletion: Deletion): Promise<ChangedMessage>;
  /** @throws {ChatError} DELETED, TOO_MANY_REACTIONS */
  react(caller: Caller, roomId: number, reaction: NewReaction): Promise<ChangedMessage>;
}

/** A change that was decided. */
interface Decided {
  /** Of its entry, which is stored with this number, or was before. */
  readonly seq: number;
  /** Undefined if it changes nothing. */
  readonly made: { readonly change: MessageChange; readonly said: Said } | undefined;
}

/** The state of messages, as `READ_STATE` returns it. */
interface StateRow {
  readonly messages: readonly {
    readonly seq: number;
    readonly emitter: string;
    readonly content: string | null;
    readonly data: string | null;
    readonly textSeq: number | null;
    readonly deletedBy: number | null;
  }[];
  readonly known: readonly (Omit<KnownEntry, 'target' | 'data'> & {
    readonly emitter: string;
    readonly ref: string;
    readonly target: number | null;
    readonly data: string | null;
  })[];
  readonly emojis: readonly {
    readonly target: number;
    readonly key: string;
    readonly emoji: string;
    readonly count: number;
  }[];
  readonly reactions: readonly {
    readonly target: number;
    readonly key: string;
    readonly emitter: string;
    readonly isOn: boolean;
    readonly seq: number;
  }[];
}

/**
 * The messages $2 of a room, locked, of which $3 are to be edited; the entries with the refs $5 of the emitters $4; and of the
 * messages $6 all emojis that are on, and the last reactions with the emojis $7 of the emitters $8. The lock is for
 * WRITE_STATE: once it is had, nobody is about to store the words of an earlier text (message-words.ts).
 */
const READ_STATE = `
  SELECT
    (SELECT coalesce(json_agg(message), '[]') FROM (
       SELECT seq, emitter, text_seq AS "textSeq", deleted_by AS "deletedBy",
         CASE WHEN seq = ANY ($3::bigint[]) THEN content END AS content,
         CASE WHEN seq = ANY ($3::bigint[]) THEN data END AS data
       FROM messages WHERE room_id = $1 AND seq = ANY ($2::bigint[]) AND kind = 'message' FOR NO KEY UPDATE
     ) AS message) AS messages,
    (SELECT coalesce(json_agg(entry), '[]') FROM (
       SELECT asked.emitter, asked.ref, e.seq, e.kind, e.target,
         coalesce(edited.content, e.content) AS content, edited.data,
         CASE e.kind WHEN 'edit' THEN edited.content IS NULL WHEN 'reaction' THEN e.content = '' ELSE false END
           AS "isWithheld",
         e.replaced IS TRUE AS "isReplaced"
       FROM unnest($4::uuid[], $5::text[]) AS asked (emitter, ref)
       CROSS JOIN LATERAL (
         SELECT seq, kind, target, content, replaced FROM messages
         WHERE room_id = $1 AND emitter = asked.emitter AND ref = asked.ref LIMIT 1
       ) AS e
       LEFT JOIN LATERAL (
         SELECT content, data FROM messages
         WHERE e.kind = 'edit' AND room_id = $1 AND seq = e.target AND text_seq = e.seq LIMIT 1
       ) AS edited ON true
     ) AS entry) AS known,
    (SELECT coalesce(json_agg(counted), '[]') FROM (
       SELECT target, emoji_key AS key, min(emoji) AS emoji, count(*) AS count
       FROM reactions WHERE room_id = $1 AND target = ANY ($6::bigint[]) AND is_on GROUP BY target, emoji_key
     ) AS counted) AS emojis,
    (SELECT coalesce(json_agg(reaction), '[]') FROM (
       SELECT asked.target, asked.key, asked.emitter, r.is_on AS "isOn", r.seq
       FROM unnest($6::bigint[], $7::text[], $8::uuid[]) AS asked (target, key, emitter)
       CROSS JOIN LATERAL (
         SELECT is_on, seq FROM reactions
         WHERE room_id = $1 AND target = asked.target AND emoji_key = asked.key AND emitter = asked.emitter LIMIT 1
       ) AS r
     ) AS reaction) AS reactions`;

/**
 * Stores, at the moment $17, the messages $2 with a new text, or deleted; the seqs $9 of the last changes of the messages
 * $8, which keep their text; and the reactions $10 to $15. Of the deleted messages $16 it deletes the words and the
 * reactions, and what the entries of these say.
 */
const WRITE_STATE = `
  WITH texts AS (
    UPDATE messages AS m SET content = t.content, data = t.data, text_seq = t.text_seq, deleted_by = t.deleted_by,
      mentions = CASE WHEN t.deleted_by IS NULL THEN m.mentions END, rev = t.rev, "updatedAt" = $17::timestamptz
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
      AS t (seq, content, data, text_seq, deleted_by, rev)
    WHERE m.room_id = $1 AND m.seq = t.seq
  ), words AS (
    UPDATE message_words AS w SET words = ${storedWords('w.room_id', 't.content')}
    FROM unnest($2::bigint[], $3::text[]) AS t (seq, content)
    WHERE w.room_id = $1 AND w.seq = t.seq AND t.seq <> ALL ($16::bigint[])
  ), no_words AS (
    DELETE FROM message_words WHERE room_id = $1 AND seq = ANY ($16::bigint[])
  ), revs AS (
    UPDATE messages AS m SET rev = t.rev
    FROM unnest($8::bigint[], $9::bigint[]) AS t (seq, rev) WHERE m.room_id = $1 AND m.seq = t.seq
  ), reacted AS (
    INSERT INTO reactions (room_id, target, emoji_key, emitter, emoji, is_on, seq)
    SELECT $1::int, r.* FROM unnest($10::bigint[], $11::text[], $12::uuid[], $13::text[], $14::boolean[], $15::bigint[])
      AS r
    ON CONFLICT (room_id, target, emoji_key, emitter)
      DO UPDATE SET emoji = excluded.emoji, is_on = excluded.is_on, seq = excluded.seq
  ), forgotten AS (
    DELETE FROM reactions WHERE room_id = $1 AND target = ANY ($16::bigint[])
  )
  UPDATE messages SET content = '' WHERE room_id = $1 AND target = ANY ($16::bigint[]) AND content <> ''`;

export function createChanges({ sequelize }: { sequelize: Sequelize }): Changes {
  const batches = new RoomBatches<MessageChange, ChangedMessage>(sequelize, makeChanges);

  /** Checks the right twice: before the room is locked, so that a refusal locks nothing, and under the lock. */
  async function make(roomId: number, change: MessageChange): Promise<ChangedMessage> {
    const room = await loadRoom(sequelize, roomId, [change.caller]);
    if (room === undefined) throw noSuchRoom();
    change.requireMay(room);
    return batches.make(roomId, change);
  }

  /** Decides each change by the state that the changes before it leave. */
  async function makeChanges(
    roomId: number,
    batch: readonly MessageChange[],
    transaction: Transaction,
  ): Promise<(ChangedMessage | Refused)[]> {
    const callers = batch.map(({ caller }) => caller);
    const room = await lockRoom(sequelize, roomId, callers, [], transaction);
    if (room === undefined) throw noSuchRoom();
    const { messages, known } = await readState(roomId, batch, transaction);
    let head = room.head;
    const decided = batch.map((change): Decided | Refused => {
      try {
        const one = decide(change, room, messages, known, head + 1);
        if (one.made !== undefined) head = one.seq;
        return one;
      } catch (error) {
        return { error };
      }
    });
    const entries = entriesOf(roomId, decided, messages);
    if (entries.length === 0) {
      return decided.map((one) => ('error' in one ? one : { seq: one.seq, entry: undefined }));
    }
    const createdAt = await append(entries, transaction);
    await writeState(roomId, [...messages.values()], room.head, createdAt, transaction);
    const bySeq = new Map(entries.map(({ entry }) => [entry.seq, { ...entry, createdAt }]));
    return decided.map((one) =>
      'error' in one ? one : { seq: one.seq, entry: one.made && bySeq.get(one.seq) },
    );
  }

  async function readState(
    roomId: number,
    batch: readonly MessageChange[],
    transaction: Transaction,
  ): Promise<{ messages: Map<number, MessageState>; known: Map<string, KnownEntry> }> {
    const withRef = batch.filter(({ ref }) => ref !== null);
    const reactions = batch.flatMap(({ target, caller, emoji }) =>
      emoji === undefined ? [] : [{ target, key: emojiKey(emoji), user: caller.userUUID }],
    );
    const [state] = await sequelize.query<StateRow>(READ_STATE, {
      bind: [
        roomId,
        batch.map(({ target }) => target),
        batch.filter(({ kind }) => kind === 'edit').map(({ target }) => target),
        withRef.map(({ caller }) => caller.userUUID),
        withRef.map(({ ref }) => ref),
        reactions.map(({ target }) => target),
        reactions.map(({ key }) => key),
        reactions.map(({ user }) => user),
      ],
      type: QueryTypes.SELECT,
      transaction,
    });
    if (state === undefined) throw new Error('the state of messages was not read');
    return { messages: messagesOf(state), known: knownOf(state) };
  }

  /** @returns the date of the entries */
  async function append(
    entries: readonly UnstoredEntry[],
    transaction: Transaction,
  ): Promise<string> {
    const drafts = entries.map(({ stored }) => ({ draft: stored, rulesHead: null }));
    const outcomes = await appendEntries(plain(sequelize, transaction), drafts);
    let createdAt = '';
    for (const [index, { entry }] of entries.entries()) {
      const outcome = outcomes[index];
      if (outcome?.outcome !== 'stored' || outcome.seq !== entry.seq) {
        throw new Error('an entry under the lock of its room has another number than expected');
      }
      ({ createdAt } = outcome);
    }
    return createdAt;
  }

  async function writeState(
    roomId: number,
    messages: readonly MessageState[],
    headBefore: number,
    moment: string,
    transaction: Transaction,
  ): Promise<void> {
    const isNew = (seq: number | undefined): boolean => (seq ?? 0) > headBefore;
    const changed = messages.filter(({ rev }) => isNew(rev));
    const texts = changed.filter(({ textSeq, deletedBy }) => isNew(textSeq) || isNew(deletedBy));
    const others = changed.filter((message) => !texts.includes(message));
    const reactions = changed.flatMap(({ seq: target, emojis }) =>
      [...emojis].flatMap(([key, { emoji, by }]) =>
        [...by]
          .filter(([, { seq }]) => isNew(seq))
          .map(([user, { isOn, seq }]) => ({ target, key, user, emoji, isOn, seq })),
      ),
    );
    await sequelize.query(WRITE_STATE, {
      bind: [
        roomId,
        texts.map(({ seq }) => seq),
        texts.map(({ content }) => content ?? ''),
        texts.map(({ data }) => data ?? null),
        texts.map(({ textSeq }) => textSeq ?? null),
        texts.map(({ deletedBy }) => deletedBy ?? null),
        texts.map(({ rev }) => rev),
        others.map(({ seq }) => seq),
        others.map(({ rev }) => rev),
        reactions.map(({ target }) => target),
        reactions.map(({ key }) => key),
        reactions.map(({ user }) => user),
        reactions.map(({ emoji }) => emoji),
        reactions.map(({ isOn }) => isOn),
        reactions.map(({ seq }) => seq),
        texts.filter(({ deletedBy }) => deletedBy !== undefined).map(({ seq }) => seq),
        moment,
      ],
      transaction,
    });
  }

  return {
    foresee(caller, roomId, input) {
      return sequelize.transaction(async (transaction) => {
        const room = await loadRoom(sequelize, roomId, [caller], [], transaction);
        if (room === undefined) throw noSuchRoom();
        const change = edit(caller, input);
        const { messages, known } = await readState(roomId, [change], transaction);
        const { seq, made } = decide(change, room, messages, known, room.head + 1);
        return made === undefined ? { seq, entry: undefined } : undefined;
      });
    },
    edit: (caller, roomId, input) => make(roomId, edit(caller, input)),
    remove: (caller, roomId, input) => make(roomId, deletion(caller, input)),
    react: (caller, roomId, input) => make(roomId, reaction(caller, input)),
  };
}

/**
 * Decides a change, applies it to its message, and remembers its ref.
 * @param seq the number that its entry would have
 * @throws {ChatError} FORBIDDEN, REF_USED, NO_SUCH_MESSAGE, DELETED, TOO_MANY_REACTIONS
 */
function decide(
  change: MessageChange,
  room: RoomAccess,
  messages: ReadonlyMap<number, MessageState>,
  known: Map<string, KnownEntry>,
  seq: number,
): Decided {
  const { kind, target, caller, ref } = change;
  change.requireMay(room);
  const name = refName(caller.userUUID, ref ?? '');
  const before = ref === null ? undefined : known.get(name);
  if (before !== undefined) {
    const isSame =
      before.kind === kind &&
      before.target === target &&
      (before.isWithheld ||
        before.isReplaced ||
        change.isReplaced === true ||
        change.isSaidBy(before));
    if (!isSame) throw new ChatError('REF_USED', { seq: before.seq });
    return { seq: before.seq, made: undefined };
  }
  const message = messages.get(target);
  if (message === undefined) {
    throw new ChatError('NO_SUCH_MESSAGE', { detail: 'there is no such message in the room' });
  }
  const said = change.apply(message, room, seq);
  if (typeof said === 'number') return { seq: said, made: undefined };
  message.rev = seq;
  if (ref !== null) {
    const { content, data } = said;
    const isReplaced = change.isReplaced ?? false;
    known.set(name, { seq, kind, target, content, data, isWithheld: false, isReplaced });
  }
  return { seq, made: { change, said } };
}

/** An entry that is not stored yet, as it is published and as it is to be stored. */
interface UnstoredEntry {
  readonly entry: Omit<Entry, 'createdAt'>;
  readonly stored: EntryDraft;
}

/** The entries of changes. What a later one has replaced or deleted is not published either. */
function entriesOf(
  roomId: number,
  decided: readonly (Decided | Refused)[],
  messages: ReadonlyMap<number, MessageState>,
): UnstoredEntry[] {
  return decided.flatMap((one): UnstoredEntry[] => {
    if ('error' in one || one.made === undefined) return [];
    const { seq, made } = one;
    const { change, said } = made;
    const { kind, target, ref, caller, isReplaced } = change;
    const draft = { roomId, kind, emitter: caller.userUUID, ref, target, content: '' };
    const message = messages.get(target);
    const isGone = message === undefined || change.isGoneFrom(message, seq);
    return [
      {
        entry: { ...draft, seq, ...(isGone ? { isWithheld: true } : said) },
        stored: {
          ...draft,
          isReplaced,
          content: change.isKeptByMessage || isGone ? '' : said.content,
        },
      },
    ];
  });
}

function messagesOf({ messages, emojis, reactions }: StateRow): Map<number, MessageState> {
  const states = new Map(
    messages.map(({ seq, emitter, content, data, textSeq, deletedBy }): [number, MessageState] => [
      seq,
      {
        seq,
        emitter,
        content: content ?? undefined,
        data: data ?? undefined,
        textSeq: textSeq ?? undefined,
        deletedBy: deletedBy ?? undefined,
        rev: undefined,
        emojis: new Map(),
      },
    ]),
  );
  for (const { target, key, emoji, count } of emojis) {
    states.get(target)?.emojis.set(key, { emoji, count, by: new Map() });
  }
  for (const { target, key, emitter, isOn, seq } of reactions) {
    const ofMessage = states.get(target)?.emojis;
    const state = ofMessage?.get(key) ?? { emoji: '', count: 0, by: new Map() };
    state.by.set(emitter, { isOn, seq });
    ofMessage?.set(key, state);
  }
  return states;
}

function knownOf({ known }: StateRow): Map<string, KnownEntry> {
  return new Map(
    known.map(({ emitter, ref, target, data, ...entry }) => [
      refName(emitter, ref),
      { ...entry, target: target ?? undefined, data: data ?? undefined },
    ]),
  );
}

function refName(emitter: string, ref: string): string {
  return `${emitter} ${ref}`;
}
