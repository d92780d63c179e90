import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFailed, onTestFinished } from 'vitest';
import type { SoakResult } from '../soak/soak.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TIMEOUT_MS = 480_000;
const LOAD = ['--clients', '40', '--rooms', '6', '--rate', '60', '--seed', '5'];

/** Runs the soak to its end, as by `npm run soak`. */
async function soak(...args: string[]): Promise<{ code: number; result: SoakResult }> {
  const folder = mkdtempSync(join(tmpdir(), 'nano-messaging-soak-test-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const json = join(folder, 'result.json');
  const jiti = join(ROOT, 'node_modules/jiti/lib/jiti-cli.mjs');
  const run = [join(ROOT, 'test/soak/main.ts'), '--json', json, ...LOAD, ...args];
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    // SIGTERM rather than SIGKILL: the soak ends its own processes.
    const options = { cwd: ROOT, timeout: TIMEOUT_MS - 10_000 };
    const child = execFile(process.execPath, [jiti, ...run], options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, output: stdout + stderr });
    });
  });
  onTestFailed(() => {
    process.stderr.write(output);
  });
  if (!existsSync(json)) throw new Error(`the soak broke off: ${output}`);
  return { code, result: JSON.parse(readFileSync(json, 'utf8')) as SoakResult };
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
