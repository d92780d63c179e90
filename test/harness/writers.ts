import { randomUUID } from 'node:crypto';
import type { Caller } from '../../src/access/permissions.js';
import { ChatError } from '../../src/errors.js';
import type { Entry, EntryDraft } from '../../src/store/entries.js';
import type { Appended, Writer } from '../../src/store/lane.js';
import type { Log } from '../../src/store/log.js';
import type { RoomDraft } from '../../src/store/models/room.js';
import type { Store } from '../../src/store/store.js';

/** A room as a node writes it: by default everybody may, and its rules are never out of date. */
export class TestWriter implements Writer {
  readonly roomId: number;
  rulesHead = Number.MAX_SAFE_INTEGER;
  permits: (author: Caller) => boolean = () => true;
  refresh: () => Promise<void> = () => Promise.reject(new Error('no newer rules were expected'));
  /** What it was given, in that order. */
  readonly taken: Entry[] = [];

  constructor(
    roomId: number,
    given: Partial<Omit<TestWriter, 'roomId' | 'taken' | 'stored' | 'refusal'>> = {},
  ) {
    this.roomId = roomId;
    Object.assign(this, given);
  }

  refusal(author: Caller): ChatError | undefined {
    return this.permits(author) ? undefined : new ChatError('FORBIDDEN');
  }

  stored(entries: readonly Entry[]): void {
    this.taken.push(...entries);
  }
}

/** Somebody of a new entity. */
export function newCaller(given: Partial<Caller> = {}): Caller {
  return { userUUID: randomUUID(), entityUUID: randomUUID(), levelOnEntity: 0, ...given };
}

/** Appends a message of `author` to the writer's room. */
export function say(
  log: Log,
  writer: Writer,
  content: string,
  { author = newCaller(), ref = null }: { author?: Caller; ref?: string | null } = {},
): Promise<Appended> {
  const draft: EntryDraft = {
    room_id: writer.roomId,
    kind: 'message',
    emitter: author.userUUID,
    content,
    ref,
  };
  return log.append(writer, author, draft);
}

/** A room without rules, so that its log is empty; returns its id. */
export async function emptyRoom(store: Store, given: Partial<RoomDraft> = {}): Promise<number> {
  const room = await store.rooms.create({ ...roomDraft(), ...given }, [], randomUUID());
  return room.id;
}

export function roomDraft(): Omit<RoomDraft, 'uuid'> {
  return {
    name: 'a room',
    type: 'group',
    entity_owner: randomUUID(),
    level_admin: 999,
    max_entity_rules: 10,
  };
}

/** The whole log of a room. */
export function readAll(log: Log, roomId: number): Promise<Entry[]> {
  return log.read(roomId, { after: 0, upTo: Number.MAX_SAFE_INTEGER, limit: 1_000_000 });
}
