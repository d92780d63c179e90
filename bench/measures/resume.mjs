import { setTimeout as delay } from 'node:timers/promises';
import { Tally } from '../load/tally.mjs';
import { newToken } from '../load/tokens.mjs';
import { closeAll, connectAll, createRooms, newClient } from '../load/world.mjs';
import { untilQuiet } from '../processes.mjs';
import { query } from '../services.mjs';

const CLIENTS = 1_000;
const BEHIND = 500;
const READERS = 10;
const LIVE_INTERVAL_MS = 10;
const QUIET_TIMEOUT_MS = 10_000;

/** @type {import('../run.mjs').Measure} */
export const resume = {
  name: 'resume',
  title: 'Resume',
  work: `${CLIENTS} clients, each ${BEHIND} entries behind in one room, come back at once`,
  kinds: ['nano'],
  metrics: [
    { key: 'seconds', label: 'until all are live, s', better: 'lower' },
    {
      key: 'stall',
      label: 'largest stall of others, ms',
      better: 'lower',
      targets: [{ atMost: 250 }],
    },
  ],
  async run(kind, context) {
    const server = await context.start(kind);
    const [roomId = 0] = await createRooms(server, 1);
    const live = new Tally();
    const readers = Array.from({ length: READERS }, () =>
      newClient(server, { roomId, tally: live, sampled: true }),
    );
    await connectAll(readers);
    const [sender] = readers;
    if (sender === undefined) throw new Error('no sender');
    for (let i = 0; i < BEHIND; i++) {
      sender.sendMessage();
      if (i % 50 === 49) await delay(20);
    }
    while (readers.some((reader) => reader.received < BEHIND)) await delay(20);
    const head = await headOf(await context.databaseUrl(kind), roomId);

    await untilQuiet(QUIET_TIMEOUT_MS);
    const talking = setInterval(() => sender.sendMessage(), LIVE_INTERVAL_MS);
    await delay(1_000);
    const ignored = new Tally();
    const clients = Array.from({ length: CLIENTS }, () =>
      newClient(server, {
        roomId,
        tally: ignored,
        sampled: false,
        after: head - BEHIND,
        token: newToken(),
      }),
    );
    live.open();
    const start = performance.now();
    const caughtUp = clients.map(
      (client) =>
        new Promise((resolve) => {
          // A sender receives all messages in order and without gaps, so its count is the number of the last one.
          client.onMessage = () => {
            if (client.received >= sender.received) resolve(undefined);
          };
        }),
    );
    await connectAll(clients, { atATime: CLIENTS });
    await Promise.all(caughtUp);
    const seconds = (performance.now() - start) / 1000;
    await delay(500);
    live.close();
    clearInterval(talking);
    closeAll([...readers, ...clients]);
    await server.stop();
    const { max, p50 } = live.latency;
    context.note(`all live after ${seconds.toFixed(2)} s, largest stall ${max.toFixed(0)} ms`);
    return { seconds, stall: max, p50 };
  },
};

/**
 * @param {string} url
 * @param {number} roomId
 */
async function headOf(url, roomId) {
  const { rows } = await query(url, `SELECT head FROM rooms WHERE id = ${roomId}`);
  return Number(rows[0].head);
}
