/**
 * The development loop of `npm run dev`: builds what has changed in src/ or web/, and restarts the node if there is no
 * error. Plain JavaScript, as nothing is built yet. Not `tsc --watch`: that of TypeScript 7.0 misses changes on some Linux
 * file systems.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** The node keeps the page in memory: it is restarted for a change of the page, too. */
const BUILDS = [
  ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
  ['scripts/build-web.mjs'],
];
const NODE = ['--enable-source-maps', 'dist/src/main.js'];
const WATCHED = ['src', 'web', 'migrations'];
/** An editor that saves, or a checkout, changes files in several steps. */
const SETTLE_MS = 100;
/** Longer than SHUTDOWN_TIMEOUT_MS: only a node that hangs in a loop is killed. */
const KILL_AFTER_MS = 15_000;

/**
 * Runs a program in a process group of its own: Ctrl-C reaches the whole group of a terminal, and a node that gets a
 * second signal ends at once.
 */
const run = (args) => spawn(process.execPath, args, { detached: true, stdio: 'inherit' });

async function stop(child) {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
  await once(child, 'exit');
  clearTimeout(timer);
}

/** Whether all of it was built. */
async function build() {
  for (const program of BUILDS) {
    const [status] = await once(run(program), 'exit');
    if (status !== 0 || ending.signal.aborted) return false;
  }
  return true;
}

function start() {
  const child = run(NODE);
  child.once('exit', (code, signal) => {
    if (child.killed) return;
    process.stderr.write(
      `dev: the node ended with ${code ?? signal}; the next change starts it again\n`,
    );
  });
  return child;
}

let changed = true;
const ending = new AbortController();
let wake = () => {};
for (const folder of WATCHED) {
  watch(folder, { recursive: true }, () => {
    changed = true;
    wake();
  });
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    ending.abort();
    wake();
  });
}

let node;
while (!ending.signal.aborted) {
  if (changed) {
    await delay(SETTLE_MS);
    changed = false;
    const isBuilt = await build();
    if (ending.signal.aborted) break;
    if (isBuilt) {
      await stop(node);
      node = start();
    } else {
      process.stderr.write('dev: not restarted, because the code has errors\n');
    }
  } else {
    await new Promise((resolve) => {
      wake = resolve;
    });
  }
}
await stop(node);
process.exit();
