import { describe, expect, it } from 'vitest';
import { runToEnd } from '../harness/run-to-end.js';
import { FAULT_NAMES } from '../proof/faults.js';
import type { Result } from '../proof/report.js';

const TIMEOUT_MS = 900_000;
/** Among the seeds up to 400, one with the fewest and shortest waves: each fault comes once within a minute. */
const SEED = '308';
/** Some clients are in several rooms: these have as many places as a hundred clients in one room each. */
const LOAD = ['--clients', '66', '--rate', '100'];

async function prove(...args: string[]): Promise<{ code: number; result: Result }> {
  const { code, result } = await runToEnd('test/proof/main.ts', args, TIMEOUT_MS);
  return { code, result: result as Result };
}

describe('npm run proof', () => {
  it(
    'finds no message lost, doubled or reordered under any fault',
    async () => {
      const { code, result } = await prove('--seconds', '50', '--seed', SEED, ...LOAD);
      expect(result.verdict).toMatchObject({
        passed: true,
        examples: [],
        counts: {
          lost: 0,
          doubled: 0,
          reordered: 0,
          deliveredAfterRevocation: 0,
          storedAfterRevocation: 0,
          gaps: 0,
          unlikeTheLog: 0,
          stateDiffers: 0,
          deletedTextFound: 0,
          unanswered: 0,
          hangingRooms: 0,
          badExits: 0,
        },
      });
      expect(code).toBe(0);
      const injected = new Set(result.incidents.map(({ fault }) => fault));
      expect([...injected].toSorted()).toEqual(FAULT_NAMES.toSorted());
      expect(result.incidents.filter(({ wholeAt }) => wholeAt === undefined)).toEqual([]);
      expect(result.unsettled).toBe(0);
      expect(result.surprises).toEqual({});
      expect(result.acknowledged).toBeGreaterThan(1_000);
      expect(result.ruleChanges).toBeGreaterThan(20);
    },
    TIMEOUT_MS,
  );

  it(
    'reports lost messages if the nodes repair no gaps, and wrong states and deleted texts in broken tables',
    async () => {
      const faults = 'redis-kill,redis-pause,redis-flush';
      const sabotage = ['--no-gap-repair', '--break-tables'];
      const args = ['--seconds', '8', '--seed', SEED, '--faults', faults, ...LOAD];
      const { code, result } = await prove(...args, ...sabotage);
      const { lost, stateDiffers, deletedTextFound } = result.verdict.counts;
      expect(lost).toBeGreaterThan(0);
      expect(stateDiffers).toBeGreaterThan(0);
      expect(deletedTextFound).toBeGreaterThan(0);
      expect(code).toBe(1);
    },
    TIMEOUT_MS,
  );
});
