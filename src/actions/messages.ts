import { may, permissionsOf, requirePermission, type Caller } from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { Feed } from '../feeds/feed.js';
import type { Hub } from '../feeds/hub.js';
import type { Verdict } from '../hooks/before-storing.js';
import type { MessageLimits } from '../limits/message-limits.js';
import type { ChangedMessage, Changes } from '../store/changes.js';
import type { Entry } from '../store/entry.js';
import type { Appended } from '../store/group-commit.js';
import type {
  History,
  HistoryMessage,
  HistoryPage,
  Period,
  Reader,
  Stretch,
} from '../store/history.js';
import type { LogPlace } from '../store/lock-room.js';
import type { Log } from '../store/log.js';
import type { Screening } from './screening.js';
import type { Deletion, Edit, NewReaction } from '../store/message-change.js';
import type { Rooms, RoomWithRules } from '../store/rooms.js';
import type { Search, SearchPage, Wanted } from '../store/search.js';

/**
 * Entries that one query reads of a log, as of a page of the catch-up over the socket; and the characters of their texts,
 * as of a page of the history.
 */
const MIN_PAGE_ENTRIES = 16;
const MAX_PAGE_ENTRIES = 250;
const PAGE_CHARACTERS = 32_768;

/** Messages in pages, oldest first; none of the pages is empty. */
export type MessagePages = AsyncGenerator<readonly HistoryMessage[], void, undefined>;

/** Which messages a page holds: those beyond `after`, or else the last before `before`, or else the last of all. */
export interface PageRange {
  readonly after?: number | undefined;
  readonly before?: number | undefined;
  readonly limit: number;
  readonly period?: Period | undefined;
  /** Seq of a message: only this one, and those that answer it. */
  readonly thread?: number | undefined;
}

export interface MessagePage extends Omit<HistoryPage, 'rest'> {
  /** The messages of the page beyond `messages`; undefined if there are none. */
  readonly rest: MessagePages | undefined;
}

/**
 * A room's history for one caller, up to the room's head when it was opened: what the caller may read is known at this
 * number, and a revocation may be the next entry. If a message was changed later, the caller's right is checked again
 * before it is shown.
 */
export interface OpenHistory {
  /** The end of the log when the history was opened. */
  readonly snapshot: LogPlace;
  /** @throws {ChatError} as `openHistory`, if the right was lost meanwhile; so do the pages */
  page(range: PageRange): Promise<MessagePage>;
  /** All messages of a period; undefined if there are none. */
  during(period: Period): Promise<MessagePages | undefined>;
}

/** Entries of a log that were asked for: all beyond `from`, up to `last`. */
export interface LogPage {
  readonly snapshot: LogPlace;
  /** The `after` that was asked for, or, if the log is gone beyond it, the number up to which it is. */
  readonly from: number;
  /** The head, or before it. */
  readonly last: number;
  /** In their order. A log that is deleted meanwhile ends them with NOT_FOUND, entries that are with UNAVAILABLE. */
  readonly pages: AsyncGenerator<readonly Entry[], void, undefined>;
}

/** A message as it is now. */
export interface FoundMessage {
  readonly message: HistoryMessage;
  readonly snapshot: LogPlace;
}

/** A message that was sent, as far as its sender may see it. */
export interface PostedMessage extends FoundMessage {
  /** Whether it was stored now, not earlier with the same ref. */
  readonly isNew: boolean;
}

/** A message as a client sends it. */
export interface NewMessage {
  /** Empty only beside `data`. */
  readonly content: string;
  /** A JSON object, as `JSON.stringify` writes it. */
  readonly data?: string | undefined;
  /** Seq of the message that it answers. */
  readonly replyTo?: number | undefined;
  /** UUIDs of users and of entities, in lower case; not an empty list. */
  readonly mentions?: readonly string[] | undefined;
  readonly ref?: string | undefined;
}

/** A change of a message that is stored. */
export interface MadeChange {
  /** Seq of its entry; if it was stored before, or changes nothing, of the entry that made it so. */
  readonly seq: number;
}

