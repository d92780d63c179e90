import { setTimeout as delay } from 'node:timers/promises';
import { Tally } from '../load/tally.mjs';
import { closeAll, connectAll, createRooms, drain, newClient } from '../load/world.mjs';
import { cpuMilliseconds, untilQuiet } from '../processes.mjs';

const ROOMS = 100;
const IN_FLIGHT = 4;
const QUIET_TIMEOUT_MS = 3_000;
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
    const result = await load.turn(context.seconds(10, 4), WARM_UP_SECONDS);
    load.close();
    await server.stop();
    const { perSecond, p50, p99, cpuMicros, cpuShare } = result;
    context.note(
      `${Math.round(perSecond)}/s, p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms, ` +
        `CPU a message ${cpuMicros.toFixed(1)} µs, core ${Math.round(cpuShare * 100)} %`,
    );
    return result;
  },
  pair: { rounds: 14, load: fillRooms },
};

/** @param {import('../servers.mjs').RunningServer} server */
async function fillRooms(server) {
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
  return {
    /** @param {number} seconds @param {number} [warmUp] */
    async turn(seconds, warmUp = 1) {
      await untilQuiet(QUIET_TIMEOUT_MS);
      for (const sender of senders) {
        // The echo proves that it is stored; the next one follows.
        sender.onMessage = () => sender.sendMessage();
        for (let i = 0; i < IN_FLIGHT; i++) sender.sendMessage();
      }
      await delay(warmUp * 1000);
      echoes.open();
      const from = {
        time: performance.now(),
        cpu: cpuMilliseconds(server.pid),
        own: process.cpuUsage(),
      };
      await delay(seconds * 1000);
      echoes.close();
      const ms = performance.now() - from.time;
      const cpuMs = cpuMilliseconds(server.pid) - from.cpu;
      const own = process.cpuUsage(from.own);
      for (const sender of senders) sender.onMessage = undefined;
      await drain(senders);
      const { p50, p99 } = echoes.latency;
      return {
        perSecond: (echoes.delivered * 1000) / ms,
        p50,
        p99,
        cpuMicros: (cpuMs * 1000) / echoes.delivered,
        cpuShare: cpuMs / ms,
        loadShare: (own.user + own.system) / 1000 / ms,
      };
    },
    close: () => closeAll([...senders, ...readers]),
  };
}
