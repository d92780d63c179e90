import { expect, it, vi } from 'vitest';
import { z } from 'zod';
import { listSchema } from '../../src/protocol/values.js';

it('a list that is too long is refused before its items are looked at', () => {
  const isRight = vi.fn<(item: unknown) => boolean>(() => true);
  const list = listSchema(z.custom<number>(isRight), {
    max: 2,
    problem: 'must be a list',
    tooLong: 'has more than 2 items',
  });

  const { error } = list.safeParse([1, 2, 3]);
  expect(error?.issues.map(({ message }) => message)).toEqual(['has more than 2 items']);
  expect(isRight).not.toHaveBeenCalled();
  expect(list.parse([1, 2])).toEqual([1, 2]);
  expect(list.safeParse(1).error?.issues[0]?.message).toBe('must be a list');
});
