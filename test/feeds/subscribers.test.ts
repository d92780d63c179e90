import fc from 'fast-check';
import { PassThrough } from 'node:stream';
import { expect, it, vi } from 'vitest';
import { Subscribers, type Subscriber } from '../../src/feeds/subscribers.js';
import { Backlog } from '../../src/feeds/backlog.js';
import { SocketWriter } from '../../src/feeds/socket-writer.js';
import type { FlushQueue } from '../../src/feeds/flush-queue.js';
import { frameOf as frameOfEntry } from '../../src/feeds/catch-up.js';
import type { Observer } from '../../src/observer.js';
import type { Entry } from '../../src/store/entry.js';
import type { Log } from '../../src/store/log.js';

const ROOM = 1;
const OUTBOX_BYTES = 1 << 20;
/** A flush queue that never flushes: the tests flush themselves. */
const NO_TURN: FlushQueue = { addRoom: () => undefined, addWriter: () => undefined };

/** The frame of a message. */
function frameOf(roomId: number, seq: number): Buffer {
  const frame = frameOfEntry(
    {
      roomId,
      seq,
      kind: 'message',
      emitter: '',
      content: 'hi',
      ref: null,
      createdAt: '',
    },
    1,
  );
  if (frame === undefined) throw new Error('a message has a frame');
  return frame;
}

class Reader implements Subscriber {
  readonly version = 1;
  readonly identity = { userUUID: '', entityUUID: '', levelOnEntity: 0, isServer: false };
  readonly writer: SocketWriter;
  /** Its position when it joined. */
  readonly after: number;
  readonly stream = new PassThrough({ highWaterMark: OUTBOX_BYTES });
  readonly socket: { readyState: 0 | 1 | 2 | 3 } = { readyState: 1 };

  constructor(after: number) {
    this.after = after;
    this.writer = new SocketWriter(this.socket, this.stream, NO_TURN, OUTBOX_BYTES, new Backlog());
  }

  roomLost(): void {
    // No room is lost in these tests.
  }

  /** The received words, and numbers of messages. */
  seen(): unknown[] {
    this.writer.flush();
    const text = String((this.stream.read() as Buffer | null) ?? '');
    return [...text.matchAll(/CONNECTED|"seq":(\d+)/g)].map(([word, seq]) =>
      seq === undefined ? word : Number(seq),
    );
  }
}

/** The log of a room whose every fifth entry is a rule, without a frame. */
const LOG = {
  read: (roomId: number, { after, upTo, limit }: { after: number; upTo: number; limit: number }) =>
    Promise.resolve(
      Array.from({ length: Math.min(upTo - after, limit) }, (_, i): Entry => {
        const seq = after + 1 + i;
        const kind = isMessage(seq) ? 'message' : 'member';
        return { roomId, seq, kind, emitter: '', content: 'hi', ref: null, createdAt: '' };
      }),
    ),
} as unknown as Log;

function isMessage(seq: number): boolean {
  return seq % 5 !== 0;
}

type Step =
  | 'show'
  | 'show edited'
  | 'join'
  | 'come back'
  | 'leave'
  | 'all leave'
  | 'flush'
  | 'answer'
  | 'wait';

const steps = fc.array(
  fc.record({
    what: fc.constantFrom<Step>(
      'show',
      'show',
      'show edited',
      'join',
      'come back',
      'leave',
      'all leave',
      'flush',
      'answer',
      'wait',
    ),
    n: fc.nat(8),
  }),
  { maxLength: 100 },
);

it('each subscriber gets every message from its joining to its leaving, however passes are sliced', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      const subscribers = new Subscribers({
        roomId: ROOM,
        version: 1,
        log: LOG,
        reach: () => Promise.resolve(),
        flushQueue: NO_TURN,
        onReadFailure: () => undefined,
      });
      const here: Reader[] = [];
      let number = 0;
      const shown = (reader: Reader, last: number): void => {
        const due = Array.from({ length: last - reader.after }, (_, i) => reader.after + 1 + i);
        expect(reader.seen()).toEqual(['CONNECTED', ...due.filter(isMessage)]);
      };
      subscribers.beginAt(0);
      for (const { what, n } of steps) {
        const reader = here[n % Math.max(here.length, 1)];
        if (what === 'show') {
          number += 1;
          subscribers.deliver(number, isMessage(number) ? frameOf(ROOM, number) : undefined);
        } else if (what === 'show edited') {
          number += 1;
          if (isMessage(number)) subscribers.deliverByPages(number);
          else subscribers.deliver(number, undefined);
        } else if (what === 'join' || what === 'come back') {
          const joined = new Reader(what === 'join' ? number : Math.max(0, number - n));
          here.push(joined);
          subscribers.join(joined, what === 'join' ? undefined : joined.after);
          // CONNECTED comes before any message.
          joined.writer.reply('CONNECTED');
        } else if (what === 'flush') {
          subscribers.flush(n);
        } else if (what === 'wait') {
          await new Promise(setImmediate);
        } else if (reader !== undefined && what === 'answer') {
          subscribers.flushTo(reader);
        } else if (reader !== undefined) {
          // A subscriber that is behind does not get the rest when it leaves.
          await turns(3);
          const going = what === 'leave' ? [reader] : [...here];
          for (const one of going) {
            void subscribers.leave(one);
            here.splice(here.indexOf(one), 1);
            shown(one, number);
          }
        }
      }
      await turns(3);
      subscribers.flush(Infinity);
      for (const reader of here) shown(reader, number);
    }),
    { numRuns: 1_000 },
  );
});

