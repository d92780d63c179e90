import type { SignedPost } from '../hooks/signed-post.js';
import { isKnownKind } from '../protocol/entry-kinds.js';
import {
  entryEvent,
  readEvent,
  roomDeletedEvent,
  type Audience,
  type WebhookEvent,
} from '../protocol/webhook-events.js';
import type { Entry } from '../store/entry.js';
import type { Log } from '../store/log.js';
import {
  countUnread,
  MAX_RECIPIENTS,
  type Recipients,
  type ToldRoom,
} from '../store/recipients.js';
import type { CursorState, LeasedRoom, WebhookCursors } from '../store/webhook-cursors.js';

/** Entries that are read at once. */
const PAGE_ENTRIES = 50;
/**
 * For how long what was read is posted: a text that is deleted meanwhile is not, but for what is on its way in the same
 * second.
 */
const PAGE_FRESH_MS = 1_000;
/** After this a room begins no more requests in its turn: other rooms wait, and its lease ends (webhook-cursors.ts). */
const TURN_MS = 5_000;

/** The users who are in a room. */
type Online = Pick<ReadonlySet<string>, 'has'>;

/** What the turn of a room needs. */
export interface TurnContext {
  readonly cursors: Pick<WebhookCursors, 'nextSeq' | 'reads' | 'removeRead' | 'remove'>;
  /** When webhooks began. */
  readonly begunAt: Date;
  readonly recipients: Recipients;
  readonly log: Pick<Log, 'read'>;
  readonly post: SignedPost;
  readonly online: (roomId: number) => Promise<Online>;
  /** Aborted when the node shuts down. */
  readonly ending: AbortSignal;
  /** An event was taken or refused. */
  readonly onAttempt: (attempt: Attempt) => void;
}

/** An attempt to post an event. */
export interface Attempt {
  readonly isTaken: boolean;
  /** The status of the answer; undefined: there was none. */
  readonly status: number | undefined;
  /** Why there was no answer. */
  readonly error: unknown;
  /** Its time in milliseconds. */
  readonly ms: number;
}

/** What follows in a room. */
export interface Step {
  /** Undefined if nothing is told of an entry. */
  readonly event: WebhookEvent | undefined;
  /** The cursor behind it, if it was taken. */
  readonly taken: CursorState;
  /** The cursor behind it, if it was given up. */
  readonly givenUp: CursorState;
  /** Forgets that it was to be told, if that is noted beside the cursor. */
  readonly settle?: () => Promise<void>;
}

/** Where the turn of a room has ended. */
export interface TurnEnd {
  readonly state: CursorState;
  /** What was not taken; undefined: nothing is left, or the time of the turn is over. */
  readonly refused?: { readonly step: Step; readonly attempt: Attempt };
}

/** Posts the next events of a leased room, one after the other. */
export async function takeTurn(context: TurnContext, room: LeasedRoom): Promise<TurnEnd> {
  const begunAt = performance.now();
  let state = stateOf(room);
  for await (const step of stepsOf(context, room)) {
    if (performance.now() - begunAt > TURN_MS || context.ending.aborted) break;
    if (step.event !== undefined) {
      const attempt = await postEvent(context, step.event);
      // Nobody knows whether it was taken: another node posts it again.
      if (context.ending.aborted && !attempt.isTaken) break;
      context.onAttempt(attempt);
      if (!attempt.isTaken) return { state, refused: { step, attempt } };
      await step.settle?.();
    }
    state = step.taken;
  }
  return { state };
}

async function postEvent(
  { post, ending }: TurnContext,
  { id, json }: WebhookEvent,
): Promise<Attempt> {
  const begunAt = performance.now();
  const attempt = { status: undefined, error: undefined };
  try {
    const { status } = await post(id, json, ending);
    const isTaken = status >= 200 && status < 300;
    return { ...attempt, isTaken, status, ms: performance.now() - begunAt };
  } catch (error) {
    return { ...attempt, isTaken: false, error, ms: performance.now() - begunAt };
  }
}

