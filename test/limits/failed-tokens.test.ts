import { expect, it } from 'vitest';
import { ChatError } from '../../src/errors.js';
import { createFailedTokens } from '../../src/limits/failed-tokens.js';

it('once they have failed, nobody hears whether a token is good whose key was fetched meanwhile', async () => {
  const tokens = createFailedTokens({
    verify: () => Promise.reject(new ChatError('UNAUTHORIZED')),
    limit: { most: 4, windowMs: 60_000, rate: () => new Promise(() => undefined) },
  });
  const codes = await Promise.all(
    Array.from({ length: 60 }, () =>
      Promise.resolve(tokens.verify('x.y.z', '203.0.113.3')).catch(
        (error: unknown) => (error as ChatError).code,
      ),
    ),
  );
  expect(codes).toEqual(codes.map((_, place) => (place < 4 ? 'UNAUTHORIZED' : 'RATELIMITED')));
});

it('no more tokens of an address fail than the limit, whenever Redis answers', () => {
  let looks = 0;
  const tokens = createFailedTokens({
    verify() {
      looks += 1;
      throw new ChatError('UNAUTHORIZED');
    },
    // It never does.
    limit: { most: 4, windowMs: 60_000, rate: () => new Promise(() => undefined) },
  });
  const codes = Array.from({ length: 60 }, () => {
    try {
      return tokens.verify('x.y.z', '203.0.113.3');
    } catch (error) {
      return (error as ChatError).code;
    }
  });
  expect(looks).toBe(4);
  expect(codes.slice(0, 4)).toEqual(Array(4).fill('UNAUTHORIZED'));
  expect(new Set(codes.slice(4))).toEqual(new Set(['RATELIMITED']));
  expect(() => tokens.verify('x.y.z', '203.0.113.4')).toThrow(
    expect.objectContaining({ code: 'UNAUTHORIZED' }),
  );
});
