import { describe, expect, it } from 'vitest';
import { runToEnd } from '../harness/run-to-end.js';
import type { SoakResult } from '../soak/soak.js';

const TIMEOUT_MS = 900_000;
const LOAD = ['--clients', '40', '--rooms', '6', '--rate', '60', '--seed', '5'];

async function soak(...args: string[]): Promise<{ code: number; result: SoakResult }> {
  const { code, result } = await runToEnd('test/soak/main.ts', [...LOAD, ...args], TIMEOUT_MS);
  return { code, result: result as SoakResult };
}

describe('npm run soak', () => {
  it(
    'finds each node with what it held before, after clients, rooms and faults',
    async () => {
      const { code, result } = await soak('--seconds', '20');
      expect(result.nodes.map(({ excess }) => excess)).toEqual([{}, {}, {}]);
      for (const { before, peak, after } of result.nodes) {
        expect(before).toMatchObject({ sessions: 0, feeds: 0 });
        expect(peak.sessions).toBeGreaterThan(0);
        expect(peak['broker subscriptions']).toBeGreaterThan(before['broker subscriptions']);
        expect(after).toMatchObject({ sessions: 0, feeds: 0, 'unsettled messages': 0 });
      }
      expect(result.proof.verdict).toMatchObject({ passed: true, examples: [] });
      expect(result.visits['slow reader']).toBeGreaterThan(0);
      expect(result.passed).toBe(true);
      expect(code).toBe(0);
    },
    TIMEOUT_MS,
  );

  it(
    'reports timers and memory that connections leave behind',
    async () => {
      const { code, result } = await soak('--seconds', '10', '--settle', '15', '--leak');
      // The first node was restarted.
      for (const { excess } of result.nodes.slice(1)) {
        expect(excess.timers).toBeGreaterThan(0);
        expect(excess['heap used']).toBeGreaterThan(0);
      }
      expect(result.passed).toBe(false);
      expect(code).toBe(1);
    },
    TIMEOUT_MS,
  );
});
