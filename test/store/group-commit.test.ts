import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Outcome } from '../../src/store/append.js';
import { GroupCommit, type Appended } from '../../src/store/group-commit.js';
import { deferred } from '../harness/deferred.js';
import { newCaller, TestWriter } from '../harness/writers.js';

const ROOM = 1;
/** Number of the room's last rule entry. */
const RULES_HEAD = 5;

/** When a statement is taken for one that hangs, at the latest. */
const HANGS_MS = 200;

describe('a lane', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('keeps the order of a room that has two writers for a moment', async () => {
    const { groupCommit, stored } = laneOverMemory();
    const oldRules = deferred();
    const newRules = deferred();
    const older = outdated(oldRules.promise);
    const newer = outdated(newRules.promise);

    const first = push(groupCommit, older, 'first');
    const second = push(groupCommit, newer, 'second');
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    newRules.resolve();
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    const third = push(groupCommit, newer, 'third');
    oldRules.resolve();
    await Promise.all([first, second, third]);

    expect(stored).toEqual(['first', 'second', 'third']);
  });

  it('is closed only when what both writers hold is settled', async () => {
    const { groupCommit, stored } = laneOverMemory();
    const newRules = deferred();
    const older = outdated(Promise.resolve());
    const newer = outdated(newRules.promise);

    const sent = Promise.all([
      push(groupCommit, older, 'first'),
      push(groupCommit, newer, 'second'),
    ]);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    let storedWhenClosed: string[] = [];
    const closed = groupCommit.close().then(() => {
      storedWhenClosed = [...stored];
    });
    for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
    newRules.resolve();
    await Promise.all([sent, closed]);

    expect(storedWhenClosed).toHaveLength(2);
  });

  it('has two statements in flight, and gathers what comes meanwhile', async () => {
    const { groupCommit, flights } = laneByHand(4);
    const rooms = [1, 2, 3, 4].map((roomId) => new TestWriter(roomId));

    const sent: Promise<Appended>[] = [];
    for (const writer of rooms) {
      sent.push(push(groupCommit, writer, `of room ${writer.roomId}`));
      await turn();
    }
    const before = contentsOf(flights);
    flights[1]?.land();
    await turn();

    expect(before).toEqual([['of room 1'], ['of room 2']]);
    expect(contentsOf(flights)).toEqual([...before, ['of room 3', 'of room 4']]);
    for (const flight of flights) flight.land();
    await Promise.all(sent);
    await groupCommit.close();
  });

  it('goes on beside statements that hang, but for the rooms in them', async () => {
    const { groupCommit, flights } = laneByHand(3);
    const stuck = [new TestWriter(1), new TestWriter(2)];
    const other = new TestWriter(3);

    const sent: Promise<Appended>[] = [];
    for (const writer of stuck) {
      sent.push(push(groupCommit, writer, 'hangs'));
      await turn();
    }
    for (const writer of stuck) sent.push(push(groupCommit, writer, 'behind it'));
    sent.push(push(groupCommit, other, 'beside them'));
    await later(HANGS_MS / 2 - 1);
    const early = flights.length;
    await later(HANGS_MS / 2 + 1);
    sent.push(push(groupCommit, other, 'when that is back'));
    flights[2]?.land();
    await turn();
    // No more than three, though these hang too.
    sent.push(push(groupCommit, new TestWriter(4), 'too many'));
    await later(2 * HANGS_MS);
    const meanwhile = contentsOf(flights);
    flights[0]?.land();
    await turn();

    expect(early).toBe(2);
    expect(meanwhile).toEqual([['hangs'], ['hangs'], ['beside them'], ['when that is back']]);
    expect(contentsOf(flights).slice(4)).toEqual([['behind it', 'too many']]);
    for (const flight of flights) flight.land();
    await turn();
    for (const flight of flights) flight.land();
    await Promise.all(sent);
    await groupCommit.close();
  });

  it('makes up a batch beside messages of a locked room that are all refused', async () => {
    const { groupCommit, flights } = laneByHand(4);
    const locked = new TestWriter(1);
    const other = new TestWriter(2);
    const first = Promise.allSettled([
      push(groupCommit, locked, 'of the locked room'),
      push(groupCommit, other, 'first'),
    ]);
    await turn();
    const second = push(groupCommit, other, 'second');

    // It is looked at before the others.
    locked.permits = () => false;
    flights[0]?.land({ busy: locked.roomId });
    await turn();

    // Without any time in between.
    expect(contentsOf(flights)).toEqual([['of the locked room', 'first'], ['second']]);
    flights[1]?.land();
    expect(await first).toMatchObject([
      { status: 'rejected', reason: { code: 'FORBIDDEN' } },
      { status: 'fulfilled' },
    ]);
    await second;
    await groupCommit.close();
  });

  it('fills a batch by the count and the length of its messages', async () => {
    const { groupCommit, batches } = laneOverMemory();
    const writer = new TestWriter(ROOM, { rulesHead: RULES_HEAD });

    await Promise.all(Array.from({ length: 1_500 }, () => push(groupCommit, writer, 'short')));
    await Promise.all(
      Array.from({ length: 5 }, () => push(groupCommit, writer, 'x'.repeat(400_000))),
    );

    expect(batches).toEqual([1_000, 500, 3, 2]);
  });
});

