import { fillLogs } from '../load/logs.mjs';
import { timeRequests } from '../load/requests.mjs';
import { createRooms } from '../load/world.mjs';
import { untilQuiet } from '../processes.mjs';

const SMALL = { rooms: 100, each: 100 };
const LARGE = { rooms: 1_000, each: 5_000 };
const PAGE = 50;
const WARM_UP = 500;
const QUIET_TIMEOUT_MS = 10_000;

/** @type {import('../run.mjs').Measure} */
export const history = {
  name: 'history',
  title: 'History',
  work: `a page of ${PAGE} anywhere in a room, at 10,000 and at 5,000,000 rows`,
  kinds: ['nano'],
  onlyWhenAsked: true,
  metrics: [
    { key: 'small', label: 'p99 at 10,000, ms', better: 'lower' },
    { key: 'large', label: 'p99 at 5,000,000, ms', better: 'lower' },
    { key: 'ratio', label: 'p99 at 5 M / at 10 k', better: 'lower', targets: [{ atMost: 1.3 }] },
  ],
  async run(kind, context) {
    const small = await readPages(kind, SMALL, `history_small_${kind}`, context);
    const large = await readPages(kind, LARGE, `history_large_${kind}`, context);
    return {
      small: small.p99,
      large: large.p99,
      ratio: large.p99 / small.p99,
      smallP50: small.p50,
      largeP50: large.p50,
    };
  },
};

/**
 * @param {import('../servers.mjs').Kind} kind
 * @param {typeof SMALL} size
 * @param {string} database
 * @param {import('../run.mjs').Context} context
 */
async function readPages(kind, size, database, context) {
  const server = await context.start(kind, { database });
  const rooms = await createRooms(server, size.rooms);
  await fillLogs(await context.databaseUrl(database), size.each);
  await untilQuiet(QUIET_TIMEOUT_MS);
  const { p50, p99 } = await timeRequests(
    server.port,
    () => {
      const room = rooms[Math.floor(Math.random() * rooms.length)];
      const before = PAGE + 3 + Math.floor(Math.random() * (size.each - PAGE));
      return `/rooms/${room}/messages?limit=${PAGE}&before=${before}`;
    },
    { count: context.quick ? 2_000 : 10_000, warmUp: WARM_UP },
  );
  await server.stop();
  context.note(`${size.rooms * size.each} rows: p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)} ms`);
  return { p50, p99 };
}
