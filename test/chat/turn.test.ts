import { describe, expect, it } from 'vitest';
import { createTurn, type Divisible, type Flushable } from '../../src/chat/turn.js';

const nextTurn = () => new Promise<void>(setImmediate);

describe('a turn', () => {
  it('ends behind the promises of the event that began it, with one flush each', async () => {
    const turn = createTurn();
    const events: string[] = [];
    const room: Divisible = { flush: (sockets) => (events.push('room'), sockets) };
    const outbox: Flushable = { flush: () => events.push('outbox') };

    await new Promise<void>((resolve) => {
      setImmediate(() => {
        turn.roomChanged(room);
        void Promise.resolve()
          .then(() => Promise.resolve())
          .then(() => {
            events.push('answered');
            turn.roomChanged(room);
            turn.outboxChanged(outbox);
          });
        events.push('handled');
        // The next thing that is done once the end of the event is through.
        setImmediate(resolve);
      });
    });

    expect(events).toEqual(['handled', 'answered', 'room', 'outbox']);
  });

  it('leaves the rest of a large room for the next turn, and comes back to it by itself', async () => {
    const turn = createTurn();
    const written: number[] = [];
    let left = 600;
    const large: Divisible = {
      flush(sockets) {
        const now = Math.min(left, sockets);
        left -= now;
        written.push(now);
        return sockets - now;
      },
    };
    let heardAfter: number | undefined;

    turn.roomChanged(large);
    await nextTurn();
    heardAfter = written.length;
    for (let n = 0; n < 5; n += 1) await nextTurn();

    expect(heardAfter).toBeLessThan(3);
    expect(written).toEqual([256, 256, 88]);
  });

  it('lets rooms take turns, and answers leave with each', async () => {
    const turn = createTurn();
    const events: string[] = [];
    const roomOf = (name: string, size: number): Divisible => {
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

    turn.roomChanged(roomOf('large', 400));
    turn.roomChanged(roomOf('small', 10));
    turn.outboxChanged({ flush: () => events.push('answer') });
    for (let n = 0; n < 5; n += 1) await nextTurn();

    expect(events).toEqual(['large', 'answer', 'small', 'large']);
  });
});