export interface MessageActions {
  /**
   * The feed of a room, opened if need be, for a caller who wants to write. If the rules that it knows do not permit
   * that, it has read whether there are newer ones.
   * @throws {ChatError} NOT_FOUND, UNAVAILABLE
   */
  feedFor(caller: Caller, roomId: number): Promise<Feed>;
  /**
   * Stores a message in the log of an open room, by the rules that the feed knows (`feedFor`). The feed has taken the
   * message by then. Messages are stored in the order of the calls, those of one user at least if the hook is asked.
   * @throws {ChatError} as `Log.append`; REJECTED
   */
  send(caller: Caller, feed: Feed, message: NewMessage): Promise<Appended>;
  /** As `Log.settledIn`. */
  settledIn(roomId: number): Promise<void> | undefined;
  /**
   * Stores a message in a room, open or not, and returns it as it is now.
   * @throws {ChatError} as `feedFor` and `send`; RATELIMITED; DELETED if it was deleted since
   */
  post(caller: Caller, roomId: number, message: NewMessage): Promise<PostedMessage>;
  /**
   * Replaces the text of a message: the caller's own, or as the application's server anybody's. The room's feed has
   * delivered the change by then.
   * @throws {ChatError} as `Changes.edit`; RATELIMITED; REJECTED
   */
  edit(caller: Caller, roomId: number, edit: Edit): Promise<MadeChange>;
  /**
   * A message that the caller has sent, as it is now; without the permission `r`, without what others did to it.
   * @throws {ChatError} NOT_FOUND, NO_SUCH_MESSAGE, DELETED, UNAVAILABLE
   */
  getOwn(caller: Caller, roomId: number, seq: number): Promise<FoundMessage>;
  /**
   * Deletes a message: the caller's own, or as an admin anybody's.
   * @throws {ChatError} as `Changes.remove`; RATELIMITED
   */
  remove(caller: Caller, roomId: number, deletion: Deletion): Promise<MadeChange>;
  /**
   * Puts an emoji on a message, or takes it off.
   * @throws {ChatError} as `Changes.react`; RATELIMITED
   */
  react(caller: Caller, roomId: number, reaction: NewReaction): Promise<MadeChange>;
  /**
   * Opens a room's history.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `r`; UNAVAILABLE
   */
  openHistory(caller: Caller, roomId: number, gone: AbortSignal): Promise<OpenHistory>;
  /**
   * The first `limit` entries of the log beyond `after`, none of them beyond the head at which the caller may read. As
   * over a socket, they withhold what later ones have replaced or deleted.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `r`; AHEAD if `after` is beyond the head; UNAVAILABLE
   */
  readLog(
    caller: Caller,
    roomId: number,
    range: { after: number; limit: number },
    gone: AbortSignal,
  ): Promise<LogPage>;
  /**
   * One message.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `r`; NO_SUCH_MESSAGE, DELETED, UNAVAILABLE
   */
  get(caller: Caller, roomId: number, seq: number, gone: AbortSignal): Promise<FoundMessage>;
  /**
   * Finds messages by their words in one room, or in all that the caller may read.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} INVALID if the text has no word; NOT_FOUND, and FORBIDDEN without the permission `r`, of a
   * room; UNAVAILABLE
   */
  search(caller: Caller, wanted: Wanted, gone: AbortSignal): Promise<SearchPage>;
}

