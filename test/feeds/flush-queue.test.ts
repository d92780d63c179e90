import { describe, expect, it } from 'vitest';
import {
  createFlushQueue,
  type FlushableRoom,
  type Flushable,
} from '../../src/feeds/flush-queue.js';

const nextTurn = () => new Promise<void>(setImmediate);

describe('the flush queue', () => {
  it('flushes each writer once, after the promises of the event', async () => {
    const flushQueue = createFlushQueue();
    const events: string[] = [];
    const room: FlushableRoom = { flush: (sockets) => (events.push('room'), sockets) };
    const writer: Flushable = { flush: () => events.push('outbox') };

    await new Promise<void>((resolve) => {
      setImmediate(() => {
        flushQueue.addRoom(room);
        void Promise.resolve()
          .then(() => Promise.resolve())
          .then(() => {
            events.push('answered');
            flushQueue.addRoom(room);
            flushQueue.addWriter(writer);
          });
        events.push('handled');
        // The next callback after the end of the event.
        setImmediate(resolve);
      });
    });

    expect(events).toEqual(['handled', 'answered', 'room', 'outbox']);
  });

  it('leaves the rest of a large room to later turns, and continues by itself', async () => {
    const flushQueue = createFlushQueue();
    const written: number[] = [];
    let left = 600;
    const large: FlushableRoom = {
      flush(sockets) {
        const now = Math.min(left, sockets);
        left -= now;
        written.push(now);
        return sockets - now;
      },
    };
    let heardAfter: number | undefined;

    flushQueue.addRoom(large);
    await nextTurn();
    heardAfter = written.length;
    for (let n = 0; n < 5; n += 1) await nextTurn();

    expect(heardAfter).toBeLessThan(3);
    expect(written).toEqual([256, 256, 88]);
  });

  it('lets rooms take turns, and writes answers in each turn', async () => {
    const flushQueue = createFlushQueue();
    const events: string[] = [];
    const roomOf = (name: string, size: number): FlushableRoom => {
      let left = size;
      return {
        flush(sockets) {
          const now = Math.min(left, sockets);
          left -= now;
          events.push(name);
          return sockets - now;
        },
      };
    };

    flushQueue.addRoom(roomOf('large', 400));
    flushQueue.addRoom(roomOf('small', 10));
    flushQueue.addWriter({ flush: () => events.push('answer') });
    for (let n = 0; n < 5; n += 1) await nextTurn();

    expect(events).toEqual(['large', 'answer', 'small', 'large']);
  });
});
