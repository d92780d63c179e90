import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLOSE_CODES } from '../../src/protocol/close-codes.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import type { TestDatabase } from '../harness/database.js';
import { findHaproxy, HAPROXY_CONFIG, startHaproxy, type Haproxy } from '../harness/haproxy.js';
import { startNodeProcess, type NodeProcess } from '../harness/node-process.js';
import { startRoomLoad } from '../harness/room-load.js';
import { findFreePort } from '../harness/server-process.js';
import { createMigratedDatabase, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

const NODES = 3;
/** Of each version. */
const READERS = 15;

const program = await findHaproxy();
const ana = person({ levelOnEntity: 999 });

describe.skipIf(program === undefined)(
  'three nodes behind HAProxy, with the configuration of deploy/,',
  () => {
    const nodes: NodeProcess[] = [];
    let database: TestDatabase;
    let haproxy: Haproxy;
    let front: { url: string; chatUrl: string };

    const start = (port: number): Promise<NodeProcess> =>
      startNodeProcess({
        NODE_ENV: 'production',
        PORT: String(port),
        HOST: '127.0.0.1',
        TRUSTED_PROXIES: '1',
        DATABASE_URL: database.url,
        REDIS_URL: redisUrl(),
        REDIS_PREFIX: new URL(database.url).pathname.slice(1),
        // A third of it is longer than two checks take.
        DRAIN_SECONDS: '12',
      });

    beforeAll(async () => {
      database = await createMigratedDatabase();
      while (nodes.length < NODES) nodes.push(await start(await findFreePort()));
      haproxy = await startHaproxy(program ?? '', nodes);
      front = { url: haproxy.url, chatUrl: `${haproxy.url.replace('http', 'ws')}/chat` };
    });
    afterAll(async () => {
      await haproxy.stop();
      await Promise.all(nodes.map((node) => node.end('SIGKILL')));
      await database.drop();
    });

    it('start with a configuration that is valid where its names are unknown, too', async () => {
      const { stdout } = await promisify(execFile)(program ?? '', ['-c', '-f', HAPROXY_CONFIG]);

      expect(stdout).toContain('Configuration file is valid');
    });

    it('chat though each socket is on another node, and learn the addresses of clients', async () => {
      const room = await createRoom(front, ana);
      const { entityUUID } = ana;
      await putRule(front, ana, room, { entity_UUID: entityUUID, permissions: 'rw', level: 0 });
      const people = [1, 2, 3].map(() => person({ entityUUID }));
      const clients: ChatClient[] = [];
      for (const [index, who] of people.entries()) {
        const client = await ChatClient.open(front.chatUrl, {
          localAddress: `127.0.0.${index + 2}`,
          // What a client says of itself counts for nothing.
          headers: { 'X-Forwarded-For': '192.0.2.1' },
        });
        client.send({ type: 'token', content: who.token });
        client.send({ type: 'select_room', room_id: room });
        await client.expect('START?', 'READY', 'CONNECTED');
        clients.push(client);
      }

      for (const [index, client] of clients.entries()) {
        client.say(`from ${index}`);
        for (const reader of clients) expect(await reader.messages(1)).toEqual([`from ${index}`]);
      }

      await Promise.all(clients.map((client) => client.close()));
      await Promise.all(nodes.map((node) => node.program.seen(/session ended/)));
      const ended = nodes.map((node) => {
        const lines = node.program.stdout().split('\n');
        return lines.filter((line) => line.includes('session ended'));
      });
      expect(ended.map((lines) => lines.length)).toEqual([1, 1, 1]);
      for (const [index, { userUUID }] of people.entries()) {
        const line = ended.flat().find((each) => each.includes(userUUID)) ?? '{}';
        expect(JSON.parse(line)).toMatchObject({ address: `127.0.0.${index + 2}` });
      }
    });

    it('lose, double and reorder nothing while they are restarted one after the other', async () => {
      const { url } = front;
      const load = await startRoomLoad({
        url,
        databaseUrl: database.url,
        owner: ana,
        readers: READERS,
      });
      await load.more(10);

      const room = await createRoom(front, ana);
      const statuses: number[] = [];
      const over = new AbortController();
      const posting = (async () => {
        while (!over.signal.aborted) {
          const body = { content: `post ${statuses.length}` };
          const answer = await request(front, 'POST', `/rooms/${room}/messages`, { as: ana, body });
          statuses.push(answer.status);
        }
      })();
      try {
        for (const [index, node] of nodes.entries()) {
          expect(await node.end('SIGTERM')).toBe(0);
          nodes[index] = await start(Number(new URL(node.url).port));
        }
        await load.more(50);
      } finally {
        over.abort();
        await posting;
      }

      await load.expectWhole();
      expect(statuses.length).toBeGreaterThan(NODES);
      expect(new Set(statuses)).toEqual(new Set([201]));
      expect(load.codes.length).toBeGreaterThanOrEqual(READERS);
      expect(new Set(load.codes)).toEqual(new Set([CLOSE_CODES.RESTART.code]));
      await load.close();
    });

    it('are answered for in the envelope of the API while none of them is there', async () => {
      const ports = nodes.map((node) => Number(new URL(node.url).port));
      await Promise.all(nodes.map((node) => node.end('SIGKILL')));

      const answer = await request(front, 'GET', '/rooms', { as: ana });
      expect(answer).toMatchObject({ status: 503, meta: { reason: 'UNAVAILABLE' } });

      for (const [index, port] of ports.entries()) nodes[index] = await start(port);
      await expect
        .poll(async () => (await request(front, 'GET', '/rooms', { as: ana })).status)
        .toBe(200);
    });
  },
);
