import { randomUUID } from 'node:crypto';
import type { Caller, Rule } from '../../src/access/permissions.js';
import { ChatError } from '../../src/errors.js';
import type { Entry, EntryDraft } from '../../src/store/entry.js';
import type { Appended } from '../../src/store/group-commit.js';
import type { LiveRoom } from '../../src/store/live-room.js';
import type { Log } from '../../src/store/log.js';
import type { RoomDraft } from '../../src/store/models/room.js';
import type { ChangedRule } from '../../src/store/rules.js';
import type { Store } from '../../src/store/store.js';

/** A room for the log to write to: by default everybody may write, and no rule is known. */
export class TestWriter implements LiveRoom {
  readonly roomId: number;
  rulesHead = 0;
  rulesDate: string | null = null;
  permits: (author: Caller) => boolean = () => true;
  refresh: () => Promise<void> = () => Promise.reject(new Error('no newer rules were expected'));
  /** The stored entries that it was given, in order. */
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

/** A live room that reads new rules when it is refreshed. */
export function writerOver(log: Log, roomId: number): TestWriter {
  const writer: TestWriter = new TestWriter(roomId, {
    async refresh() {
      const state = await log.state(roomId);
      writer.rulesHead = state?.rulesHead ?? 0;
      writer.rulesDate = state?.rulesDate ?? null;
    },
  });
  return writer;
}

/** A user of a new entity. */
export function newCaller(given: Partial<Caller> = {}): Caller {
  return {
    userUUID: randomUUID(),
    entityUUID: randomUUID(),
    levelOnEntity: 0,
    isServer: false,
    ...given,
  };
}

/** Appends a message of `author` to the writer's room. */
export function say(
  log: Log,
  writer: LiveRoom,
  content: string,
  {
    author = newCaller(),
    ref = null,
    ...extras
  }: { author?: Caller; ref?: string | null } & Pick<
    EntryDraft,
    'data' | 'replyTo' | 'mentions'
  > = {},
): Promise<Appended> {
  const draft: EntryDraft = {
    roomId: writer.roomId,
    kind: 'message',
    emitter: author.userUUID,
    content,
    ref,
    ...extras,
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
    entityOwner: randomUUID(),
    levelAdmin: 999,
    maxEntityRules: 10,
  };
}

/** A room with a rule for each of the callers: its permissions. Returns a live room that knows them. */
export async function roomOf(
  store: Store,
  members: readonly (readonly [caller: Caller, permissions: string])[],
): Promise<TestWriter> {
  const rules = members.map(([{ userUUID }, permissions]) => ({
    entityUUID: userUUID,
    level: 0,
    permissions,
    accepted: true,
  }));
  const { id } = await store.rooms.create(roomDraft(), rules, randomUUID());
  const writer = writerOver(store.log, id);
  await writer.refresh();
  return writer;
}

/** Sets a rule of a room without a permission check. */
export function setRule(
  { rules }: Pick<Store, 'rules'>,
  roomId: number,
  rule: Rule,
  by = newCaller(),
): Promise<ChangedRule> {
  return rules.change(roomId, by, rule.entityUUID, () => rule);
}

/** Adds a rule for a new user. */
export function addRule(store: Pick<Store, 'rules'>, roomId: number): Promise<ChangedRule> {
  const by = newCaller();
  const rule = { entityUUID: by.userUUID, level: 0, permissions: 'rw', accepted: false };
  return setRule(store, roomId, rule, by);
}

/** Removes a rule of a room without a permission check. */
export function removeRule(
  { rules }: Pick<Store, 'rules'>,
  roomId: number,
  uuid: string,
  by = newCaller(),
): Promise<ChangedRule> {
  return rules.change(roomId, by, uuid, () => undefined);
}

/** Deletes a room without a permission check. */
export function removeRoom({ rooms }: Pick<Store, 'rooms'>, roomId: number): Promise<void> {
  return rooms.remove(roomId, newCaller(), () => undefined);
}

/** The entry of a change that has one. */
export function entryOf({ entry }: ChangedRule): Entry {
  if (entry === undefined) throw new Error('nothing was changed');
  return entry;
}

/** The whole log of a room. */
export function readAll(log: Log, roomId: number): Promise<Entry[]> {
  return log.read(roomId, { after: 0, upTo: Number.MAX_SAFE_INTEGER, limit: 1_000_000 });
}
