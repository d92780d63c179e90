import { setTimeout as delay } from 'node:timers/promises';
import { Tally } from '../load/tally.mjs';
import { newToken } from '../load/tokens.mjs';
import { closeAll, connectAll, createRooms, newClient } from '../load/world.mjs';
import { cpuMilliseconds, residentKib, untilQuiet } from '../processes.mjs';

const ROOMS = 100;
const WARM_UP = 500;
/** Files that a process has open besides its sockets, generously. */
const SPARE_FILES = 500;
const QUIET_TIMEOUT_MS = 10_000;

/** @type {import('../run.mjs').Measure} */
export const connecting = {
  name: 'connecting',
  title: 'Connecting',
  work: '10,000 clients: connect, token, select_room; then idle',
  kinds: ['nano', 'ws', 'uws', 'socketio'],
  metrics: [
    {
      key: 'perSecond',
      label: 'clients/s',
      better: 'higher',
      targets: [{ atLeast: 2_500 }],
    },
    {
      key: 'kibEach',
      label: 'KiB of memory each, idle',
      better: 'lower',
      targets: [{ atMost: 16 }],
    },
  ],
  async run(kind, context) {
    const server = await context.start(kind);
    const rooms = await createRooms(server, ROOMS);
    const wanted = context.quick ? 2_000 : 10_000;
    // Node has raised its limit to the hard one already.
    const limit = Number(process.report?.getReport()?.userLimits?.open_files?.hard) || Infinity;
    const count = Math.min(wanted, limit - SPARE_FILES);
    if (count < wanted) context.note(`only ${count} clients: ulimit -n is ${limit}`);

    const tally = new Tally();
    /** @param {number} length */
    const newClients = (length) =>
      Array.from({ length }, (_, i) =>
        newClient(server, {
          roomId: rooms[i % ROOMS] ?? 0,
          tally,
          sampled: false,
          token: newToken(),
        }),
      );
    // So that compiled code and the first buffers are not counted as the clients'.
    const first = newClients(WARM_UP);
    await connectAll(first);
    closeAll(first);
    const before = await settledKib(server);

    await untilQuiet(QUIET_TIMEOUT_MS);
    const clients = newClients(count);
    const from = { time: performance.now(), cpu: cpuMilliseconds(server.pid) };
    await connectAll(clients);
    const ms = performance.now() - from.time;
    const cpuMs = cpuMilliseconds(server.pid) - from.cpu;
    const atOnce = residentKib(server.pid);
    const after = await settledKib(server);
    closeAll(clients);
    await server.stop();
    const perSecond = (count * 1000) / ms;
    const kibEach = (after - before) / count;
    context.note(
      `${Math.round(perSecond)} clients/s, ${kibEach.toFixed(1)} KiB each ` +
        `(${((atOnce - before) / count).toFixed(1)} before a garbage collection)`,
    );
    return {
      perSecond,
      kibEach,
      kibEachBeforeCollection: (atOnce - before) / count,
      count,
      cpuMicros: (cpuMs * 1000) / count,
    };
  },
};

/** @param {import('../servers.mjs').RunningServer} server */
async function settledKib(server) {
  await delay(1_000);
  process.kill(server.pid, 'SIGUSR2'); // gc.mjs
  await delay(1_500);
  process.kill(server.pid, 'SIGUSR2');
  await delay(1_000);
  return residentKib(server.pid);
}