export function createMessageActions({
  rooms,
  history,
  search,
  log,
  changes,
  hub,
  limits,
  screening,
}: {
  rooms: Pick<Rooms, 'accessFor'>;
  history: History;
  search: Search;
  log: Pick<Log, 'append' | 'settledIn' | 'read' | 'horizon'>;
  changes: Changes;
  hub: Pick<Hub, 'active' | 'open' | 'publish'>;
  /** Undefined if they are off. */
  limits?: MessageLimits | undefined;
  /** Undefined if nobody is asked before storing. */
  screening?: Screening | undefined;
}): MessageActions {
  async function access(
    caller: Caller,
    roomId: number,
    gone?: AbortSignal,
  ): Promise<RoomWithRules> {
    const room = await rooms.accessFor(caller, roomId, gone);
    if (room === undefined) throw noSuchRoom();
    return room;
  }

  /** The end of a room's log, at which the caller may read, and the number up to which the log is gone. */
  async function readablePlace(
    caller: Caller,
    roomId: number,
    gone: AbortSignal,
  ): Promise<{ snapshot: LogPlace } & Pick<RoomWithRules, 'horizon' | 'isBeingErased'>> {
    const room = await access(caller, roomId, gone);
    requirePermission(caller, room, 'r');
    const { head, epoch, horizon, isBeingErased } = room;
    return { snapshot: { head, epoch }, horizon, isBeingErased };
  }

  /**
   * @param deletedStatus the HTTP status of DELETED
   * @throws {ChatError} NO_SUCH_MESSAGE, DELETED
   */
  async function messageAt(
    roomId: number,
    seq: number,
    head: number,
    reader: Reader,
    deletedStatus?: number,
  ): Promise<HistoryMessage> {
    const found = seq <= head ? await history.one(roomId, seq, head, reader) : undefined;
    if (found === undefined) {
      throw new ChatError('NO_SUCH_MESSAGE', { detail: 'there is no such message in the room' });
    }
    if (found === 'deleted') {
      throw new ChatError('DELETED', { status: deletedStatus, detail: 'the message was deleted' });
    }
    return found;
  }

  async function* entriesOf(
    roomId: number,
    { after, last }: { after: number; last: number },
    gone: AbortSignal,
  ): LogPage['pages'] {
    let limit = MIN_PAGE_ENTRIES;
    for (let at = after; at < last;) {
      gone.throwIfAborted();
      const wanted = Math.min(limit, last - at);
      const entries = await log.read(roomId, { after: at, upTo: last, limit: wanted });
      // Seqs have no gaps.
      if (entries.length < wanted) {
        if ((await log.horizon(roomId)) === undefined) throw noSuchRoom();
        throw new ChatError('UNAVAILABLE', { detail: 'entries were deleted meanwhile' });
      }
      yield entries;
      at += wanted;
      limit = entriesOfAPage(entries);
    }
  }

  async function feedFor(caller: Caller, roomId: number): Promise<Feed> {
    const feed = await hub.open(roomId);
    if (feed === undefined) throw noSuchRoom();
    if (!feed.permits(caller)) await feed.refresh();
    return feed;
  }

  function send(caller: Caller, feed: Feed, message: NewMessage): Promise<Appended> {
    if (screening === undefined || !screening.covers(caller)) return append(caller, feed, message);
    return screening.run(
      { type: 'message', roomId: feed.roomId, message, caller },
      () => {
        const refusal = feed.refusal(caller);
        if (refusal !== undefined) throw refusal;
        return undefined;
      },
      (verdict) => append(caller, feed, message, verdict),
    );
  }

  function append(
    caller: Caller,
    feed: Feed,
    message: NewMessage,
    { content, data, isReplaced }: Verdict = message,
  ): Promise<Appended> {
    const { replyTo, mentions, ref } = message;
    return log.append(feed, caller, {
      roomId: feed.roomId,
      kind: 'message',
      emitter: caller.userUUID,
      content,
      ref: ref ?? null,
      data,
      replyTo,
      mentions,
      isReplaced,
    });
  }

  function change(caller: Caller, roomId: number, input: Edit): Promise<ChangedMessage> {
    if (screening === undefined || !screening.covers(caller)) {
      return changes.edit(caller, roomId, input);
    }
    return screening.run(
      { type: 'edit', roomId, message: input, caller },
      () => changes.foresee(caller, roomId, input),
      ({ content, data, isReplaced }) =>
        changes.edit(caller, roomId, { ...input, content, data, isReplaced }),
    );
  }

  async function getOwn(caller: Caller, roomId: number, seq: number): Promise<FoundMessage> {
    const room = await access(caller, roomId);
    const { head, epoch } = room;
    const message = await messageAt(roomId, seq, head, caller);
    const isChecked = (message.rev ?? 0) <= head;
    const sees = may(caller, isChecked ? room : await access(caller, roomId), 'r');
    const seen = sees ? message : { ...message, reactions: null, replies: 0, rev: message.textSeq };
    return { message: seen, snapshot: { head, epoch } };
  }

  /** Counts a message or a change. @throws {ChatError} RATELIMITED */
  function count(caller: Caller, roomId: number, feed: Feed | undefined): void {
    const hasRights = feed !== undefined && permissionsOf(caller, feed.access) !== '';
    limits?.take(caller, hasRights ? roomId : undefined);
  }

  /** Counts a change of a message, in a room that is open or not. @throws {ChatError} RATELIMITED, UNAVAILABLE */
  async function countChange(caller: Caller, roomId: number): Promise<void> {
    if (limits === undefined || caller.isServer) return;
    const feed = hub.active(roomId);
    if (feed !== undefined) return count(caller, roomId, feed);
    // The user's own first: who has sent too much has no rooms opened.
    limits.take(caller, undefined);
    const opened = await hub.open(roomId);
    // Its rules say whether the caller may use up what the room takes.
    const hasRights = opened !== undefined && permissionsOf(caller, opened.access) !== '';
    if (hasRights) limits.takeOfRoom(roomId);
  }

  async function publish(roomId: number, changing: Promise<ChangedMessage>): Promise<MadeChange> {
    const { seq, entry } = await changing;
    if (entry !== undefined) await hub.publish(roomId, [entry]);
    return { seq };
  }

  return {
    feedFor,
    send,
    settledIn: (roomId) => log.settledIn(roomId),

    async post(caller, roomId, message) {
      const feed = await feedFor(caller, roomId);
      count(caller, roomId, feed);
      const { seq, known } = await send(caller, feed, message);
      return { ...(await getOwn(caller, roomId, seq)), isNew: !known };
    },

    getOwn,

    async edit(caller, roomId, input) {
      await countChange(caller, roomId);
      return publish(roomId, change(caller, roomId, input));
    },

    async remove(caller, roomId, input) {
      await countChange(caller, roomId);
      return publish(roomId, changes.remove(caller, roomId, input));
    },

    async react(caller, roomId, input) {
      await countChange(caller, roomId);
      return publish(roomId, changes.react(caller, roomId, input));
    },

    async openHistory(caller, roomId, gone) {
      const place = await readablePlace(caller, roomId, gone);
      const { snapshot, horizon } = place;
      const upTo = snapshot.head;
      let checkedAt = upTo;
      async function checkChanges(messages: readonly HistoryMessage[]): Promise<void> {
        const isChecked = messages.every(({ rev }) => (rev ?? 0) <= checkedAt);
        if (!isChecked) checkedAt = (await readablePlace(caller, roomId, gone)).snapshot.head;
      }
      // The number of the log's last entry does not tell whether a replica has what was erased so far.
      const seen = place.isBeingErased ? {} : { seen: snapshot };
      const reader = { userUUID: caller.userUUID, ...seen, gone };
      async function* read(stretch: Stretch): MessagePages {
        for await (const messages of history.read(roomId, stretch, reader)) {
          await checkChanges(messages);
          yield messages;
        }
      }
      return {
        snapshot,
        async page(range) {
          const bounds = { ...range, upTo, horizon };
          const { rest, ...page } = await history.page(roomId, bounds, reader);
          await checkChanges(page.messages);
          return { ...page, rest: rest && read(rest) };
        },
        async during(period) {
          const stretch = await history.stretchOf(roomId, period, reader, upTo);
          // A replica may still have what is deleted.
          return stretch && read({ ...stretch, after: Math.max(stretch.after, horizon) });
        },
      };
    },

    async readLog(caller, roomId, { after, limit }, gone) {
      const { snapshot, horizon } = await readablePlace(caller, roomId, gone);
      const { head } = snapshot;
      if (after > head) {
        throw new ChatError('AHEAD', { detail: `after is beyond the room's head, ${head}` });
      }
      const from = Math.max(after, horizon);
      const last = Math.min(head, from + limit);
      return { snapshot, from, last, pages: entriesOf(roomId, { after: from, last }, gone) };
    },

    async get(caller, roomId, seq, gone) {
      const { snapshot } = await readablePlace(caller, roomId, gone);
      const { head } = snapshot;
      const message = await messageAt(roomId, seq, head, { userUUID: caller.userUUID, gone }, 404);
      if ((message.rev ?? 0) > head) await readablePlace(caller, roomId, gone);
      return { message, snapshot };
    },

    async search(caller, wanted, gone) {
      // The statement that reads the messages checks the rule once more: this only says why there are none.
      if (wanted.roomId !== undefined) await readablePlace(caller, wanted.roomId, gone);
      const page = await search.page(caller, wanted, gone);
      if (page !== undefined) return page;
      const message = 'has no letter and no digit';
      throw new ChatError('INVALID', { detail: `q ${message}`, errors: [{ field: 'q', message }] });
    },
  };
}

/** As many as have PAGE_CHARACTERS, if they are as long as these. */
function entriesOfAPage(entries: readonly Entry[]): number {
  let characters = 0;
  for (const { content, data } of entries) characters += content.length + (data?.length ?? 0);
  const usual = Math.floor((PAGE_CHARACTERS * entries.length) / (characters + 1));
  return Math.max(MIN_PAGE_ENTRIES, Math.min(MAX_PAGE_ENTRIES, usual));
}
