import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { startExitGuard } from './exit-guard.js';
import { PATIENCE_MS } from './patience.js';
import { serverAccount } from './programs.js';

/** The temporary folder of a server, removed with the server or when this process ends. */
export interface ServerFolder {
  path: string;
  /** Runs a command that prepares the folder, such as `initdb`, to its end. */
  run(file: string, args: string[]): Promise<void>;
  /** Starts the server with its output in a log file, and waits until it is ready. */
  start(options: ServerOptions): Promise<{ pid: number; stop(): Promise<void> }>;
}

/** How to start, reach and end a server. */
export interface ServerOptions {
  file: string;
  args: string[];
  /** Beside the environment of this process. */
  env?: Readonly<Record<string, string>>;
  /** One attempt to reach the server, bounded in time; rejects while it is not ready. */
  ready(): Promise<void>;
  stopSignal: NodeJS.Signals;
  /** The signal for the server when this process is gone: its quickest orderly end. */
  orphanSignal: NodeJS.Signals;
}

const STOP_TIMEOUT_MS = 10_000;
// With retries, since a process may still be writing there.
const REMOVE_FOLDER = 'rm -rf "$1"; sleep 1; rm -rf "$1"';

/** Creates the temporary folder of one server. */
export function createServerFolder(name: string): ServerFolder {
  const account = serverAccount();
  // If the tests run as root, the server's account may have no access to TMPDIR.
  const parent = account ? '/tmp' : tmpdir();
  const path = mkdtempSync(join(parent, `nano-messaging-${name}-`));
  const guard = startExitGuard(path);
  guard.arm(REMOVE_FOLDER);
  if (account) chownSync(path, account.uid, account.gid);

  async function run(file: string, args: string[]): Promise<void> {
    const running = promisify(execFile)(file, args, { ...account, cwd: path });
    guard.arm(endAndRemove(running.child.pid, 'SIGTERM'));
    await running.finally(() => guard.arm(REMOVE_FOLDER));
  }

  async function start(options: ServerOptions): Promise<{ pid: number; stop(): Promise<void> }> {
    const logFile = join(path, 'server.log');
    const log = openSync(logFile, 'a');
    const child = spawn(options.file, options.args, {
      ...account,
      cwd: path,
      env: { ...process.env, ...options.env },
      detached: true, // Ctrl-C in a terminal must not end the server under the running tests.
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    guard.arm(endAndRemove(child.pid, options.orphanSignal));
    let ended: string | undefined;
    const end = (reason: string) => {
      ended = reason;
      guard.arm(REMOVE_FOLDER); // The pid may be another process's from now on.
    };
    const exit = once(child, 'exit').then(
      ([code, signal]) => end(`it exited with ${code ?? signal}`),
      (error: Error) => end(error.message),
    );

    async function stop(): Promise<void> {
      child.kill(options.stopSignal);
      const killTimer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await exit;
      clearTimeout(killTimer);
      rmSync(path, { recursive: true, force: true, maxRetries: 5 });
      guard.disarm();
    }

    try {
      await untilReady(
        () => options.ready(),
        () => ended,
      );
    } catch (error) {
      const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-20).join('\n');
      const reason = ended ?? 'it did not become ready in time';
      await stop();
      throw new Error(`${options.file} did not start: ${reason}\n${tail}`, { cause: error });
    }
    return { pid: child.pid ?? 0, stop };
  }

  return { path, run, start };
}

function endAndRemove(pid: number | undefined, signal: NodeJS.Signals): string {
  if (pid === undefined) return REMOVE_FOLDER; // It could not be started.
  const wait = `n=0; while kill -0 ${pid} && [ $n -lt 20 ]; do n=$((n+1)); sleep 0.1; done`;
  return `kill -s ${signal.slice(3)} ${pid}; ${wait}; kill -s KILL ${pid}; ${REMOVE_FOLDER}`;
}

/** Repeats `ready` until it resolves; rejects after a time, or when the server has ended. */
export async function untilReady(
  ready: () => Promise<void>,
  ended: () => string | undefined = () => undefined,
): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await ready();
    } catch (error) {
      if (Date.now() > deadline || ended() !== undefined) throw error;
    }
    await delay(50);
  }
}

/**
 * Systems give a port from above these to a socket that names none (RFC 6335 has 49152 and up, Linux 32768 and up): no
 * socket of another test takes one until the server listens.
 */
const PORTS = { first: 20_000, end: 32_000 };

/** A TCP port on 127.0.0.1 that is free. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.first, PORTS.end);
    const probe = createServer().listen(port, '127.0.0.1');
    try {
      await once(probe, 'listening');
    } catch {
      // Somebody has it.
      continue;
    }
    probe.close();
    await once(probe, 'close');
    return port;
  }
}
