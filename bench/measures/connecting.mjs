import { Tally } from '../load/tally.mjs';
import { newToken } from '../load/tokens.mjs';
import { closeAll, connectAll, createRooms, newClient, startCount } from '../load/world.mjs';
import { residentKib, settledKib, untilQuiet } from '../processes.mjs';

const ROOMS = 100;
const WARM_UP = 500;
/** Clients of a turn if two builds are compared: about a tenth of a second. */
const PAIRED_WAVE = 200;
/** Open files of a process besides its sockets, a generous estimate. */
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
    const { newClients, tally } = await openRooms(server);
    const wanted = context.quick ? 2_000 : 10_000;
    // Node has raised its soft limit to the hard one.
    const limit = Number(process.report?.getReport()?.userLimits?.open_files?.hard) || Infinity;
    const count = Math.min(wanted, limit - SPARE_FILES);
    if (count < wanted) context.note(`only ${count} clients: ulimit -n is ${limit}`);

    // Otherwise compiled code and the first buffers would count as memory of the clients.
    const first = newClients(WARM_UP);
    await connectAll(first);
    closeAll(first);
    const before = await settledKib(server.pid);

    await untilQuiet(QUIET_TIMEOUT_MS);
    const clients = newClients(count);
    const stop = startCount({ server, tallies: [tally] });
    await connectAll(clients, { tally });
    const { seconds, cpuMicros } = stop();
    const atOnce = residentKib(server.pid);
    const after = await settledKib(server.pid);
    closeAll(clients);
    await server.stop();
    const perSecond = count / seconds;
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
  async load(server) {
    const { newClients, tally } = await openRooms(server);
    return {
      server,
      tallies: [tally],
      async send() {
        const clients = newClients(PAIRED_WAVE);
        await connectAll(clients, { tally });
        closeAll(clients);
        return PAIRED_WAVE;
      },
      close: () => undefined,
    };
  },
};

/** @param {import('../servers.mjs').RunningServer} server */
async function openRooms(server) {
  const rooms = await createRooms(server, ROOMS);
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
  return { newClients, tally };
}
