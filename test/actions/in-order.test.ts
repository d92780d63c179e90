import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InOrder } from '../../src/actions/in-order.js';

describe('work in order', () => {
  it('begins its second part in the order of the calls, whatever ends and fails first', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.record({ key: fc.constantFrom('a', 'b'), isRefused: fc.boolean() })),
        async (scheduler, calls) => {
          const order = new InOrder();
          const begun: number[] = [];
          const settled: number[] = [];
          const results = calls.map(({ key, isRefused }, n) =>
            order
              .run(
                key,
                async () => {
                  await scheduler.schedule(Promise.resolve());
                  if (isRefused) throw new Error('refused');
                  return n;
                },
                (prepared) => {
                  begun.push(prepared);
                  return Promise.resolve(prepared);
                },
              )
              .then(
                (result) => {
                  expect([result, isRefused]).toEqual([n, false]);
                  settled.push(n);
                },
                () => {
                  expect(isRefused).toBe(true);
                  settled.push(n);
                },
              ),
          );
          await scheduler.waitFor(Promise.all(results));

          for (const wanted of ['a', 'b']) {
            const ofKey = (n: number): boolean => calls[n]?.key === wanted;
            const all = [...calls.keys()].filter(ofKey);
            expect(begun.filter(ofKey)).toEqual(all.filter((n) => calls[n]?.isRefused === false));
            expect(settled.filter(ofKey)).toEqual(all);
          }
        },
      ),
    );
  });

  it('begins without others that have another key', async () => {
    const order = new InOrder();
    void order.run(
      'a',
      () => new Promise(() => undefined),
      () => Promise.resolve(),
    );

    expect(
      await order.run(
        'b',
        () => Promise.resolve(1),
        (n) => Promise.resolve(n),
      ),
    ).toBe(1);
  });
});
