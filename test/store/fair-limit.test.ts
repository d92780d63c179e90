import { describe, expect, it, vi } from 'vitest';
import { FairLimit } from '../../src/store/fair-limit.js';
import { deferred } from '../harness/deferred.js';

describe('a fair limit', () => {
  it('runs all tasks, a bounded number at a time', async () => {
    const limit = new FairLimit<number>(3, 60_000);
    let running = 0;
    let most = 0;

    const done = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        limit.run(index % 4, async () => {
          running += 1;
          most = Math.max(most, running);
          await Promise.resolve();
          running -= 1;
          return index;
        }),
      ),
    );

    expect(most).toBe(3);
    expect(done).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });

  it('takes keys in turn, and the tasks of one key in order', async () => {
    const { limit, release } = occupied();
    const order: string[] = [];
    const tasks = ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'c1'].map((name) =>
      limit.run(name.charAt(0), () => Promise.resolve(void order.push(name))),
    );

    release();
    await Promise.all(tasks);

    expect(order).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3', 'a4']);
  });

  it('rejects a task that fails, and goes on', async () => {
    const limit = new FairLimit<string>(1, 60_000);

    const failed = limit.run('a', () => Promise.reject(new Error('no page')));
    const next = limit.run('a', () => Promise.resolve('a page'));

    await expect(failed).rejects.toThrow('no page');
    expect(await next).toBe('a page');
  });

  it('drops a waiting task when its signal is aborted', async () => {
    const { limit, release } = occupied();
    const gone = new AbortController();
    const ran: string[] = [];
    const run = (key: string, name: string, signal?: AbortSignal): Promise<unknown> =>
      limit.run(key, () => Promise.resolve(ran.push(name)), signal);
    const dropped = [run('a', 'a1', gone.signal), run('a', 'a2', gone.signal)];
    const kept = [run('a', 'a3'), run('b', 'b1')];
    const reason = new Error('hung up');

    gone.abort(reason);

    // Before the turn of another task has come.
    for (const one of dropped) await expect(one).rejects.toBe(reason);
    release();
    await Promise.all(kept);
    await expect(run('a', 'a4', gone.signal)).rejects.toBe(reason);
    expect(ran).toEqual(['a3', 'b1']);
    // The limit is as before, and no task is left.
    expect(await limit.run('c', () => Promise.resolve('free'))).toBe('free');
  });

  it('refuses tasks that wait for too long, and runs later ones', async () => {
    vi.useFakeTimers();
    try {
      const { limit, release } = occupied(1_000);
      const ran: string[] = [];
      const run = (name: string): Promise<unknown> =>
        limit.run('a', () => Promise.resolve(ran.push(name)));
      const early = run('early');
      void early.catch(() => undefined);
      await vi.advanceTimersByTimeAsync(600);
      const late = run('late');

      await vi.advanceTimersByTimeAsync(600);

      await expect(early).rejects.toMatchObject({ code: 'UNAVAILABLE' });
      release();
      await late;
      expect(ran).toEqual(['late']);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  /** A limit of one task, which runs until it is released. */
  function occupied(patienceMs = 60_000): { limit: FairLimit<string>; release: () => void } {
    const limit = new FairLimit<string>(1, patienceMs);
    const busy = deferred();
    void limit.run('busy', () => busy.promise);
    return {
      limit,
      release: () => {
        busy.resolve();
      },
    };
  }
});
