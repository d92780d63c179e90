import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countingRules, may, type Caller, type Rule } from '../../src/access/permissions.js';
import { ruleOf, type Entry } from '../../src/store/entry.js';
import type { RoomSummary } from '../../src/store/room-list.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import {
  newCaller,
  readAll,
  removeRule,
  roomDraft,
  say,
  setRule,
  writerOver,
  type TestWriter,
} from '../harness/writers.js';

/** Counted at most, as the page of the wire promises. */
const COUNTED = 100;

/** What happens in a room; a number chooses among what is there. */
type Step =
  | {
      readonly do: 'say';
      readonly by: 'self' | 'other';
      readonly times: number;
      readonly mentions: 'none' | 'self' | 'entity' | 'other';
    }
  | { readonly do: 'edit' | 'delete' | 'react'; readonly message: number }
  | {
      readonly do: 'put';
      readonly who: 'self' | 'entity';
      readonly permissions: string;
      readonly accepted: boolean;
    }
  | { readonly do: 'remove'; readonly who: 'self' | 'entity' }
  | { readonly do: 'read'; readonly upto: number; readonly isBack: boolean };

const who = fc.constantFrom('self' as const, 'entity' as const);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('say' as const),
      by: fc.constantFrom('self' as const, 'other' as const),
      times: fc.constantFrom(1, 1, 2, 3, 60),
      mentions: fc.constantFrom(
        'none' as const,
        'self' as const,
        'entity' as const,
        'other' as const,
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('edit' as const, 'delete' as const, 'react' as const),
      message: fc.nat(1_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('put' as const),
      who,
      permissions: fc.constantFrom('r', 'rw', 'w', 'rb', 'a'),
      accepted: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), who }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      upto: fc.nat(200),
      isBack: fc.boolean(),
    }),
  },
);

