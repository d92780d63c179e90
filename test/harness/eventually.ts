import { vi } from 'vitest';
import { PATIENCE_MS } from './patience.js';

/** Repeats a check until it throws no more, and resolves with its result. Rejects with its last error after two minutes. */
export function eventually<Result>(check: () => Result | Promise<Result>): Promise<Result> {
  return vi.waitFor(check, { timeout: PATIENCE_MS });
}
