import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createRoom } from '../harness/api.js';
import { type TestDatabase } from '../harness/database.js';
import { startNodeProcess, type NodeProcess } from '../harness/node-process.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { Prober } from '../harness/prober.js';
import { createMigratedDatabase, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

const STORE_TIMEOUT_MS = 2_500;
/** Time for an answer to a command, or the close of its socket: that of the store, and more for a busy machine. */
const ANSWER_MS = STORE_TIMEOUT_MS + 4_000;
/** Time after the last fault until a message arrives in every room. */
const RECOVERY_MS = 10_000;
const SHUTDOWN_TIMEOUT_MS = 8_000;
const WARM_ROOMS = 4;
const COLD_ROOMS = 30;
/** For how many milliseconds links are half-open, and then work. */
const ROUNDS = [
  { swallowed: 1_500, open: 3_000 },
  { swallowed: 5_000, open: 3_000 },
  { swallowed: 3_000, open: 500 },
  { swallowed: 4_000, open: 500 },
];

/** Makes open links half-open, and those that are opened meanwhile: no byte passes, and none is closed. */
function loseLinks(outlet: Outlet): void {
  outlet.swallow();
  outlet.stall();
}

/** New links work; half-open ones stay half-open. */
function leadNewLinks(outlet: Outlet): void {
  outlet.swallow();
  outlet.resume();
}

describe('links to Postgres that swallow every byte, again and again,', () => {
  const ana = person({ levelOnEntity: 999 });
  let database: TestDatabase;
  let outlets: Outlet[];
  let nodes: NodeProcess[];
  let warm: number[];
  let cold: number[];

  beforeAll(async () => {
    database = await createMigratedDatabase();
    outlets = await Promise.all([openOutlet(database.url), openOutlet(database.url)]);
    nodes = await Promise.all(
      outlets.map(({ url }) =>
        startNodeProcess({
          DATABASE_URL: url,
          REDIS_URL: redisUrl(),
          REDIS_PREFIX: new URL(database.url).pathname.slice(1),
          STORE_TIMEOUT_MS: `${STORE_TIMEOUT_MS}`,
          SHUTDOWN_TIMEOUT_MS: `${SHUTDOWN_TIMEOUT_MS}`,
        }),
      ),
    );
    const [first] = nodes;
    if (first === undefined) throw new Error('no node');
    const create = (): Promise<number> => createRoom(first, ana);
    warm = await Promise.all(Array.from({ length: WARM_ROOMS }, create));
    cold = await Promise.all(Array.from({ length: COLD_ROOMS }, create));
  });
  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.end('SIGKILL')));
    await Promise.all(outlets.map((outlet) => outlet.close()));
    await database.drop();
  });

  it('leave every command answered and every room alive, and the node shuts down in time', async () => {
    const progress = { over: false };
    onTestFinished(() => {
      progress.over = true;
    });
    const probers = nodes.flatMap((node) =>
      Array.from({ length: 6 }, () => new Prober(node, ana, ANSWER_MS)),
    );
    const probing = probers.map(async (prober, index) => {
      // Some sessions talk in a room that stays open, and others open one room after the other.
      const rooms = index % 2 === 0 ? [warm[index % WARM_ROOMS] ?? 0] : cold;
      for (let turn = index; !progress.over; turn += 1) {
        const word = await prober.select(rooms[turn % rooms.length] ?? 0);
        if (word === 'CONNECTED') await prober.say(`turn ${turn}`);
        await delay(10);
      }
    });
    for (const { swallowed, open } of ROUNDS) {
      for (const outlet of outlets) loseLinks(outlet);
      await delay(swallowed);
      for (const outlet of outlets) leadNewLinks(outlet);
      await delay(open);
    }
    const mendedAt = performance.now();
    const rooms = [...warm, ...cold];
    const hanging = new Set(
      nodes.flatMap((_, node) => rooms.map((room) => `room ${room} on node ${node}`)),
    );
    await Promise.all(
      nodes.flatMap((node, number) =>
        rooms.map(async (room) => {
          const prober = new Prober(node, ana, RECOVERY_MS);
          while (performance.now() - mendedAt < RECOVERY_MS) {
            const isIn = (await prober.select(room)) === 'CONNECTED';
            if (isIn && (await prober.say('again')) === 'SENT') {
              hanging.delete(`room ${room} on node ${number}`);
              break;
            }
            await delay(100);
          }
          await prober.close();
        }),
      ),
    );
    progress.over = true;
    await Promise.all(probing);
    expect([...hanging]).toEqual([]);
    expect(probers.flatMap(({ unanswered }) => unanswered)).toEqual([]);
    // Without such answers there was no fault, and the test would show nothing.
    const refused = probers.filter(({ answers }) => answers.has('UNAVAILABLE'));
    expect(refused.length).toBe(probers.length);
    for (const outlet of outlets) loseLinks(outlet);
    const before = performance.now();
    expect(await Promise.all(nodes.map((node) => node.end('SIGTERM')))).toEqual([0, 0]);
    expect(performance.now() - before).toBeLessThan(SHUTDOWN_TIMEOUT_MS + 2_000);
  });
});
