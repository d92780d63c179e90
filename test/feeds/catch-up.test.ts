import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CatchUpPages, type Reach } from '../../src/feeds/catch-up.js';
import type { Entry } from '../../src/store/entry.js';
import type { Log } from '../../src/store/log.js';

const KEPT_MS = 100;
const BYTES = 1_000_000;
const entries = Array.from({ length: 3 }, (_, index): Entry => ({
  roomId: 1,
  seq: index + 1,
  kind: 'message',
  emitter: '',
  content: 'hi',
  ref: null,
  createdAt: '',
}));

let read: ReturnType<typeof vi.fn<Log['read']>>;
let pages: CatchUpPages;
let reach: ReturnType<typeof vi.fn<Reach>>;

beforeEach(() => {
  vi.useFakeTimers();
  read = vi.fn<Log['read']>((_roomId, { after }) => Promise.resolve(entries.slice(after)));
  reach = vi.fn<Reach>(() => Promise.resolve());
  pages = new CatchUpPages({ roomId: 1, log: { read } as unknown as Log, reach, version: 1 });
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

it('a page is read again once the pages before are forgotten, and then kept as long as others', async () => {
  const early = pages.read(0, 3, BYTES, true);
  pages.forgetShared();
  const page = await pages.read(0, 3, BYTES, true);
  expect(page).not.toBe(await early);
  vi.advanceTimersByTime(KEPT_MS - 1);
  expect(await pages.read(0, 3, BYTES, true)).toBe(page);
  expect(read).toHaveBeenCalledTimes(2);
});

it('a page that could not be read is read again for the next caller', async () => {
  read.mockRejectedValueOnce(new Error('the store is away'));
  await expect(pages.read(0, 3, BYTES, true)).rejects.toThrow('the store is away');
  expect((await pages.read(0, 3, BYTES, true)).last).toBe(3);
});

describe('a message with the text of an edit', () => {
  /** Entries 1 to 3, of which the given one has the text of the edit 9. */
  function edited(seq: number): Entry[] {
    return entries.map((entry) => (entry.seq === seq ? { ...entry, textSeq: 9 } : entry));
  }

  it('is in no page that ends before the edit', async () => {
    read.mockResolvedValueOnce(edited(3));

    expect((await pages.read(0, 3, BYTES, false)).last).toBe(2);
    expect(reach).not.toHaveBeenCalled();
  });

  it('is read again once the feed has taken the edit, if a page would begin with it', async () => {
    read.mockResolvedValueOnce(edited(1)).mockResolvedValueOnce(edited(1));

    expect((await pages.read(0, 3, BYTES, false)).last).toBe(3);

    expect(reach).toHaveBeenCalledExactlyOnceWith(9);
    expect(read).toHaveBeenLastCalledWith(1, expect.objectContaining({ after: 0, upTo: 9 }));
  });

  it('fails the page if the feed can not take the edit', async () => {
    read.mockResolvedValueOnce(edited(1));
    reach.mockRejectedValueOnce(new Error('the log went back'));

    await expect(pages.read(0, 3, BYTES, false)).rejects.toThrow('the log went back');
  });
});
