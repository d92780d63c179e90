import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createProgress } from '../../src/cli/progress.js';

const isTTY = process.stderr.isTTY;
let printed: string[];

beforeEach(() => {
  printed = [];
  vi.useFakeTimers({ toFake: ['performance'] });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
});
afterEach(() => {
  process.stderr.isTTY = isTTY;
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it('is a line every 10 s without a terminal', () => {
  process.stderr.isTTY = false;
  const progress = createProgress(40);

  for (let done = 1; done <= 40; done += 1) {
    vi.advanceTimersByTime(1_000);
    progress.at(done);
  }
  progress.end();

  expect(printed).toEqual(['25 %\n', '50 %\n', '75 %\n', '100 %\n']);
});

it('is one line that is drawn again and again on a terminal', () => {
  process.stderr.isTTY = true;
  const progress = createProgress(4);

  progress.at(1);
  progress.at(2);
  vi.advanceTimersByTime(100);
  progress.at(3);
  progress.end();

  expect(printed.map((text) => text.slice(-5))).toEqual([' 25 %', ' 75 %', ' 75 %', '\n']);
  expect(printed[0]).toBe(`\r[${'#'.repeat(10)}${'.'.repeat(30)}]  25 %`);
});

it('is nothing of a total that is not known', () => {
  for (const total of [undefined, 0]) {
    const progress = createProgress(total);
    vi.advanceTimersByTime(20_000);
    progress.at(1);
    progress.end();
  }
  expect(printed).toEqual([]);
});
