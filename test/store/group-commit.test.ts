import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Outcome } from '../../src/store/append.js';
import { GroupCommit, type Appended, type StoreBatch } from '../../src/store/group-commit.js';
import { deferred } from '../harness/deferred.js';
import { QUIET } from '../harness/store-hosts.js';
import { newCaller, TestWriter } from '../harness/writers.js';

const ROOM = 1;
/** Number of the last change of rights in the room. */
const RULES_HEAD = 5;

/** A batch in flight counts as stalled after this time at the latest. */
const STALLED_MS = 200;

describe('a group commit', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('keeps the order of a room with two LiveRooms for a moment', async () => {
    const { groupCommit, stored } = openOverMemory();
    const oldRules = deferred();
    const newRules = deferred();
    const older = outdated(oldRules.promise);
    const newer = outdated(newRules.promise);

    const first = append(groupCommit, older, 'first');
    const second = append(groupCommit, newer, 'second');
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    newRules.resolve();
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    const third = append(groupCommit, newer, 'third');
    oldRules.resolve();
    await Promise.all([first, second, third]);

    expect(stored).toEqual(['first', 'second', 'third']);
  });

  it('closes when the messages of both LiveRooms are settled', async () => {
    const { groupCommit, stored } = openOverMemory();
    const newRules = deferred();
    const older = outdated(Promise.resolve());
    const newer = outdated(newRules.promise);

    const sent = Promise.all([
      append(groupCommit, older, 'first'),
      append(groupCommit, newer, 'second'),
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

  it('has two batches in flight, and gathers later messages in the next one', async () => {
    const { groupCommit, batches } = openByHand(4);
    const rooms = [1, 2, 3, 4].map((roomId) => new TestWriter(roomId));

    const sent: Promise<Appended>[] = [];
    for (const writer of rooms) {
      sent.push(append(groupCommit, writer, `of room ${writer.roomId}`));
      await turn();
    }
    const before = contentsOf(batches);
    batches[1]?.end();
    await turn();

    expect(before).toEqual([['of room 1'], ['of room 2']]);
    expect(contentsOf(batches)).toEqual([...before, ['of room 3', 'of room 4']]);
    for (const batch of batches) batch.end();
    await Promise.all(sent);
    await groupCommit.close();
  });

  it('sends other rooms beside stalled batches', async () => {
    const { groupCommit, batches } = openByHand(3);
    const stuck = [new TestWriter(1), new TestWriter(2)];
    const other = new TestWriter(3);

    const sent: Promise<Appended>[] = [];
    for (const writer of stuck) {
      sent.push(append(groupCommit, writer, 'hangs'));
      await turn();
    }
    for (const writer of stuck) sent.push(append(groupCommit, writer, 'behind it'));
    sent.push(append(groupCommit, other, 'beside them'));
    await later(STALLED_MS / 2 - 1);
    const early = batches.length;
    await later(STALLED_MS / 2 + 1);
    sent.push(append(groupCommit, other, 'when that is back'));
    batches[2]?.end();
    await turn();
    // No more than three, though these hang too.
    sent.push(append(groupCommit, new TestWriter(4), 'too many'));
    await later(2 * STALLED_MS);
    const meanwhile = contentsOf(batches);
    batches[0]?.end();
    await turn();

    expect(early).toBe(2);
    expect(meanwhile).toEqual([['hangs'], ['hangs'], ['beside them'], ['when that is back']]);
    expect(contentsOf(batches).slice(4)).toEqual([['behind it', 'too many']]);
    for (const batch of batches) batch.end();
    await turn();
    for (const batch of batches) batch.end();
    await Promise.all(sent);
    await groupCommit.close();
  });

  it('sends a batch of free rooms if all messages of a contended room are refused', async () => {
    const { groupCommit, batches } = openByHand(4);
    const locked = new TestWriter(1);
    const other = new TestWriter(2);
    const first = Promise.allSettled([
      append(groupCommit, locked, 'of the locked room'),
      append(groupCommit, other, 'first'),
    ]);
    await turn();
    const second = append(groupCommit, other, 'second');

    // The contended room is the first in line.
    locked.permits = () => false;
    batches[0]?.end({ busy: locked.roomId });
    await turn();

    // The next batch follows at once.
    expect(contentsOf(batches)).toEqual([['of the locked room', 'first'], ['second']]);
    batches[1]?.end();
    expect(await first).toMatchObject([
      { status: 'rejected', reason: { code: 'FORBIDDEN' } },
      { status: 'fulfilled' },
    ]);
    await second;
    await groupCommit.close();
  });

  it('bounds a batch by the number and the length of its messages', async () => {
    const { groupCommit, batches } = openOverMemory();
    const writer = new TestWriter(ROOM, { rulesHead: RULES_HEAD });

    await Promise.all(Array.from({ length: 1_500 }, () => append(groupCommit, writer, 'short')));
    await Promise.all(
      Array.from({ length: 5 }, () => append(groupCommit, writer, 'x'.repeat(400_000))),
    );

    expect(batches).toEqual([1_000, 500, 3, 2]);
  });
});

/** A live room that knows the newest rules once `read` has resolved. */
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

/** Stores into a list, with outcomes `stale` like those of append_batch. */
function openOverMemory(): { groupCommit: GroupCommit; stored: string[]; batches: number[] } {
  const stored: string[] = [];
  const batches: number[] = [];
  const groupCommit = groupCommitOver(1, (checked) => {
    batches.push(checked.length);
    const isStale = checked.some(({ rulesHead }) => rulesHead !== null && rulesHead < RULES_HEAD);
    return Promise.resolve(
      checked.map(({ draft: { content } }): Outcome =>
        isStale
          ? { outcome: 'stale' }
          : { outcome: 'stored', seq: stored.push(content), createdAt: '' },
      ),
    );
  });
  return { groupCommit, stored, batches };
}

interface HeldBatch {
  readonly contents: readonly string[];
  /** Stores its messages, except those of the room `busy`. */
  end(options?: { busy: number }): void;
}

/** The test ends its statements. */
function openByHand(maxInFlight: number): {
  groupCommit: GroupCommit;
  batches: readonly HeldBatch[];
} {
  const batches: HeldBatch[] = [];
  let seq = 0;
  const groupCommit = groupCommitOver(maxInFlight, async (checked) => {
    const ended = deferred();
    let busy: number | undefined;
    batches.push({
      contents: checked.map(({ draft }) => draft.content),
      end(options) {
        busy = options?.busy;
        ended.resolve();
      },
    });
    await ended.promise;
    return checked.map(({ draft }): Outcome =>
      draft.roomId === busy
        ? { outcome: 'busy' }
        : { outcome: 'stored', seq: (seq += 1), createdAt: '' },
    );
  });
  return { groupCommit, batches };
}

function contentsOf(batches: readonly HeldBatch[]): (readonly string[])[] {
  return batches.map(({ contents }) => contents);
}

async function later(milliseconds: number): Promise<void> {
  vi.advanceTimersByTime(milliseconds);
  await turn();
}

/** Long enough for a batch to be sent or answered. */
async function turn(): Promise<void> {
  for (let n = 0; n < 3; n += 1) await new Promise(setImmediate);
}

function groupCommitOver(logBatchesInFlight: number, storeBatch: StoreBatch): GroupCommit {
  const limits = {
    storeTimeoutMs: 60_000,
    logBatchesInFlight,
    logQueueEntries: 10_000,
    logQueueBytes: 10_000_000,
  };
  return new GroupCommit({ storeBatch, limits, logger: QUIET });
}

function append(groupCommit: GroupCommit, room: TestWriter, content: string): Promise<Appended> {
  const caller = newCaller();
  return groupCommit.append(room, caller, {
    roomId: room.roomId,
    kind: 'message',
    emitter: caller.userUUID,
    content,
    ref: null,
  });
}
