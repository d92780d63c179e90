import { describe, expect, it } from 'vitest';
import { Pace } from '../src/pace.js';

describe('a pace', () => {
  it('runs a full turn of tasks at once, and the rest in order over later turns', async () => {
    const pace = new Pace(2);
    const ran: number[] = [];
    const afterTurn: number[][] = [];

    for (let n = 1; n <= 5; n += 1) pace.run(() => ran.push(n));
    afterTurn.push([...ran]);
    for (let turn = 0; turn < 3; turn += 1) {
      await new Promise(setImmediate);
      afterTurn.push([...ran]);
    }

    expect(afterTurn).toEqual([
      [1, 2],
      [1, 2, 3, 4],
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5],
    ]);
  });

  it('puts new tasks behind waiting ones', async () => {
    const pace = new Pace(1);
    const ran: string[] = [];

    pace.run(() => ran.push('first'));
    pace.run(() => {
      ran.push('second');
      pace.run(() => ran.push('of the second'));
    });
    pace.run(() => ran.push('third'));
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);

    expect(ran).toEqual(['first', 'second', 'third', 'of the second']);
  });

  it('runs at once again after an empty turn', async () => {
    const pace = new Pace(1);
    let ran = 0;

    pace.run(() => (ran += 1));
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    pace.run(() => (ran += 1));

    expect(ran).toBe(2);
  });
});
