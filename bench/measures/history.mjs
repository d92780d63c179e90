import { Agent, get } from 'node:http';
import { at } from '../load/tally.mjs';
import { newToken } from '../load/tokens.mjs';
import { createRooms } from '../load/world.mjs';
import { untilQuiet } from '../processes.mjs';
import { query } from '../services.mjs';

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
  await fill(await context.databaseUrl(database), size.each);
  const agent = new Agent({ keepAlive: true });
  const headers = { authorization: `Bearer ${newToken()}` };
  const count = context.quick ? 2_000 : 10_000;
  const times = [];
  await untilQuiet(QUIET_TIMEOUT_MS);
  for (let i = -WARM_UP; i < count; i++) {
    const room = rooms[Math.floor(Math.random() * rooms.length)];
    const before = PAGE + 3 + Math.floor(Math.random() * (size.each - PAGE));
    const start = performance.now();
    await read(
      server.port,
      `/rooms/${room}/messages?limit=${PAGE}&before=${before}`,
      headers,
      agent,
    );
    if (i >= 0) times.push(performance.now() - start);
  }
  agent.destroy();
  await server.stop();
  times.sort((a, b) => a - b);
  const [p50, p99] = [at(times, 0.5), at(times, 0.99)];
  context.note(`${size.rooms * size.each} rows: p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)} ms`);
  return { p50, p99 };
}

/**
 * Gives each room `each` messages of 100 bytes.
 *
 * @param {string} url
 * @param {number} each
 */
async function fill(url, each) {
  await query(
    url,
    `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT id, head + n, 'message', gen_random_uuid(), repeat('x', 100), now(), now()
     FROM generate_series(1, ${each}) AS n, rooms`,
  );
  await query(url, `UPDATE rooms SET head = head + ${each}`);
  await query(url, 'VACUUM ANALYZE');
  await query(url, 'CHECKPOINT');
}

/**
 * @param {number} port
 * @param {string} path
 * @param {Record<string, string>} headers
 * @param {Agent} agent
 * @returns {Promise<void>}
 */
function read(port, path, headers, agent) {
  return new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', path, headers, agent }, (response) => {
      response.resume();
      response.on('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`GET ${path}: ${response.statusCode}`));
      });
    }).on('error', reject);
  });
}
