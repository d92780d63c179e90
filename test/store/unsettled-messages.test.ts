import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ChatError } from '../../src/errors.js';
import { createLogger } from '../../src/logger.js';
import { UnsettledMessages, type UnsettledMessage } from '../../src/store/unsettled-messages.js';

const STORE_TIMEOUT_MS = 10_000;

const logged: unknown[] = [];
const rejected: unknown[] = [];
let unsettled: UnsettledMessages;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  logged.length = 0;
  rejected.length = 0;
  const logger = createLogger({ level: 'silent', production: true });
  logger.warn = (fields: unknown, text?: string) => logged.push([text, fields]);
  unsettled = new UnsettledMessages(
    { storeTimeoutMs: STORE_TIMEOUT_MS, logQueueEntries: 2, logQueueBytes: 10 },
    logger,
  );
});
afterEach(() => {
  unsettled.close();
  vi.useRealTimers();
});

function add(bytes = 1): UnsettledMessage {
  const message: UnsettledMessage = {
    bytes,
    sweptBefore: 0,
    isGivenUp: false,
    reject: ({ code }: ChatError) => rejected.push(code),
  };
  unsettled.add(message);
  return message;
}

describe('the messages that are not settled', () => {
  it('are bounded by their number and by their bytes until they are settled', () => {
    const large = add(9);
    expect([unsettled.hasSpaceFor(1), unsettled.hasSpaceFor(2)]).toEqual([true, false]);
    add();
    expect(unsettled.hasSpaceFor(0)).toBe(false);
    unsettled.remove(large);
    expect([unsettled.hasSpaceFor(9), unsettled.hasSpaceFor(10)]).toEqual([true, false]);
  });

  it('are given up once STORE_TIMEOUT_MS old, a tenth of it late at most', () => {
    vi.advanceTimersByTime(0.35 * STORE_TIMEOUT_MS);
    const old = add();
    vi.advanceTimersByTime(0.1 * STORE_TIMEOUT_MS);
    const young = add();

    vi.advanceTimersByTime(0.9 * STORE_TIMEOUT_MS - 1);
    expect([old.isGivenUp, rejected]).toEqual([false, []]);
    vi.advanceTimersByTime(0.1 * STORE_TIMEOUT_MS + 1);
    expect([old.isGivenUp, young.isGivenUp, rejected]).toEqual([true, false, ['UNAVAILABLE']]);
    vi.advanceTimersByTime(0.1 * STORE_TIMEOUT_MS);
    expect([young.isGivenUp, rejected]).toEqual([true, ['UNAVAILABLE', 'UNAVAILABLE']]);
  });

  it('are not given up if they are settled in time', () => {
    unsettled.remove(add());
    vi.advanceTimersByTime(2 * STORE_TIMEOUT_MS);
    expect([rejected, logged]).toEqual([[], []]);
  });

  it('count for their number until they are settled, even if given up', () => {
    const messages = [add(), add()];
    vi.advanceTimersByTime(2 * STORE_TIMEOUT_MS);
    expect([rejected.length, unsettled.hasSpaceFor(1)]).toEqual([2, false]);
    for (const message of messages) unsettled.remove(message);
    expect(unsettled.hasSpaceFor(10)).toBe(true);
  });

  it('cause one warning a minute if given up', () => {
    add();
    vi.advanceTimersByTime(2 * STORE_TIMEOUT_MS);
    add();
    add();
    vi.advanceTimersByTime(2 * STORE_TIMEOUT_MS);
    expect(logged).toEqual([['messages not stored in time', { entries: 1 }]]);
    vi.advanceTimersByTime(60_000);
    expect(logged.slice(1)).toEqual([['messages not stored in time', { entries: 2 }]]);
  });
});
