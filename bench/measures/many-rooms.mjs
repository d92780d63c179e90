import { version2 } from '../load/dialects.mjs';
import { fillLogs } from '../load/logs.mjs';
import { at, Tally } from '../load/tally.mjs';
import { closeAll, connectAll, createRooms, newClient } from '../load/world.mjs';
import { settledKib, untilQuiet } from '../processes.mjs';
import { query } from '../services.mjs';

/** The default of ROOMS_PER_SOCKET. */
const ROOMS = 128;
const CLIENTS = 200;
const QUICK_CLIENTS = 50;
const WARM_UP = 20;
/** Entries of each room that a client has missed when it reconnects. */
const BEHIND = 10;
const QUIET_TIMEOUT_MS = 10_000;

/** @type {import('../run.mjs').Measure} */
export const manyRooms = {
  name: 'many-rooms',
  title: 'Many rooms',
  work: `clients of version 2 with ${ROOMS} rooms each; they come back ${BEHIND} entries behind in each`,
  kinds: ['nano'],
  metrics: [
    { key: 'kibEach', label: 'KiB of memory a joined room', better: 'lower' },
    { key: 'p50', label: 'one client live again, p50, ms', better: 'lower' },
    { key: 'p99', label: 'one client live again, p99, ms', better: 'lower' },
    { key: 'seconds', label: `${CLIENTS} clients live again, s`, better: 'lower' },
  ],
  async run(kind, context) {
    const database = 'many_rooms';
    const server = await context.start(kind, { database });
    await createRooms(server, ROOMS);
    const url = await context.databaseUrl(database);
    await fillLogs(url, BEHIND);
    const { rows } = await query(url, 'SELECT id, head FROM rooms');
    const count = context.quick ? QUICK_CLIENTS : CLIENTS;

    /** @param {number} length @param {number} behind */
    function newClients(length, behind) {
      const rooms = rows.map(({ id, head }) => ({ room_id: id, after: Number(head) - behind }));
      return Array.from({ length }, () => {
        let joined = 0;
        const dialect = version2({ rooms }, (client, text) => {
          if (text.includes('"CONNECTED"') && ++joined === ROOMS) client.ready();
        });
        return newClient(server, { roomId: 0, tally: new Tally(), sampled: false, dialect });
      });
    }

    /** Connects clients until they are live: they have an answer and all entries of each room. */
    async function timeReturn(/** @type {number} */ length) {
      const clients = newClients(length, BEHIND);
      const start = performance.now();
      const caughtUp = clients.map(
        (client) =>
          new Promise((resolve) => {
            client.onMessage = () => {
              if (client.received === ROOMS * BEHIND) resolve(undefined);
            };
          }),
      );
      await Promise.all([connectAll(clients, { atATime: length }), ...caughtUp]);
      const ms = performance.now() - start;
      closeAll(clients);
      return ms;
    }

    const first = newClients(WARM_UP, 0);
    await connectAll(first);
    for (let i = 0; i < WARM_UP; i++) await timeReturn(1);
    closeAll(first);
    const before = await settledKib(server.pid);
    const clients = newClients(count, 0);
    await connectAll(clients);
    const after = await settledKib(server.pid);
    const kibEach = (after - before) / (count * ROOMS);
    context.note(`${kibEach.toFixed(2)} KiB a joined room, ${count} clients`);

    await untilQuiet(QUIET_TIMEOUT_MS);
    const times = [];
    for (let i = 0; i < count; i++) times.push(await timeReturn(1));
    times.sort((a, b) => a - b);
    const [p50, p99] = [at(times, 0.5), at(times, 0.99)];
    const seconds = (await timeReturn(count)) / 1000;
    closeAll(clients);
    await server.stop();
    context.note(
      `live again: p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms; ` +
        `${count} clients at once ${seconds.toFixed(2)} s`,
    );
    return { kibEach, p50, p99, seconds };
  },
};
