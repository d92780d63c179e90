import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PATIENCE_MS } from './patience.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A program of the build, as an operator runs it. */
export interface Program {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves with the first match in stdout. */
  seen(pattern: RegExp): Promise<RegExpExecArray>;
  /** Resolves with the exit code, or the signal that ended it. */
  exited(): Promise<number | string>;
}

/**
 * Runs `node dist/<file>`, or a file by its absolute path, by the Node of the tests or another one, with nothing of the
 * environment but the PATH and `env`. `npm test` builds dist/ first.
 */
export function runProgram(
  file: string,
  {
    args = [],
    env = {},
    cwd = ROOT,
    execPath = process.execPath,
    stdin = 'ignore',
  }: {
    args?: string[];
    env?: Record<string, string>;
    cwd?: string;
    execPath?: string;
    /** A number is that of an open file. */
    stdin?: 'ignore' | 'pipe' | number;
  } = {},
): Program {
  const child = spawn(execPath, [resolve(ROOT, 'dist', file), ...args], {
    cwd,
    env: { PATH: process.env['PATH'], ...env },
    stdio: [stdin, 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  const exit = once(child, 'close') as Promise<[number | null, string | null]>;
  return {
    child,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    async seen(pattern) {
      const deadline = Date.now() + PATIENCE_MS;
      for (;;) {
        const match = pattern.exec(output.stdout);
        if (match) return match;
        if (child.exitCode !== null || Date.now() > deadline) {
          throw new Error(`no ${pattern} in: ${output.stdout}${output.stderr}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async exited() {
      const [code, signal] = await exit;
      return code ?? signal ?? 'gone';
    },
  };
}
