import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFailed, onTestFinished } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What the test has left when a run has to end: it ends its own processes. */
const ENDING_MS = 10_000;

/**
 * Runs a program of test/, which writes its result where `--json` says, to its end. Its output is shown if the test fails.
 * @param main its file, from the root of the repository
 */
export async function runToEnd(
  main: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<{ code: number; result: unknown }> {
  const folder = mkdtempSync(join(tmpdir(), 'nano-messaging-run-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const json = join(folder, 'result.json');
  const jiti = join(ROOT, 'node_modules/jiti/lib/jiti-cli.mjs');
  const run = [jiti, join(ROOT, main), '--json', json, ...args];
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    // SIGTERM rather than SIGKILL.
    const options = { cwd: ROOT, timeout: timeoutMs - ENDING_MS };
    const child = execFile(process.execPath, run, options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, output: stdout + stderr });
    });
  });
  onTestFailed(() => {
    process.stderr.write(output);
  });
  if (!existsSync(json)) throw new Error(`the run broke off: ${output}`);
  return { code, result: JSON.parse(readFileSync(json, 'utf8')) as unknown };
}
