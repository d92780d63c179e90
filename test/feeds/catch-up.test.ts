import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { CatchUpPages } from '../../src/feeds/catch-up.js';
import type { Entry } from '../../src/store/entry.js';
import type { Log } from '../../src/store/log.js';

const KEPT_MS = 100;
const BYTES = 1_000_000;
const entries = Array.from({ length: 3 }, (_, index): Entry => ({
  roomId: 1,
  seq: index + 1,
  kind: 'message',
  emitter: '',
  content: '',
  ref: null,
  createdAt: '',
}));

let read: ReturnType<typeof vi.fn<Log['read']>>;
let pages: CatchUpPages;

beforeEach(() => {
  vi.useFakeTimers();
  read = vi.fn<Log['read']>((_roomId, { after }) => Promise.resolve(entries.slice(after)));
  pages = new CatchUpPages(1, { read } as unknown as Log);
});
afterEach(() => {
  vi.useRealTimers();
});

it('a page is read once for all callers during its reading and soon after', async () => {
  const [page, another] = await Promise.all([
    pages.read(0, 3, BYTES, true),
    pages.read(0, 3, BYTES, true),
  ]);
  expect(page.last).toBe(3);
  expect(another).toBe(page);
  vi.advanceTimersByTime(KEPT_MS - 1);
  expect(await pages.read(0, 3, BYTES, true)).toBe(page);
  expect(read).toHaveBeenCalledTimes(1);
  expect((await pages.read(1, 3, BYTES, true)).chunks).not.toEqual(page.chunks);
  expect(read).toHaveBeenCalledTimes(2);
});

it('a page is not kept any longer', async () => {
  const page = await pages.read(0, 3, BYTES, true);
  vi.advanceTimersByTime(KEPT_MS);
  expect(await pages.read(0, 3, BYTES, true)).not.toBe(page);
  expect(read).toHaveBeenCalledTimes(2);
  expect(vi.getTimerCount()).toBe(1);
});

it('a page is not kept at all for a single caller', async () => {
  const page = await pages.read(0, 3, BYTES, false);
  expect(await pages.read(0, 3, BYTES, false)).not.toBe(page);
  expect(vi.getTimerCount()).toBe(0);
});

it('a page that could not be read is read again for the next caller', async () => {
  read.mockRejectedValueOnce(new Error('the store is away'));
  await expect(pages.read(0, 3, BYTES, true)).rejects.toThrow('the store is away');
  expect((await pages.read(0, 3, BYTES, true)).last).toBe(3);
});
