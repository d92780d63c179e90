import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';

/** Runs one shell command after this process has ended, even by SIGKILL. */
interface ExitGuard {
  /** Replaces the command, one line; `$1` in it is the folder the guard was started with. */
  arm(command: string): void;
  /** Ends the guard without running a command. */
  disarm(): void;
}

/** Starts a guard in its own process, because no handler in this process sees a SIGKILL. */
export function startExitGuard(folder = ''): ExitGuard {
  // Its standard input ends when this process does.
  const script = 'command=:; while read -r line; do command=$line; done; eval "$command"';
  const shell = spawn('/bin/sh', ['-c', script, 'sh', folder], {
    cwd: '/',
    detached: true, // Ctrl-C in a terminal must not end the guard.
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  shell.stdin.on('error', () => undefined); // Arming or disarming once more does no harm.
  shell.unref();
  (shell.stdin as Socket).unref();
  return {
    arm: (command) => void shell.stdin.write(`${command}\n`),
    disarm: () => void shell.stdin.end(':\n'),
  };
}
