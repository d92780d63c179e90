import { fillLogs } from '../load/logs.mjs';
import { timeRequests } from '../load/requests.mjs';
import { createRooms } from '../load/world.mjs';
import { untilQuiet } from '../processes.mjs';

const ROOMS = 500;
const MESSAGES = 1_000_000;
const QUICK_MESSAGES = 100_000;
const QUIET_TIMEOUT_MS = 10_000;

/** @type {import('../run.mjs').Measure} */
export const roomList = {
  name: 'room-list',
  title: 'Room list',
  work: `the first page of ${ROOMS} rooms with ${MESSAGES} messages, none of them read`,
  kinds: ['nano'],
  metrics: [
    { key: 'p50', label: 'p50, ms', better: 'lower' },
    { key: 'p99', label: 'p99, ms', better: 'lower' },
  ],
  async run(kind, context) {
    const database = 'room_list';
    const server = await context.start(kind, { database });
    await createRooms(server, ROOMS);
    const messages = context.quick ? QUICK_MESSAGES : MESSAGES;
    await fillLogs(await context.databaseUrl(database), messages / ROOMS);
    await untilQuiet(QUIET_TIMEOUT_MS);
    const count = context.quick ? 50 : 300;
    const { p50, p99 } = await timeRequests(server.port, () => '/me/rooms', { count, warmUp: 10 });
    await server.stop();
    context.note(`p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms`);
    return { p50, p99 };
  },
};
