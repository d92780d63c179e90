import { setTimeout as delay } from 'node:timers/promises';
import { busyMilliseconds, cpuMilliseconds, untilQuiet } from '../processes.mjs';
import { Client } from './client.mjs';
import { dialects } from './dialects.mjs';
import { Tally } from './tally.mjs';
import { newToken } from './tokens.mjs';

/** Connections that are being made at the same time. */
const CONNECTING = 100;
const TICK_MS = 1;
const QUIET_TIMEOUT_MS = 3_000;
const SERVER_CORE = 0;

/**
 * @typedef {import('../servers.mjs').RunningServer} RunningServer
 *
 * @typedef {{
 *   server: RunningServer, tallies: Tally[],
 *   send: (seconds: number) => Promise<number>, // Resolves to the number of messages, as often as it is called.
 *   close: () => void,
 * }} Load connected clients of a server, and what they do
 */

/**
 * Creates rooms; in the bare broadcasts and Socket.IO, entering a room creates it.
 *
 * @param {RunningServer} server
 * @param {number} count
 * @returns {Promise<number[]>} their ids
 */
export async function createRooms(server, count) {
  if (server.kind !== 'nano') return Array.from({ length: count }, (_, i) => i + 1);
  const token = newToken();
  const ids = [];
  for (let i = 0; i < count; i++) {
    const response = await fetch(`http://127.0.0.1:${server.port}/rooms`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ name: `room ${i}`, level_admin: 999, type: 'group' }),
    });
    if (!response.ok) throw new Error(`POST /rooms: ${await response.text()}`);
    const { content } = /** @type {{ content: { room: { id: number } } }} */ (
      await response.json()
    );
    ids.push(content.room.id);
  }
  return ids;
}

/**
 * @param {RunningServer} server
 * @param {{
 *   roomId: number, tally: Tally, sampled: boolean, after?: number, token?: string,
 *   dialect?: import('./dialects.mjs').Dialect,
 * }} options
 */
export function newClient(server, { token = newToken(), ...options }) {
  return new Client({ server, dialect: dialects[server.kind], token, ...options });
}

/**
 * Connects clients, some at a time.
 *
 * @param {Client[]} clients
 * @param {{ atATime?: number, tally?: Tally }} [options] `tally` counts them, with the time that each took
 */
export async function connectAll(clients, { atATime = CONNECTING, tally } = {}) {
  const waiting = clients.values();
  const lanes = Array.from({ length: atATime }, async () => {
    for (const client of waiting) {
      const start = performance.now();
      await client.connect();
      if (tally === undefined) continue;
      tally.add(performance.now() - start);
      tally.delivered++;
    }
  });
  await Promise.all(lanes);
}

/**
 * Starts to count what the clients of a server get, and the CPU time for it.
 *
 * @param {Pick<Load, 'server' | 'tallies'>} load
 * @returns a function that ends the count; its latencies are those of the first tally
 */
export function startCount({ server, tallies }) {
  for (const tally of tallies) tally.open();
  const from = {
    time: performance.now(),
    busy: busyMilliseconds(SERVER_CORE),
    cpu: cpuMilliseconds(server.pid),
    own: ownCpu(),
  };
  return () => {
    for (const tally of tallies) tally.close();
    const ms = performance.now() - from.time;
    const cpu = cpuMilliseconds(server.pid) - from.cpu;
    const delivered = tallies.reduce((sum, tally) => sum + tally.delivered, 0);
    return {
      seconds: ms / 1000,
      delivered,
      /** By delivered messages: a server that is behind has not spent time on the others. */
      cpuMicros: (cpu * 1000) / delivered,
      /** The share of a core that the server used, and that of the load generator. */
      cpuShare: cpu / ms,
      loadShare: (ownCpu() - from.own) / ms,
      /** The share of the server's core that other processes, such as Postgres, used; known only if it is pinned. */
      othersShare: (busyMilliseconds(SERVER_CORE) - from.busy - cpu) / ms,
      ...(tallies[0] ?? new Tally()).latency,
    };
  };
}

/**
 * Puts load on a server: first a warm-up, then `seconds` in which messages and CPU time are counted.
 *
 * @param {Pick<Load, 'server' | 'tallies' | 'send'>} load
 * @param {number} seconds
 * @param {number} [warmUp]
 */
export async function measureLoad(load, seconds, warmUp = 1) {
  await untilQuiet(QUIET_TIMEOUT_MS);
  await load.send(warmUp);
  const stop = startCount(load);
  const sent = await load.send(seconds);
  return { sent, ...stop() };
}

/**
 * @param {Client[]} senders one after the other
 * @param {number} rate in messages a second, over all senders
 * @returns {Load['send']}
 */
export function steadily(senders, rate) {
  let sender = 0;
  return (seconds) => pace(rate, seconds, () => senders[sender++ % senders.length]?.sendMessage());
}

/**
 * @param {number} rate
 * @param {number} seconds
 * @param {() => void} sendOne
 */
async function pace(rate, seconds, sendOne) {
  const start = performance.now();
  let done = 0;
  for (;;) {
    const elapsed = performance.now() - start;
    const due = Math.floor((Math.min(elapsed, seconds * 1000) * rate) / 1000);
    // A long delay is not made up for: the rate was too high for the generator.
    for (let i = 0; done < due && i < 100; i++, done++) sendOne();
    if (elapsed >= seconds * 1000) return done;
    await delay(TICK_MS);
  }
}

/**
 * Waits until no more messages arrive.
 *
 * @param {Client[]} clients
 */
export async function drain(clients, timeoutMs = 15_000) {
  const deadline = performance.now() + timeoutMs;
  for (let before = -1; performance.now() < deadline;) {
    const now = clients.reduce((sum, client) => sum + client.received, 0);
    if (now === before) return;
    before = now;
    await delay(400);
  }
}

function ownCpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** @param {Client[]} clients */
export function closeAll(clients) {
  for (const client of clients) client.close();
}
