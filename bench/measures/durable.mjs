import { setTimeout as delay } from 'node:timers/promises';
import { Tally } from '../load/tally.mjs';
import { closeAll, connectAll, createRooms, measureLoad, newClient } from '../load/world.mjs';

const ROOMS = 100;
const IN_FLIGHT = 4;
/** The load keeps a core busy, so V8 compiles early. */
const WARM_UP_SECONDS = 2;

/** @type {import('../run.mjs').Measure} */
export const durable = {
  name: 'durable',
  title: 'Durable sending',
  work: `${ROOMS} rooms x 2 members, one sender each with ${IN_FLIGHT} messages in flight`,
  kinds: ['nano', 'socketio'],
  metrics: [
    {
      key: 'perSecond',
      label: 'stored and echoed/s',
      better: 'higher',
      targets: [{ atLeast: 20_000 }, { times: 3.5, of: 'socketio' }],
    },
    { key: 'p99', label: 'p99 of the echo, ms', better: 'lower' },
  ],
  async run(kind, context) {
    const server = await context.start(kind);
    const load = await fillRooms(server);
    const result = await measureLoad(load, context.seconds(10, 4), WARM_UP_SECONDS);
    load.close();
    await server.stop();
    const { p50, p99, cpuMicros, cpuShare, loadShare } = result;
    const perSecond = result.delivered / result.seconds;
    context.note(
      `${Math.round(perSecond)}/s, p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms, ` +
        `CPU a message ${cpuMicros.toFixed(1)} µs, core ${Math.round(cpuShare * 100)} %`,
    );
    return { perSecond, p50, p99, cpuMicros, cpuShare, loadShare };
  },
  load: (server) => fillRooms(server),
};

/**
 * @param {import('../servers.mjs').RunningServer} server
 * @param {() => string} [newText] the texts of messages; without it, of 100 bytes
 * @returns {Promise<import('../load/world.mjs').Load>}
 */
export async function fillRooms(server, newText) {
  const rooms = await createRooms(server, ROOMS);
  const echoes = new Tally();
  const others = new Tally();
  const senders = rooms.map((roomId) =>
    newClient(server, { roomId, tally: echoes, sampled: true }),
  );
  const readers = rooms.map((roomId) =>
    newClient(server, { roomId, tally: others, sampled: false }),
  );
  await connectAll([...senders, ...readers]);
  const received = () => senders.reduce((sum, sender) => sum + sender.received, 0);
  return {
    server,
    tallies: [echoes],
    /** @param {number} seconds */
    async send(seconds) {
      const before = received();
      for (const sender of senders) {
        // The echo proves that it is stored; the next one follows.
        sender.onMessage = () => sender.sendMessage(newText?.());
        for (let i = 0; i < IN_FLIGHT; i++) sender.sendMessage(newText?.());
      }
      await delay(seconds * 1000);
      for (const sender of senders) sender.onMessage = undefined;
      const sent = received() - before + ROOMS * IN_FLIGHT;
      while (received() < before + sent && echoes.lost === 0) await delay(1);
      return sent;
    },
    close: () => closeAll([...senders, ...readers]),
  };
}
