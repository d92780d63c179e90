import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLOSE_CODES } from '../../src/protocol/close-codes.js';
import { ChatClient } from '../harness/chat-client.js';
import type { TestDatabase } from '../harness/database.js';
import { startNodeProcess, type NodeProcess } from '../harness/node-process.js';
import { createMigratedDatabase, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';
import { startRoomLoad } from '../harness/room-load.js';

const NODES = 3;
const DRAIN_SECONDS = 6;
/** Of each version. */
const READERS = 30;
/**
 * Sockets that may come in any second. Restarted nodes pass theirs on, so the last one has some 35 of the 60: in two thirds
 * of 6 s, nine of them a second, some more by the random part of the clients' waits, and those of a second or two together
 * if this process is held up. Without a drain, all of them come back within half a second.
 */
const MOST_A_SECOND = 25;

const ana = person({ levelOnEntity: 999 });

/** A port that gives each connection to the next node that accepts it, as a load balancer without sticky sessions. */
interface Balancer {
  readonly url: string;
  /** When each socket of a chat came. */
  readonly arrivals: number[];
  close(): void;
}

async function openBalancer(nodes: readonly NodeProcess[]): Promise<Balancer> {
  const arrivals: number[] = [];
  const open = new Set<Socket>();
  let next = 0;
  function lead(client: Socket, attempts: number): void {
    const { port } = new URL(nodes[next++ % nodes.length]?.url ?? '');
    const upstream = connect(Number(port), '127.0.0.1');
    upstream.once('connect', () => {
      open.add(upstream);
      upstream.on('close', () => client.destroy());
      client.on('close', () => upstream.destroy());
      client.once('data', (head: Buffer) => {
        if (head.includes('GET /chat')) arrivals.push(performance.now());
      });
      client.pipe(upstream).pipe(client);
    });
    upstream.on('error', () => {
      if (open.has(upstream)) return;
      if (attempts > 1) lead(client, attempts - 1);
      else client.destroy();
    });
  }
  const server: Server = createServer((client) => {
    client.on('error', () => undefined);
    lead(client, nodes.length);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrivals,
    close() {
      for (const socket of open) socket.destroy();
      server.close();
    },
  };
}

/** The most arrivals within any second. */
function mostInASecond(arrivals: readonly number[]): number {
  return Math.max(
    ...arrivals.map((at, index) => arrivals.slice(index).filter((one) => one < at + 1_000).length),
  );
}

describe('a rolling restart of three nodes under load', () => {
  const nodes: NodeProcess[] = [];
  let database: TestDatabase;
  let balancer: Balancer;
  const start = (): Promise<NodeProcess> =>
    startNodeProcess({
      DATABASE_URL: database.url,
      REDIS_URL: redisUrl(),
      REDIS_PREFIX: new URL(database.url).pathname.slice(1),
      DRAIN_SECONDS: String(DRAIN_SECONDS),
      MESSAGES_PER_SECOND: '0',
    });

  beforeAll(async () => {
    database = await createMigratedDatabase();
    while (nodes.length < NODES) nodes.push(await start());
    balancer = await openBalancer(nodes);
  });
  afterAll(async () => {
    balancer.close();
    await Promise.all(nodes.map((node) => node.end('SIGKILL')));
    await database.drop();
  });

  it('loses nothing, doubles nothing, and has sockets come back evenly', async () => {
    const load = await startRoomLoad({
      url: balancer.url,
      databaseUrl: database.url,
      owner: ana,
      readers: READERS,
    });
    await load.more(10);
    const told = await ChatClient.enterV2(nodes[0] as NodeProcess, ana);
    balancer.arrivals.splice(0);

    for (let index = 0; index < NODES; index += 1) {
      const old = nodes.splice(index, 1, await start())[0] as NodeProcess;
      expect(await old.end('SIGTERM')).toBe(0);
    }
    const arrivals = [...balancer.arrivals];
    await load.expectWhole();

    expect(load.codes.length).toBeGreaterThanOrEqual(READERS);
    expect(new Set(load.codes)).toEqual(new Set([CLOSE_CODES.RESTART.code]));
    expect(mostInASecond(arrivals)).toBeLessThanOrEqual(MOST_A_SECOND);
    await told.closed();
    const [drain] = told.unread('status');
    expect(drain).toMatchObject({
      data: 'DRAIN',
      retry_after_ms: Math.round((DRAIN_SECONDS * 2_000) / 3),
    });
    await load.close();
  });
});
