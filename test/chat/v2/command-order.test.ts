import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CommandOrder } from '../../../src/chat/v2/command-order.js';
import { MessagesInFlight } from '../../../src/chat/messages-in-flight.js';

const MAX_WAITING = 40;
const MAX_WAIT_MS = 5_000;

let inFlight: MessagesInFlight;
let order: CommandOrder;
/** The commands that have begun, in their order. */
let begun: string[];

beforeEach(() => {
  inFlight = new MessagesInFlight();
  order = new CommandOrder(inFlight, MAX_WAITING, MAX_WAIT_MS);
  begun = [];
});

/** A command that ends when the returned function is called. */
function hanging(roomId: number, name: string): () => Promise<void> {
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  order.take(roomId, false, performance.now(), (isLate) => {
    begun.push(isLate ? `${name} late` : name);
    return ended;
  });
  return async () => {
    end();
    await turn();
  };
}

function take(roomId: number, name: string, isMessage = false): boolean {
  return order.take(roomId, isMessage, performance.now(), (isLate) => {
    begun.push(isLate ? `${name} late` : name);
  });
}

function turn(): Promise<void> {
  return new Promise(setImmediate);
}

describe('a command', () => {
  it('starts at once if nothing of its room is unfinished', async () => {
    const end = hanging(1, 'a');
    take(2, 'b');
    expect(begun).toEqual(['a', 'b']);
    await end();
    take(1, 'c');
    expect(begun).toEqual(['a', 'b', 'c']);
  });

  it('waits for the earlier ones of its room, and keeps their order', async () => {
    const end = hanging(1, 'a');
    take(1, 'b');
    take(1, 'c', true);
    await turn();
    expect(begun).toEqual(['a']);
    await end();
    expect(begun).toEqual(['a', 'b', 'c']);
  });

  it('waits for messages in flight in its room, unless it is a message', async () => {
    inFlight.add(1);
    take(1, 'a', true);
    take(1, 'b');
    take(1, 'c', true);
    await turn();
    expect(begun).toEqual(['a']);
    inFlight.remove(1);
    await turn();
    expect(begun).toEqual(['a', 'b', 'c']);
  });

  it('is not taken if 32 wait in its room, or too many in all', async () => {
    const end = hanging(1, 'a');
    const inRoom = Array.from({ length: 33 }, (_, index) => take(1, `${index}`));
    expect(inRoom).toEqual([...Array.from({ length: 32 }, () => true), false]);
    hanging(2, 'b');
    const inAll = Array.from({ length: 9 }, () => take(2, 'c'));
    expect(inAll).toEqual([...Array.from({ length: 8 }, () => true), false]);
    expect(order.takeAlone(performance.now(), () => undefined)).toBe(false);

    await end();
    expect(take(1, 'again')).toBe(true);
    expect(begun).toEqual(['a', 'b', ...Array.from({ length: 32 }, (_, i) => `${i}`), 'again']);
  });
});

describe('a command whose turn does not come in time', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is given up, and those behind it still wait for what hangs', async () => {
    const end = hanging(1, 'a');
    take(1, 'b');
    vi.advanceTimersByTime(3_000);
    take(1, 'c');
    order.takeAlone(performance.now(), (isLate) => {
      begun.push(isLate ? 'token late' : 'token');
    });
    vi.advanceTimersByTime(1_999);
    expect(begun).toEqual(['a']);
    vi.advanceTimersByTime(1);
    expect(begun).toEqual(['a', 'b late']);
    await end();
    expect(begun).toEqual(['a', 'b late', 'c', 'token']);
  });

  it('is answered once', async () => {
    const end = hanging(1, 'a');
    take(1, 'b', true);
    order.takeAlone(performance.now(), (isLate) => {
      begun.push(isLate ? 'token late' : 'token');
    });
    vi.advanceTimersByTime(MAX_WAIT_MS);
    await end();
    vi.advanceTimersByTime(MAX_WAIT_MS);
    expect(begun).toEqual(['a', 'b late', 'token late']);
  });
});

describe('a command that is alone', () => {
  const alone = (name: string): boolean =>
    order.takeAlone(performance.now(), () => {
      begun.push(name);
    });

  it('starts at once if nothing is unfinished', () => {
    alone('token');
    expect(begun).toEqual(['token']);
  });

  it('waits for all rooms and messages, and all wait for it', async () => {
    const end = hanging(1, 'a');
    inFlight.add(2);
    alone('token');
    take(3, 'b');
    take(1, 'c');
    alone('quit');
    take(4, 'd', true);
    await end();
    expect(begun).toEqual(['a']);
    inFlight.remove(2);
    await turn();
    expect(begun).toEqual(['a', 'token', 'b', 'c', 'quit', 'd']);
  });
});

it('all is idle once the commands that were taken are done', async () => {
  const end = hanging(1, 'a');
  take(1, 'b');
  let isIdle = false;
  const idle = order.idle().then(() => {
    isIdle = true;
  });
  await turn();
  expect(isIdle).toBe(false);
  await end();
  await idle;
  expect(begun).toEqual(['a', 'b']);
});
