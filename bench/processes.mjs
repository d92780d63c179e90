import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

const READY_MS = 30_000;
const STOP_MS = 10_000;
/** USER_HZ, which Linux shows to programs as 100 on every architecture that Node runs on. */
const TICK_MS = 10;
const QUIET_WINDOW_MS = 300;
const QUIET_SHARE = 0.2;

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Whether a process can be held on a core here. */
export const canPin = availableParallelism() > 1 && spawnSync('taskset', ['-V']).status === 0;

/** Holds this process, all its threads, on a core. @param {number} core */
export function pinSelf(core) {
  execFileSync('taskset', ['-acp', String(core), String(process.pid)], { stdio: 'ignore' });
}

/**
 * Starts a program that serves, and waits until it is ready.
 *
 * @param {{
 *   command: string[], env?: NodeJS.ProcessEnv, cwd?: string, account?: { uid: number, gid: number },
 *   core?: number | undefined, ready: () => Promise<void>, stopSignal?: NodeJS.Signals, quiet?: boolean,
 * }} options
 */
export async function startProcess({ command, core, ready, stopSignal = 'SIGTERM', ...options }) {
  const cores = core ?? `0-${availableParallelism() - 1}`;
  const [file = '', ...args] = canPin ? ['taskset', '-c', String(cores), ...command] : command;
  const child = spawn(file, args, {
    ...options.account,
    env: options.env ?? process.env,
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-4000);
      if (!options.quiet) process.stderr.write(`  | ${text}`);
    });
  }
  running.add(child);
  let ended = false;
  const exit = once(child, 'exit').finally(() => {
    ended = true;
    running.delete(child);
  });
  const deadline = Date.now() + READY_MS;
  for (;;) {
    try {
      await ready();
      break;
    } catch (error) {
      if (ended || Date.now() > deadline) {
        child.kill('SIGKILL');
        throw new Error(`${command.join(' ')} did not start:\n${output}`, { cause: error });
      }
    }
    await delay(50);
  }
  return {
    pid: child.pid ?? 0,
    hasEnded: () => ended,
    async stop() {
      child.kill(stopSignal);
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await exit;
      clearTimeout(timer);
    },
  };
}

/** A TCP port on 127.0.0.1 that is free at the moment. */
export async function findFreePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Resolves if something accepts connections on the port. @param {number} port @returns {Promise<void>} */
export function accepts(port) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', reject);
  });
}

/**
 * CPU time of the threads of a process, as the scheduler counts it: utime and stime are rounded to 10 ms, too coarse for
 * a second of load. NaN without /proc.
 *
 * @param {number} pid
 */
export function cpuMilliseconds(pid) {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const times = threads.map((id) => Number.parseInt(readProc(pid, `task/${id}/schedstat`), 10));
    return times.reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e6;
  } catch {
    return NaN;
  }
}

/** Resident memory of a process in KiB; NaN without /proc. @param {number} pid */
export function residentKib(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readProc(pid, 'status'))?.[1] ?? NaN);
}

/** Resident memory of a server in KiB after garbage collections (gc.mjs). @param {number} pid */
export async function settledKib(pid) {
  await delay(1_000);
  process.kill(pid, 'SIGUSR2');
  await delay(1_500);
  process.kill(pid, 'SIGUSR2');
  await delay(1_000);
  return residentKib(pid);
}

/** Milliseconds for which a core (undefined: all of them together) was busy so far. @param {number} [core] */
export function busyMilliseconds(core) {
  let stat = '';
  try {
    stat = readFileSync('/proc/stat', 'utf8');
  } catch {
    return NaN;
  }
  const line = new RegExp(`^cpu${core ?? ' '} *(.*)`, 'm').exec(stat)?.[1] ?? '';
  const [user = NaN, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
    .split(' ')
    .map(Number);
  return (user + nice + system + irq + softirq + steal) * TICK_MS;
}

/**
 * Waits until other processes leave the machine idle, until a timeout.
 *
 * @param {number} timeoutMs
 * @returns {Promise<number>} the share of a core that others used at the end; NaN if it can't be measured
 */
export async function untilQuiet(timeoutMs) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const from = { busy: busyMilliseconds(), time: performance.now() };
    await delay(QUIET_WINDOW_MS);
    const share = (busyMilliseconds() - from.busy) / (performance.now() - from.time);
    if (!(share > QUIET_SHARE) || performance.now() > deadline) return share;
  }
}

/** @param {number} pid @param {string} file */
function readProc(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
