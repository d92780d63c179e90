import { describe, expect, it } from 'vitest';
import { Circuit } from '../../src/jobs/circuit.js';
import { retryDelay } from '../../src/jobs/retry.js';

const DAY_MS = 86_400_000;

describe('the waits behind failed attempts', () => {
  const delays = (random: number): number[] => {
    const all: number[] = [];
    for (let failures = 1; ; failures += 1) {
      const delay = retryDelay(failures, random);
      if (delay === undefined) return all;
      all.push(delay);
    }
  };

  it('grow, and are 24 hours in all', () => {
    const waits = delays(0.5);

    expect(waits).toEqual(waits.toSorted((one, other) => one - other));
    expect(waits[0]).toBe(5_000);
    expect(waits.reduce((sum, wait) => sum + wait, 0)).toBe(DAY_MS);
  });

  it('are up to a fifth shorter or longer', () => {
    expect(delays(0)[0]).toBe(4_000);
    expect(delays(1)[0]).toBe(6_000);
  });
});

describe('a circuit', () => {
  it('opens when five rooms have failed, not when one has failed often', () => {
    const circuit = new Circuit();
    for (let n = 0; n < 100; n += 1) circuit.failed(1, n);
    for (const room of [2, 3, 4]) circuit.failed(room, 100);
    expect(circuit.isClosed).toBe(true);
    expect(circuit.waitMs(100)).toBe(0);

    circuit.failed(5, 100);

    expect(circuit.isClosed).toBe(false);
    expect(circuit.waitMs(100)).toBe(1_000);
  });

  it('does not open while some rooms succeed', () => {
    const circuit = new Circuit();
    for (let room = 1; room < 100; room += 1) {
      circuit.failed(room, room);
      if (room % 4 === 0) circuit.succeeded();
    }
    expect(circuit.isClosed).toBe(true);
  });

  it('pauses for longer with each attempt that fails, half a minute at most, and once for all at the same time', () => {
    const circuit = new Circuit();
    for (let room = 1; room <= 16; room += 1) circuit.failed(room, 0);
    const waits: number[] = [];
    for (let now = 0; waits.length < 7;) {
      const wait = circuit.waitMs(now);
      waits.push(wait);
      now += wait;
      for (const room of [1, 2]) circuit.failed(room, now);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);

    circuit.succeeded();
    expect(circuit.isClosed).toBe(true);
    expect(circuit.waitMs(0)).toBe(0);
  });
});
