import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Renumbering } from '../../src/transfer/renumbering.js';

it('a renumbering gives each rising number the next one, and finds it again', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 60 })), fc.nat(100), (given, first) => {
      const numbers = given.toSorted((one, other) => one - other);
      const renumbering = new Renumbering(first);
      expect(numbers.map((number) => renumbering.add(number))).toEqual(
        numbers.map((_, index) => first + index),
      );
      expect(renumbering.upTo(0)).toBe(0);
      for (let number = 0; number <= 61; number += 1) {
        const before = numbers.filter((one) => one <= number).length;
        expect(renumbering.upTo(number)).toBe(before === 0 ? 0 : first + before - 1);
        const index = numbers.indexOf(number);
        expect(renumbering.get(number)).toBe(index === -1 ? undefined : first + index);
      }
      for (const number of numbers) expect(renumbering.add(number)).toBeUndefined();
    }),
  );
});
