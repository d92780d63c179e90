import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from '../src/logger.js';
import { shutDown, type ShutdownPart } from '../src/shutdown.js';

const QUIET = createLogger({ level: 'silent', production: true });
const TIMEOUT_MS = 1_000;

/** Parts whose begins and abandonments are recorded. */
function noted(
  events: string[],
  name: string,
  until: number,
  end: () => Promise<unknown>,
): ShutdownPart {
  return {
    name,
    until,
    end() {
      events.push(name);
      return end();
    },
    abandon: () => {
      events.push(`${name} abandoned`);
    },
  };
}

const atOnce = (): Promise<void> => Promise.resolve();
const never = (): Promise<void> => new Promise(() => undefined);

describe('shutDown', () => {
  let events: string[];

  beforeEach(() => {
    vi.useFakeTimers();
    events = [];
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('ends the parts one after the other', async () => {
    let finish = (): void => undefined;
    const first = (): Promise<void> => new Promise((resolve) => (finish = resolve));
    const ended = shutDown(
      [noted(events, 'one', 0.5, first), noted(events, 'two', 0.9, atOnce)],
      TIMEOUT_MS,
      QUIET,
    );

    await vi.advanceTimersByTimeAsync(100);
    expect(events).toEqual(['one']);
    finish();
    await ended;
    expect(events).toEqual(['one', 'two']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('abandons each hanging part when its share of the time is over', async () => {
    let isOver = false;
    void shutDown(
      [noted(events, 'one', 0.5, never), noted(events, 'two', 0.9, never)],
      TIMEOUT_MS,
      QUIET,
    ).then(() => (isOver = true));

    await vi.advanceTimersByTimeAsync(499);
    expect(events).toEqual(['one']);
    await vi.advanceTimersByTimeAsync(1);
    expect(events).toEqual(['one', 'one abandoned', 'two']);
    await vi.advanceTimersByTimeAsync(399);
    expect(isOver).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(events.at(-1)).toBe('two abandoned');
    expect(isOver).toBe(true);
  });

  it('still ends the parts whose time was over before they began', async () => {
    const ended = shutDown(
      [
        noted(events, 'one', 0.5, () => {
          vi.setSystemTime(Date.now() + 10 * TIMEOUT_MS);
          vi.advanceTimersByTime(10 * TIMEOUT_MS);
          return never();
        }),
        noted(events, 'two', 0.9, never),
      ],
      TIMEOUT_MS,
      QUIET,
    );

    await vi.advanceTimersByTimeAsync(TIMEOUT_MS / 2);
    await ended;
    expect(events).toEqual(['one', 'one abandoned', 'two', 'two abandoned']);
  });

  it('logs the part that failed, and continues', async () => {
    const lines: unknown[] = [];
    const logger = createLogger({ level: 'silent', production: true });
    vi.spyOn(logger, 'error').mockImplementation((fields: unknown) => void lines.push(fields));
    const error = new Error('broken');

    await shutDown(
      [noted(events, 'one', 0.5, () => Promise.reject(error)), noted(events, 'two', 0.9, atOnce)],
      TIMEOUT_MS,
      logger,
    );

    expect(lines).toEqual([{ err: error, part: 'one' }]);
    expect(events).toEqual(['one', 'one abandoned', 'two']);
  });
});
