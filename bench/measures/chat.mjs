import { Tally } from '../load/tally.mjs';
import {
  closeAll,
  connectAll,
  createRooms,
  measureLoad,
  newClient,
  steadily,
} from '../load/world.mjs';

const ROOMS = 100;
const MEMBERS = 10;
const RATE = 1_000;
/** Until V8 has compiled the code that runs this often, in each server: a short run would measure its compiler. */
const WARM_UP_SECONDS = 12;

/** @type {import('../run.mjs').Measure} */
export const chat = {
  name: 'chat',
  title: 'Chat',
  work: `${ROOMS} rooms x ${MEMBERS} members, ${RATE} messages/s`,
  kinds: ['nano', 'ws', 'uws', 'stored', 'socketio'],
  rounds: 3,
  metrics: [
    { key: 'p50', label: 'p50, ms', better: 'lower', targets: [{ times: 1, of: 'socketio' }] },
    { key: 'p99', label: 'p99, ms', better: 'lower', targets: [{ times: 1, of: 'socketio' }] },
    {
      key: 'cpuMicros',
      label: 'CPU a message, µs',
      better: 'lower',
      targets: [{ times: 0.6, of: 'socketio' }],
    },
  ],
  async run(kind, context) {
    const server = await context.start(kind);
    const result = await converse([server], context);
    await server.stop();
    const { p50, p99, cpuMicros, cpuShare, loadShare, keptUp } = result;
    return { p50, p99, cpuMicros, keptUp, cpuShare, loadShare };
  },
  load: (server) => fillRooms([server]),
};

/** @type {import('../run.mjs').Measure} */
export const twoNodes = {
  name: 'two-nodes',
  title: 'Two nodes',
  work: `${ROOMS} rooms x ${MEMBERS} members over two nodes, ${RATE} messages/s, beside one node`,
  kinds: ['nano', 'socketio'],
  metrics: [
    { key: 'one', label: 'p50 on one node, ms', better: 'lower' },
    { key: 'across', label: 'p50 between nodes, ms', better: 'lower' },
    { key: 'ratio', label: 'between / one', better: 'lower', targets: [{ atMost: 2 }] },
  ],
  async run(kind, context) {
    const alone = await context.start(kind);
    const one = await converse([alone], context);
    await alone.stop();
    const first = await context.start(kind);
    const second = await context.start(kind);
    const two = await converse([first, second], context);
    await Promise.all([first.stop(), second.stop()]);
    const across = two.across.p50;
    return {
      one: one.p50,
      across,
      ratio: across / one.p50,
      sameNodeOfTwo: two.p50,
      acrossP99: two.across.p99,
      oneP99: one.p99,
    };
  },
};

/**
 * The members of each room are spread over the nodes; those on the first one send.
 *
 * @param {import('../servers.mjs').RunningServer[]} servers
 * @returns {Promise<import('../load/world.mjs').Load>}
 */
async function fillRooms(servers) {
  const [server] = servers;
  if (server === undefined) throw new Error('no server');
  const tallies = servers.map(() => new Tally());
  const rooms = await createRooms(server, ROOMS);
  const clients = rooms.flatMap((roomId) =>
    Array.from({ length: MEMBERS }, (_, i) => {
      const node = i % servers.length;
      const on = { server: servers[node] ?? server, tally: tallies[node] ?? new Tally() };
      return { node, client: newClient(on.server, { roomId, tally: on.tally, sampled: true }) };
    }),
  );
  await connectAll(clients.map(({ client }) => client));
  // Room by room, so that one room does not get all at once.
  const senders = Array.from({ length: MEMBERS / servers.length }, (_, i) =>
    rooms.flatMap((roomId) => {
      const here = clients.filter(({ client, node }) => client.roomId === roomId && node === 0);
      return here[i]?.client ?? [];
    }),
  ).flat();
  return {
    server,
    tallies,
    send: steadily(senders, RATE),
    close: () => closeAll(clients.map(({ client }) => client)),
  };
}

/**
 * @param {import('../servers.mjs').RunningServer[]} servers
 * @param {import('../run.mjs').Context} context
 */
async function converse(servers, context) {
  const load = await fillRooms(servers);
  const result = await measureLoad(load, context.seconds(10, 4), WARM_UP_SECONDS);
  load.close();
  const across = load.tallies[1]?.latency ?? { p50: NaN, p99: NaN, max: NaN };
  const keptUp = result.delivered / (result.sent * MEMBERS);
  context.note(
    `${servers.length} node(s): p50 ${result.p50.toFixed(2)}, p99 ${result.p99.toFixed(2)} ms` +
      (servers.length > 1 ? `, between nodes p50 ${across.p50.toFixed(2)}` : '') +
      `, core ${Math.round(result.cpuShare * 100)} %, others on it ` +
      `${Math.round(result.othersShare * 100)} %` +
      (keptUp < 0.98 ? `; only ${Math.round(keptUp * 100)} % delivered in time` : ''),
  );
  return { ...result, cpuMicros: result.cpuMicros * MEMBERS, keptUp, across };
}