describe.each(storeHosts)('the rooms of a caller over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('have what brute force finds in their logs, whatever has happened', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { maxLength: 12 }), { minLength: 1, maxLength: 3 }),
        fc.constantFrom('group' as const, 'user2user' as const),
        async (histories, type) => {
          const caller = newCaller();
          const expected: Expected[] = [];
          for (const steps of histories) expected.push(await happen(caller, type, steps));

          const listed = await store.roomList.page(caller, { limit: 10 });

          const visible = expected
            .filter(({ isVisible }) => isVisible)
            .toSorted((one, other) => other.at - one.at || other.room.id - one.room.id);
          expect(listed.map(({ at, id }) => [at.getTime(), id])).toEqual(
            visible.map(({ at, room }) => [at, room.id]),
          );
          expect(listed).toMatchObject(visible.map(({ room }) => room));
          for (const { room, isVisible } of expected) {
            const one = await store.roomList.one(caller, room.id);
            expect([one]).toMatchObject([isVisible ? room : undefined]);
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  it('come in pages, by the time of their last message, each once', async () => {
    const caller = newCaller();
    const writers: TestWriter[] = [];
    for (let n = 0; n < 5; n += 1) writers.push(await roomOfCaller(caller, 'group', `room ${n}`));
    for (const n of [3, 0, 4]) await sayAt(writers[n], `2030-01-0${n + 1}`);

    const pages: RoomSummary[][] = [];
    let behind: RoomSummary | undefined;
    do {
      const page = await store.roomList.page(caller, { limit: 2, behind });
      pages.push(page);
      behind = page.at(-1);
    } while (behind !== undefined);

    expect(pages.map((page) => page.map(({ name }) => name))).toEqual([
      ['room 4', 'room 3'],
      ['room 0', 'room 2'],
      ['room 1'],
      [],
    ]);
  });

  it('are found by their type, and by a part of their name or of that of the other user', async () => {
    const caller = newCaller();
    const ben = newCaller();
    await roomOfCaller(caller, 'group', 'The Kitchen_100%');
    await roomOfCaller(caller, 'group', 'garden');
    const pair = await roomOfCaller(caller, 'user2user', 'x');
    await setRule(store, pair.roomId, ruleFor(ben.userUUID));
    const profile = { name: 'Ben Kitchener', picture: undefined, signedAt: undefined };
    await store.users.remember(new Map([[ben.userUUID, profile]]));
    const names = async (filter: { text?: string; type?: 'group' }): Promise<string[]> => {
      const rooms = await store.roomList.page(caller, { ...filter, limit: 10 });
      return rooms.map(({ name }) => name).toSorted();
    };

    expect(await names({ text: 'kitchen' })).toEqual(['The Kitchen_100%', 'x']);
    expect(await names({ text: 'kitchen', type: 'group' })).toEqual(['The Kitchen_100%']);
    expect(await names({ text: '_100%' })).toEqual(['The Kitchen_100%']);
    expect(await names({ text: '%' })).toEqual(['The Kitchen_100%']);
    expect(await names({ type: 'group' })).toEqual(['The Kitchen_100%', 'garden']);
    const [room] = await store.roomList.page(caller, { text: 'BEN', limit: 10 });
    expect(room?.with).toEqual({
      userUUID: ben.userUUID,
      name: 'Ben Kitchener',
      picture: null,
    });
  });

  it('show nothing of a room to somebody who is only invited', async () => {
    const caller = newCaller();
    const { roomId } = await roomOfCaller(caller, 'group', 'a room');
    await setRule(store, roomId, { ...ruleFor(caller.userUUID), permissions: 'w' });
    await sayAt(writerOver(store.log, roomId), '2030-01-01');

    expect(await store.roomList.one(caller, roomId)).toMatchObject({
      permissions: 'w',
      accepted: false,
      unread: 0,
      lastMessage: null,
    });
    await setRule(store, roomId, { ...ruleFor(caller.userUUID), permissions: 'w', accepted: true });
    expect(await store.roomList.one(caller, roomId)).toBeUndefined();
  });

  /** A room in which the caller may read; their rule is the first entry. */
  async function roomOfCaller(
    caller: Caller,
    type: 'group' | 'user2user',
    name: string,
  ): Promise<TestWriter> {
    const rules = [ruleFor(caller.userUUID)];
    const { id } = await store.rooms.create({ ...roomDraft(), type, name }, rules, randomUUID());
    return writerOver(store.log, id);
  }

  /** Says something, and gives it a date: messages of the same millisecond have no order. */
  async function sayAt(writer: TestWriter | undefined, date: string): Promise<void> {
    if (writer === undefined) return;
    await writer.refresh();
    const { seq } = await say(store.log, writer, 'hi');
    await host.database.sequelize.query(
      'UPDATE messages SET "createdAt" = $3 WHERE room_id = $1 AND seq = $2',
      { bind: [writer.roomId, seq, date] },
    );
  }

  /** Makes a room, has things happen in it, and returns what the caller is to see, by brute force over its log. */
  async function happen(
    caller: Caller,
    type: 'group' | 'user2user',
    steps: readonly Step[],
  ): Promise<Expected> {
    const { userUUID, entityUUID } = caller;
    const other = newCaller();
    // Another entity that never counts keeps the room's rules from being empty.
    const writer = await roomOfCaller(other, type, 'a room');
    const room = writer.roomId;
    const uuids = { self: userUUID, entity: entityUUID, none: '', other: randomUUID() };
    let marker = 0;
    const messages: number[] = [];
    /** The authors, who alone may edit and delete; in this test everybody may write and delete. */
    const authors = new Map<number, Caller>();
    for (const [index, one] of steps.entries()) {
      if (one.do === 'say') {
        await writer.refresh();
        const author = one.by === 'self' ? caller : other;
        const mentions = one.mentions === 'none' ? undefined : [uuids[one.mentions]];
        const said = await Promise.all(
          Array.from({ length: one.times }, () =>
            store.log.append(writer, author, {
              roomId: room,
              kind: 'message',
              emitter: author.userUUID,
              content: 'hi',
              ref: null,
              mentions,
            }),
          ),
        );
        for (const { seq } of said) {
          messages.push(seq);
          authors.set(seq, author);
        }
      } else if (one.do === 'put') {
        const rule = {
          ...ruleFor(uuids[one.who]),
          permissions: one.permissions,
          accepted: one.accepted,
        };
        await setRule(store, room, rule);
      } else if (one.do === 'remove') {
        await removeRule(store, room, uuids[one.who]).catch(() => undefined);
      } else if (one.do === 'read') {
        await store.readMarkers.move(caller, room, one.upto, one.isBack);
        const entries = await readAll(store.log, room);
        const { reads, since } = rightsIn(caller, type, entries);
        const upto = Math.max(since, Math.min(one.upto, entries.length));
        if (reads) marker = one.isBack ? upto : Math.max(marker, upto);
      } else {
        const target = messages[one.message % Math.max(1, messages.length)];
        if (target === undefined) continue;
        const author = authors.get(target) ?? other;
        // Refused for an author without rights; the log then has no entry of it.
        const change =
          one.do === 'edit'
            ? store.changes.edit(author, room, { target, content: `edit ${index}` })
            : one.do === 'delete'
              ? store.changes.remove(author, room, { target })
              : store.changes.react(author, room, { target, emoji: '👍', on: true });
        await change.catch(() => undefined);
      }
    }
    return expectedOf(caller, type, room, marker);
  }

  async function expectedOf(
    caller: Caller,
    type: 'group' | 'user2user',
    room: number,
    marker: number,
  ): Promise<Expected> {
    const entries = await readAll(store.log, room);
    const { access, reads, counting, letting, isBanned, since } = rightsIn(caller, type, entries);
    const deleted = new Set(
      entries.filter(({ kind }) => kind === 'delete').map(({ target = 0 }) => target),
    );
    const isVisible = !isBanned && (reads || counting.some(({ accepted }) => !accepted));
    const read = Math.max(marker, since);
    const standing = entries.filter(({ kind, seq }) => kind === 'message' && !deleted.has(seq));
    const unread = standing
      .filter(({ seq, emitter }) => reads && seq > read && emitter !== caller.userUUID)
      .slice(-COUNTED);
    const last = reads ? standing.at(-1) : undefined;
    const listed = await host.database.sequelize.query(
      'SELECT "createdAt" FROM rooms WHERE id = $1',
      { bind: [room] },
    );
    const [[row]] = listed as unknown as [[{ createdAt: Date }]];
    return {
      isVisible,
      at: last === undefined ? row.createdAt.getTime() : Date.parse(last.createdAt),
      room: {
        id: room,
        head: entries.length,
        permissions: ['r', 'w', 'a']
          .filter((letter) => may(caller, access, letter as 'r'))
          .join(''),
        accepted: (letting[0] ?? counting[0])?.accepted,
        read,
        unread: unread.length,
        mentions: unread.filter((entry) => mentionsOf(entry, caller)).length,
        lastMessage: last === undefined ? null : expect.objectContaining({ seq: last.seq }),
      },
    };
  }
});

/** What a caller may do in a room by its log, and since which entry they may read. */
function rightsIn(caller: Caller, type: 'group' | 'user2user', entries: readonly Entry[]) {
  const sinces = new Map<string, number>();
  const rules = new Map<string, Rule>();
  for (const entry of entries) {
    if (entry.kind !== 'member') continue;
    const rule = ruleOf(entry);
    if (rule.permissions === '') {
      rules.delete(rule.entityUUID);
      sinces.delete(rule.entityUUID);
    } else {
      if (!rules.has(rule.entityUUID)) sinces.set(rule.entityUUID, entry.seq);
      rules.set(rule.entityUUID, rule);
    }
  }
  const access = { ...roomDraft(), type, rules };
  const reads = may(caller, access, 'r');
  const { own, entity } = countingRules(caller, access);
  const counting = [own, entity].filter((rule) => rule !== undefined);
  const isBanned = own?.permissions.includes('b') ?? false;
  const letting = counting.filter(({ permissions }) => permissions.includes('r'));
  const since =
    letting.length === 0
      ? 0
      : Math.min(...letting.map(({ entityUUID }) => sinces.get(entityUUID) ?? 0));
  return { access, reads, counting, letting, isBanned, since };
}

interface Expected {
  readonly isVisible: boolean;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly room: Record<string, unknown> & { readonly id: number };
}

function mentionsOf({ mentions = [] }: Entry, { userUUID, entityUUID }: Caller): boolean {
  return mentions.includes(userUUID) || mentions.includes(entityUUID);
}

function ruleFor(uuid: string): Rule {
  return { entityUUID: uuid, level: 0, permissions: 'rw', accepted: false };
}
