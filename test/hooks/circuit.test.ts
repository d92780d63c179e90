import { describe, expect, it } from 'vitest';
import { Circuit } from '../../src/hooks/circuit.js';

const FAILURES = 10;
const PAUSE_MS = 5_000;

/** A circuit after so many failures in a row, the last of them at 0. */
function failing(failures: number): Circuit {
  const circuit = new Circuit();
  for (let n = 0; n < failures; n += 1) {
    expect(circuit.tries(0)).toBe(true);
    circuit.failed(0);
  }
  return circuit;
}

describe('a circuit', () => {
  it('tries on after failures that do not follow each other', () => {
    const circuit = failing(FAILURES - 1);
    circuit.answered();
    circuit.failed(0);

    expect(circuit.tries(0)).toBe(true);
  });

  it('tries nothing for a pause after failures in a row', () => {
    const circuit = failing(FAILURES);

    expect(circuit.tries(0)).toBe(false);
    expect(circuit.tries(PAUSE_MS - 1)).toBe(false);
  });

  it('tries one at a time after the pause, until one is answered', () => {
    const circuit = failing(FAILURES);

    expect(circuit.tries(PAUSE_MS)).toBe(true);
    expect(circuit.tries(PAUSE_MS)).toBe(false);
    circuit.answered();
    expect(circuit.tries(PAUSE_MS)).toBe(true);
    expect(circuit.tries(PAUSE_MS)).toBe(true);
  });

  it('pauses again if the one that was tried fails', () => {
    const circuit = failing(FAILURES);
    circuit.tries(PAUSE_MS);
    circuit.failed(PAUSE_MS);

    expect(circuit.tries(PAUSE_MS)).toBe(false);
    expect(circuit.tries(2 * PAUSE_MS)).toBe(true);
  });
});