it('a socket that has begun to close causes no more reads', async () => {
  const read = vi.spyOn(LOG, 'read');
  const subscribers = new Subscribers({
    roomId: ROOM,
    version: 1,
    log: LOG,
    reach: () => Promise.resolve(),
    flushQueue: NO_TURN,
    onReadFailure: () => undefined,
  });
  subscribers.beginAt(1_000_000);
  const reader = new Reader(0);
  subscribers.join(reader, 0);
  while (read.mock.calls.length < 3) await new Promise(setImmediate);

  reader.socket.readyState = 2;
  await turns(3);
  const before = read.mock.calls.length;
  // It reads the written bytes, so that there would be room for more.
  for (let times = 0; times < 20; times += 1) {
    reader.stream.read();
    await turns(1);
  }

  expect(read).toHaveBeenCalledTimes(before);
  subscribers.resumeCatchUp();
  await turns(3);
  expect(read).toHaveBeenCalledTimes(before);
  read.mockRestore();
});

it('a full socket that its client closes is not waited for', async () => {
  const subscribers = new Subscribers({
    roomId: ROOM,
    version: 1,
    log: LOG,
    reach: () => Promise.resolve(),
    flushQueue: NO_TURN,
    onReadFailure: () => undefined,
  });
  const reader = new Reader(0);
  subscribers.join(reader);
  reader.stream.write(Buffer.alloc(OUTBOX_BYTES));
  // As `ws` does when the peer has ended its side.
  reader.socket.readyState = 2;
  reader.stream.end();
  const drained = vi.spyOn(reader.writer, 'drained');

  subscribers.deliver(1, frameOf(ROOM, 1));
  subscribers.flush(Infinity);
  await turns(20);

  expect(drained.mock.calls.length).toBeLessThanOrEqual(1);
});

it('a writer is drained once, when the bytes written before its end are sent', async () => {
  const { writer, stream } = new Reader(0);
  stream.write(Buffer.alloc(OUTBOX_BYTES));
  stream.write(Buffer.alloc(OUTBOX_BYTES));
  stream.end();
  let isDrained = false;
  const drained = writer.drained().then(() => {
    isDrained = true;
  });
  await turns(3);
  expect(isDrained).toBe(false);

  stream.resume();
  await drained;
  expect(writer.isFull).toBe(false);
});

async function turns(count: number): Promise<void> {
  for (let turns = 0; turns < count; turns += 1) await new Promise(setImmediate);
}

it('an observer is told when all live sockets have an entry, and which reader is too slow', () => {
  const observer = { delivered: vi.fn<Observer['delivered']>(), fellBehind: vi.fn<() => void>() };
  const subscribers = new Subscribers({
    roomId: ROOM,
    version: 1,
    log: LOG,
    reach: () => Promise.resolve(),
    flushQueue: NO_TURN,
    onReadFailure: () => undefined,
    observer: observer as unknown as Observer,
    lastDate: () => 'the date of the last entry',
  });
  const [quick, slow] = [new Reader(0), new Reader(0)];
  subscribers.join(quick);
  subscribers.join(slow);
  // The stream passes a first piece on to its reader, which does not come, and keeps the second.
  for (let n = 0; n < 2; n += 1) slow.writer.write(Buffer.alloc(2 * OUTBOX_BYTES));
  expect(slow.writer.isFull).toBe(true);
  subscribers.deliver(1, frameOf(ROOM, 1));

  subscribers.flush(1);
  expect(observer.delivered).not.toHaveBeenCalled();
  subscribers.flush(1);
  expect(observer.delivered.mock.calls).toEqual([['the date of the last entry']]);
  expect(observer.fellBehind).toHaveBeenCalledTimes(1);
  expect(quick.seen()).toEqual([1]);
});
