import { Tally } from '../load/tally.mjs';
import {
  closeAll,
  connectAll,
  createRooms,
  drain,
  measureLoad,
  newClient,
  steadily,
} from '../load/world.mjs';

const MEMBERS = 1_000;
const SENDERS = 10;
/** Latencies are measured at one client in this number. */
const SAMPLED = 20;
const KEPT_UP = 0.98;
const MAX_P99_MS = 50;
/**
 * Messages a second that the ramp tries. A server that batches may do better at a higher rate than at a lower one: the
 * ramp ends only at the second rate in a row that was not delivered in time.
 */
const RAMP = [
  20, 40, 60, 90, 130, 190, 280, 400, 600, 800, 1_000, 1_200, 1_500, 2_000, 2_500, 3_000,
];
const QUICK_RAMP = [40, 80, 150, 300, 600, 1_000, 1_300];
/** If a server does not keep up with the ramp's rate for the whole time: how far it goes down, in which steps. */
const MIN_HELD = 0.6;
const STEP_DOWN = 0.8;
const COST_RATE = 50;
/** A thousand messages, until V8 has compiled the code that runs this seldom, in each server. */
const WARM_UP_SECONDS = 20;
/** If others used this share of the server's core, they are the reason why it did not keep up. */
const DISTURBED = 0.3;

/** @typedef {import('../run.mjs').Context} Context */

/** @param {import('../servers.mjs').RunningServer} server */
async function fillRoom(server) {
  const [roomId = 0] = await createRooms(server, 1);
  const tally = new Tally();
  const clients = Array.from({ length: MEMBERS }, (_, i) =>
    newClient(server, { roomId, tally, sampled: i % SAMPLED === SAMPLED - 1 }),
  );
  await connectAll(clients);
  const senders = clients.filter((_, i) => i % (MEMBERS / SENDERS) === 0);
  return {
    server,
    tallies: [tally],
    clients,
    senders,
    send: steadily(senders, COST_RATE),
    close: () => closeAll(clients),
  };
}

/** @type {import('../run.mjs').Measure} */
export const ceiling = {
  name: 'ceiling',
  title: 'Big room, ceiling',
  work: `1 room x ${MEMBERS} members, 100 bytes; the rate rises until it is too much (p99 > ${MAX_P99_MS} ms)`,
  kinds: ['nano', 'ws', 'uws', 'socketio'],
  metrics: [
    {
      key: 'perSecond',
      label: 'deliveries/s kept up',
      better: 'higher',
      targets: [{ atLeast: 1_000_000 }, { times: 6, of: 'socketio' }],
    },
    { key: 'most', label: 'most deliveries/s at any p99', better: 'higher' },
    { key: 'p99', label: 'p99 at that rate, ms', better: 'lower', targets: [{ atMost: 50 }] },
  ],
  async run(kind, context) {
    const holdSeconds = context.seconds(10, 3);
    const trySeconds = context.seconds(2, 1);
    let server = await context.start(kind);
    let room = await fillRoom(server);
    let most = 0;

    /** @param {number} rate @param {number} seconds */
    async function attempt(rate, seconds) {
      const result = await measureLoad({ ...room, send: steadily(room.senders, rate) }, seconds);
      const perSecond = result.delivered / result.seconds;
      // Without messages that waited from before.
      const inTime = Math.min(result.delivered, result.sent * MEMBERS);
      most = Math.max(most, inTime / result.seconds);
      const isDelivered =
        result.sent >= KEPT_UP * rate * seconds &&
        result.delivered >= KEPT_UP * result.sent * MEMBERS &&
        room.tallies.every(({ lost }) => lost === 0);
      const kept = isDelivered && result.p99 <= MAX_P99_MS;
      context.note(
        `${rate} messages/s: ${Math.round(perSecond)} deliveries/s, p50 ${result.p50.toFixed(1)}, ` +
          `p99 ${result.p99.toFixed(1)} ms, core ${share(result.cpuShare)}, ` +
          `others on it ${share(result.othersShare)}, ` +
          `load generator ${share(result.loadShare)}${kept ? '' : isDelivered ? ' - too late' : ' - too much'}`,
      );
      if (!kept) {
        // A new server: the waiting messages of this one may take long.
        room.close();
        await server.stop();
        server = await context.start(kind);
        room = await fillRoom(server);
      } else {
        await drain(room.clients, 2_000);
      }
      return { kept, isDelivered, rate, perSecond, ...result };
    }

    let best = 0;
    let overloads = 0;
    for (const rate of context.quick ? QUICK_RAMP : RAMP) {
      let result = await attempt(rate, trySeconds);
      // It may have been noise: only a second failure counts.
      if (!result.kept) result = await attempt(rate, trySeconds);
      if (result.kept) best = rate;
      const isDisturbed = result.othersShare > DISTURBED;
      overloads = result.isDelivered || isDisturbed ? 0 : overloads + 1;
      if (overloads === 2) break;
    }
    let held;
    for (let rate = best; rate > best * MIN_HELD; rate = Math.floor(rate * STEP_DOWN)) {
      held = await attempt(rate, holdSeconds);
      if (!held.kept) held = await attempt(rate, holdSeconds);
      if (held.kept) break;
    }
    room.close();
    await server.stop();
    if (!held?.kept) return { most };
    const { perSecond, p50, p99, rate, cpuShare, loadShare } = held;
    return { perSecond, most, p50, p99, rate, cpuShare, loadShare };
  },
};

/** @type {import('../run.mjs').Measure} */
export const cost = {
  name: 'cost',
  title: 'Big room, cost',
  work: `1 room x ${MEMBERS} members, ${COST_RATE} messages/s`,
  kinds: ['nano', 'ws', 'uws', 'stored', 'socketio'],
  rounds: 5,
  metrics: [
    {
      key: 'cpuMicros',
      label: 'CPU a delivery, µs',
      better: 'lower',
      targets: [
        { times: 1, of: 'ws' },
        { times: 0.7, of: 'socketio' },
      ],
    },
  ],
  async run(kind, context) {
    const server = await context.start(kind);
    const load = await fillRoom(server);
    const result = await measureLoad(load, context.seconds(10, 4), WARM_UP_SECONDS);
    load.close();
    await server.stop();
    const { delivered, cpuMicros, p50, p99, cpuShare, loadShare } = result;
    context.note(
      `${delivered} deliveries, p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms, ` +
        `core ${share(cpuShare)}, others on it ${share(result.othersShare)}`,
    );
    return { cpuMicros, p50, p99, cpuShare, loadShare };
  },
  load: fillRoom,
};

/** @param {number} value */
function share(value) {
  return `${Math.round(value * 100)} %`;
}