/** What follows in a room: its entries, then the read markers at or below them; or that it was deleted. */
async function* stepsOf(context: TurnContext, leased: LeasedRoom): AsyncGenerator<Step> {
  const { log, recipients, online, cursors, begunAt } = context;
  const { roomId } = leased;
  let state = stateOf(leased);
  for (;;) {
    const freshUntil = performance.now() + PAGE_FRESH_MS;
    const range = { after: state.upto, upTo: Number.MAX_SAFE_INTEGER, limit: PAGE_ENTRIES };
    const entries = await log.read(roomId, range);
    const mentioned = mentionedIn(entries);
    const room = await recipients.find(roomId, mentioned);
    if (room === undefined) {
      yield deletionStep(context, leased, state);
      return;
    }
    if (entries.length === 0 && room.head > state.upto) {
      // The log does not have them any more, or has got them just now.
      const next = await cursors.nextSeq(roomId, state.upto);
      state = passOver(state, (next ?? room.head + 1) - 1);
      yield { event: undefined, taken: state, givenUp: state };
      continue;
    }
    const inRoom = mentioned && (await online(roomId));
    for (const [index, entry] of entries.entries()) {
      if (index > 0 && performance.now() > freshUntil) break;
      const step = entryStep(entry, state, { room, online: inRoom, begunAt });
      yield step;
      state = step.taken;
    }
    const isAtEnd =
      entries.length < PAGE_ENTRIES && state.upto === (entries.at(-1)?.seq ?? state.upto);
    if (!isAtEnd) continue;
    const reads = await cursors.reads(roomId, state.upto);
    if (reads.length === 0) return;
    for (const read of reads) {
      const hole = { from: state.holeFrom ?? undefined, to: state.upto };
      const event = readEvent(roomId, read, room, hole);
      const settle = (): Promise<void> => cursors.removeRead(roomId, read);
      const givenUp = { ...state, attempts: 0 };
      state = { ...givenUp, holeFrom: null };
      yield { event, taken: state, givenUp, settle };
    }
  }
}

function stateOf({ upto, attempts, holeFrom }: LeasedRoom): CursorState {
  return { upto, attempts, holeFrom };
}

/** The state behind entries up to `upto` that were not told: a hole, if there are some. */
function passOver(state: CursorState, upto: number): CursorState {
  if (upto <= state.upto) return state;
  return { upto, attempts: 0, holeFrom: state.holeFrom ?? state.upto + 1 };
}

function entryStep(
  entry: Entry,
  state: CursorState,
  { room, online, begunAt }: { room: ToldRoom; online: Online | undefined; begunAt: Date },
): Step {
  const { seq, kind, createdAt } = entry;
  // The log may begin beyond the cursor.
  const before = passOver(state, seq - 1);
  const givenUp = passOver(before, seq);
  // A newer node may have stored a kind that this one does not know.
  if (!isKnownKind(kind)) return { event: undefined, taken: givenUp, givenUp };
  // Imported behind the cursor: it counts by its date, and nobody misses it.
  if (Date.parse(createdAt) < begunAt.getTime()) {
    const passed = { ...before, upto: seq, attempts: 0 };
    return { event: undefined, taken: passed, givenUp: passed };
  }
  const audience = kind === 'message' && online ? audienceOf(entry, room, online) : undefined;
  const event = entryEvent(entry, room, { audience, holeFrom: before.holeFrom ?? undefined });
  const taken = { upto: seq, attempts: 0, holeFrom: event === undefined ? before.holeFrom : null };
  return { event, taken, givenUp };
}

function deletionStep({ cursors }: TurnContext, room: LeasedRoom, state: CursorState): Step {
  return {
    event: roomDeletedEvent(room.roomId, room.uuid),
    taken: state,
    givenUp: state,
    settle: () => cursors.remove(room),
  };
}

/** Those whom the messages among some entries mention; undefined: there are no messages. */
function mentionedIn(entries: readonly Entry[]): readonly string[] | undefined {
  const messages = entries.filter(({ kind }) => kind === 'message');
  return messages.length === 0 ? undefined : messages.flatMap(({ mentions }) => mentions ?? []);
}

/** Whom a message may concern: those whom it mentions first. */
function audienceOf(
  { emitter, mentions = [] }: Entry,
  { readers, newest }: ToldRoom,
  online: Online,
): Audience {
  const others = readers.filter(({ uuid }) => uuid !== emitter);
  const isMentioned = new Set(mentions);
  const told = others
    .toSorted(
      (one, other) => Number(isMentioned.has(other.uuid)) - Number(isMentioned.has(one.uuid)),
    )
    .slice(0, MAX_RECIPIENTS);
  return {
    recipients: told
      .filter(({ isUser }) => isUser)
      .map((user) => ({
        userUUID: user.uuid,
        online: online.has(user.uuid),
        unread: countUnread(user, newest),
        mentioned: isMentioned.has(user.uuid),
        level: user.level,
      })),
    entities: told.filter(({ isUser }) => !isUser).map(({ uuid }) => uuid),
    isTruncated: others.length > told.length,
  };
}
