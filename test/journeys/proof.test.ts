import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFailed, onTestFinished } from 'vitest';
import { FAULT_NAMES } from '../proof/faults.js';
import type { Result } from '../proof/report.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TIMEOUT_MS = 360_000;
/** Among the seeds up to 400, one with the fewest and shortest waves: each fault comes once within a minute. */
const SEED = '308';
/** Some clients are in several rooms: these have as many places as a hundred clients in one room each. */
const LOAD = ['--clients', '66', '--rate', '100'];

interface Proved {
  readonly code: number;
  readonly result: Result;
}

/** Runs the proof to its end, as by `npm run proof`. */
async function prove(...args: string[]): Promise<Proved> {
  const folder = mkdtempSync(join(tmpdir(), 'nano-messaging-proof-test-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const json = join(folder, 'result.json');
  const jiti = join(ROOT, 'node_modules/jiti/lib/jiti-cli.mjs');
  const run = [join(ROOT, 'test/proof/main.ts'), '--json', json, ...args];
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    // SIGTERM rather than SIGKILL: the proof ends its own processes.
    const options = { cwd: ROOT, timeout: TIMEOUT_MS - 10_000 };
    const child = execFile(process.execPath, [jiti, ...run], options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, output: stdout + stderr });
    });
  });
  onTestFailed(() => {
    process.stderr.write(output);
  });
  if (!existsSync(json)) throw new Error(`the proof broke off: ${output}`);
  return { code, result: JSON.parse(readFileSync(json, 'utf8')) as Result };
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