/** A writer that knows the room's newest rules once `read` has resolved. */
function outdated(read: Promise<void>): TestWriter {
  const writer: TestWriter = new TestWriter(ROOM, {
    rulesHead: 0,
    async refresh() {
      await read;
      writer.rulesHead = RULES_HEAD;
    },
  });
  return writer;
}

/** A lane whose log is a list, and tells `stale` as append_batch does. */
function laneOverMemory(): { groupCommit: GroupCommit; stored: string[]; batches: number[] } {
  const stored: string[] = [];
  const batches: number[] = [];
  const groupCommit = new GroupCommit(
    (checked) => {
      batches.push(checked.length);
      const isStale = checked.some(({ rulesHead }) => rulesHead !== null && rulesHead < RULES_HEAD);
      return Promise.resolve(
        checked.map(({ draft: { content } }): Outcome =>
          isStale
            ? { outcome: 'stale' }
            : { outcome: 'stored', seq: stored.push(content), createdAt: '' },
        ),
      );
    },
    fail,
    1,
  );
  return { groupCommit, stored, batches };
}

interface HandFlight {
  readonly contents: readonly string[];
  /** Stores all of it, but for what is of a room that somebody else has locked. */
  land(options?: { busy: number }): void;
}

/** A lane whose statements end when the test says so. */
function laneByHand(maxFlights: number): {
  groupCommit: GroupCommit;
  flights: readonly HandFlight[];
} {
  const flights: HandFlight[] = [];
  let seq = 0;
  const groupCommit = new GroupCommit(
    async (checked) => {
      const landed = deferred();
      let busy: number | undefined;
      flights.push({
        contents: checked.map(({ draft }) => draft.content),
        land(options) {
          busy = options?.busy;
          landed.resolve();
        },
      });
      await landed.promise;
      return checked.map(({ draft }): Outcome =>
        draft.room_id === busy
          ? { outcome: 'busy' }
          : { outcome: 'stored', seq: (seq += 1), createdAt: '' },
      );
    },
    fail,
    maxFlights,
  );
  return { groupCommit, flights };
}

function contentsOf(flights: readonly HandFlight[]): (readonly string[])[] {
  return flights.map(({ contents }) => contents);
}

async function later(milliseconds: number): Promise<void> {
  vi.advanceTimersByTime(milliseconds);
  await turn();
}

/** Long enough for a batch to depart or to be delivered. */
async function turn(): Promise<void> {
  for (let n = 0; n < 3; n += 1) await new Promise(setImmediate);
}

function fail(error: unknown): never {
  throw error;
}

function push(groupCommit: GroupCommit, room: TestWriter, content: string): Promise<Appended> {
  const caller = newCaller();
  return new Promise((resolve, reject) => {
    groupCommit.push({
      room,
      caller,
      draft: {
        room_id: room.roomId,
        kind: 'message',
        emitter: caller.userUUID,
        content,
        ref: null,
      },
      resolve,
      reject,
    });
  });
}
