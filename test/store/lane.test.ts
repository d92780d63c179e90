import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/store/entries.js';
import { Lane, type Appended } from '../../src/store/lane.js';
import { deferred } from '../harness/deferred.js';
import { newCaller, TestWriter } from '../harness/writers.js';

const ROOM = 1;
/** Number of the room's last rule entry. */
const RULES_HEAD = 5;

describe('a lane', () => {
  it('keeps the order of a room that has two writers for a moment', async () => {
    const { lane, stored } = laneOverMemory();
    const oldRules = deferred();
    const newRules = deferred();
    const older = outdated(oldRules.promise);
    const newer = outdated(newRules.promise);

    const first = push(lane, older, 'first');
    const second = push(lane, newer, 'second');
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    newRules.resolve();
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    const third = push(lane, newer, 'third');
    oldRules.resolve();
    await Promise.all([first, second, third]);

    expect(stored).toEqual(['first', 'second', 'third']);
  });

  it('is closed only when what both writers hold is settled', async () => {
    const { lane, stored } = laneOverMemory();
    const newRules = deferred();
    const older = outdated(Promise.resolve());
    const newer = outdated(newRules.promise);

    const sent = Promise.all([push(lane, older, 'first'), push(lane, newer, 'second')]);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    let storedWhenClosed: string[] = [];
    const closed = lane.close().then(() => {
      storedWhenClosed = [...stored];
    });
    for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
    newRules.resolve();
    await Promise.all([sent, closed]);

    expect(storedWhenClosed).toHaveLength(2);
  });

  it('goes on beside a statement that hangs, but for the rooms in it', async () => {
    const stored: string[] = [];
    const hanging = deferred();
    const lane = new Lane(
      async (checked) => {
        if (checked.some(({ draft }) => draft.content === 'hangs')) await hanging.promise;
        return checked.map(({ draft: { content } }): Outcome => ({
          outcome: 'stored',
          seq: stored.push(content),
          createdAt: '',
        }));
      },
      fail,
      2,
    );
    const stuck = new TestWriter(ROOM);
    const other = new TestWriter(ROOM + 1);

    const first = push(lane, stuck, 'hangs');
    await new Promise(setImmediate);
    const second = push(lane, stuck, 'behind it');
    await push(lane, other, 'beside it');
    await push(lane, other, 'beside it again');
    hanging.resolve();
    await Promise.all([first, second]);
    await lane.close();

    expect(stored).toEqual(['beside it', 'beside it again', 'hangs', 'behind it']);
  });

  it('fills a batch by the count and the length of its messages', async () => {
    const { lane, batches } = laneOverMemory();
    const writer = new TestWriter(ROOM);

    await Promise.all(Array.from({ length: 1_500 }, () => push(lane, writer, 'short')));
    await Promise.all(Array.from({ length: 5 }, () => push(lane, writer, 'x'.repeat(400_000))));

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
function laneOverMemory(): { lane: Lane; stored: string[]; batches: number[] } {
  const stored: string[] = [];
  const batches: number[] = [];
  const lane = new Lane(
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
  return { lane, stored, batches };
}

function fail(error: unknown): never {
  throw error;
}

function push(lane: Lane, writer: TestWriter, content: string): Promise<Appended> {
  const author = newCaller();
  return new Promise((resolve, reject) => {
    lane.push({
      writer,
      author,
      draft: {
        room_id: writer.roomId,
        kind: 'message',
        emitter: author.userUUID,
        content,
        ref: null,
      },
      resolve,
      reject,
    });
  });
}
