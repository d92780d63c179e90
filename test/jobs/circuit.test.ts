import { describe, expect, it } from 'vitest';
import { Circuit } from '../../src/jobs/circuit.js';

const FAILING_ROOMS = 5;
const MIN_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 30_000;

/** A circuit after the failures of so many rooms, the last of them at 0. */
function failing(rooms: number): Circuit {
  const circuit = new Circuit();
  for (let room = 1; room <= rooms; room += 1) circuit.failed(room, 0);
  return circuit;
}

describe('the circuit of webhooks', () => {
  it('takes a receiver for up that refuses one room, or took an event in between', () => {
    const circuit = failing(FAILING_ROOMS - 1);
    circuit.failed(1, 0);
    expect(circuit.isClosed).toBe(true);
    circuit.succeeded();
    circuit.failed(FAILING_ROOMS, 0);

    expect(circuit.isClosed).toBe(true);
    expect(circuit.waitMs(0)).toBe(0);
  });

  it('pauses behind failures of several rooms, longer each time, up to half a minute', () => {
    const circuit = failing(FAILING_ROOMS);
    const pauses: number[] = [];
    for (let now = 0; pauses.length < 7; circuit.failed(1, now)) {
      pauses.push(circuit.waitMs(now));
      now += circuit.waitMs(now);
    }

    expect(circuit.isClosed).toBe(false);
    const doubled = [1, 2, 4, 8, 16].map((times) => times * MIN_PAUSE_MS);
    expect(pauses).toEqual([...doubled, MAX_PAUSE_MS, MAX_PAUSE_MS]);
  });

  it('has one pause for all failures that were on their way at once', () => {
    const circuit = failing(3 * FAILING_ROOMS);

    expect(circuit.waitMs(0)).toBe(MIN_PAUSE_MS);
  });

  it('is closed by the first success', () => {
    const circuit = failing(FAILING_ROOMS);
    circuit.succeeded();

    expect(circuit.isClosed).toBe(true);
    expect(circuit.waitMs(0)).toBe(0);
  });
});
