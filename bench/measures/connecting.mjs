import { setTimeout as delay } from 'node:timers/promises';
import { Tally } from '../load/tally.mjs';
import { newToken } from '../load/tokens.mjs';
import { closeAll, connectAll, createRooms, newClient } from '../load/world.mjs';
import { cpuMilliseconds, residentKib, untilQuiet } from '../processes.mjs';

const ROOMS = 100;
const WARM_UP = 500;
/** About a second, so that the machine is the same for two builds in turn. */
const PAIRED_WAVE = 2_000;
/** Open files of a process besides its sockets, a generous estimate. */
const SPARE_FILES = 500;
const QUIET_TIMEOUT_MS = 3_000;

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
    const load = await openRooms(server);
    const wanted = context.quick ? 2_000 : 10_000;
    // Node has raised its soft limit to the hard one.
    const limit = Number(process.report?.getReport()?.userLimits?.open_files?.hard) || Infinity;
    const count = Math.min(wanted, limit - SPARE_FILES);
    if (count < wanted) context.note(`only ${count} clients: ulimit -n is ${limit}`);

    // Otherwise compiled code and the first buffers would count as memory of the clients.
    closeAll((await load.connectWave(WARM_UP)).clients);
    const before = await settledKib(server);

    const { clients, ms, cpuMicros } = await load.connectWave(count);
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
      cpuMicros,
    };
  },
  pair: {
    rounds: 56,
    async load(server) {
      const load = await openRooms(server);
      return {
        async turn() {
          const { clients, ...times } = await load.connectWave(PAIRED_WAVE);
          closeAll(clients);
          return times;
        },
        close: () => undefined,
      };
    },
  },
};

/** @param {import('../servers.mjs').RunningServer} server */
async function openRooms(server) {
  const rooms = await createRooms(server, ROOMS);
  const tally = new Tally();
  return {
    /** Connects clients, which the caller closes. @param {number} count */
    async connectWave(count) {
      const clients = Array.from({ length: count }, (_, i) =>
        newClient(server, {
          roomId: rooms[i % ROOMS] ?? 0,
          tally,
          sampled: false,
          token: newToken(),
        }),
      );
      await untilQuiet(QUIET_TIMEOUT_MS);
      tally.open();
      const from = { time: performance.now(), cpu: cpuMilliseconds(server.pid) };
      await connectAll(clients, { tally });
      const ms = performance.now() - from.time;
      const cpuMs = cpuMilliseconds(server.pid) - from.cpu;
      const { p50, p99 } = tally.latency;
      return { clients, ms, cpuMicros: (cpuMs * 1000) / count, p50, p99 };
    },
  };
}

/** @param {import('../servers.mjs').RunningServer} server */
async function settledKib(server) {
  await delay(1_000);
  process.kill(server.pid, 'SIGUSR2'); // gc.mjs
  await delay(1_500);
  process.kill(server.pid, 'SIGUSR2');
  await delay(1_000);
  return residentKib(server.pid);
}
