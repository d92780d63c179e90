import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CreateBroker } from '../../src/broker/broker.js';
import { createRedisBroker } from '../../src/broker/redis.js';
import { createPeers, type Peers } from '../../src/feeds/peers.js';
import { createLogger } from '../../src/logger.js';
import { eventually } from '../harness/eventually.js';
import { redisUrl } from '../harness/services.js';

const PREFIX = `refusals-${randomUUID()}`;

interface Node {
  readonly peers: Peers;
  readonly warnings: { readonly err: Error; readonly text: string }[];
}

/** A node that can connect to its Redis, but may use it only in part or not at all. */
describe('a node with a useless Redis', () => {
  const nodes: Node[] = [];
  const users: string[] = [];
  const strangers: Server[] = [];
  let admin: Redis;

  beforeAll(() => {
    admin = new Redis(redisUrl());
  });
  afterAll(async () => {
    await Promise.all(nodes.map(({ peers }) => peers.close()));
    for (const server of strangers) server.close();
    await admin.acl('DELUSER', ...users);
    admin.disconnect();
  });

  function startNode(url: string): Node {
    const warnings: Node['warnings'] = [];
    const logger = createLogger({ level: 'silent', production: true });
    logger.warn = (fields: unknown, text?: string) => {
      warnings.push({ ...(fields as { err: Error }), text: text ?? '' });
    };
    const createBroker: CreateBroker = (onMessage) =>
      createRedisBroker({ url, prefix: PREFIX, logger, onMessage });
    const peers = createPeers({
      createBroker,
      installation: randomUUID(),
      logger,
      handlers: {
        entries: () => undefined,
        head: () => undefined,
        positionOf: () => 1,
        deleted: () => undefined,
        epochChanged: () => undefined,
        markerMoved: () => undefined,
        invited: () => undefined,
        revoked: () => undefined,
        typing: () => undefined,
        hintsOf: () => undefined,
        allHints: () => [],
      },
    });
    const node = { peers, warnings };
    nodes.push(node);
    return node;
  }

  /** The URL of the test's Redis for a user with the ACL `rules`. */
  async function urlOfUser(...rules: string[]): Promise<string> {
    const [user, password] = [`user-${randomUUID()}`, 'a%b'];
    users.push(user);
    await admin.acl('SETUSER', user, 'on', `>${password}`, 'resetchannels', ...rules);
    const url = new URL(redisUrl());
    url.username = user;
    url.password = encodeURIComponent(password);
    return url.href;
  }

  /** The URL of a server other than Redis, which answers each command with `text`: several may come in one packet. */
  async function urlOfStranger(text: string): Promise<string> {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (bytes: Buffer) => {
        const commands = bytes.toString().match(/^\*\d+\r$/gm)?.length ?? 1;
        socket.write(text.repeat(commands));
      });
    });
    strangers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  function spoil(url: string): string {
    return url.replace('%25', 'x');
  }

  const all = ['+@all', 'allchannels'];

  describe('reports the broker as down, and warns once with the reason, if it', () => {
    const cases: readonly (readonly [
      name: string,
      urlOf: () => Promise<string> | string,
      reason: RegExp,
    ])[] = [
      ['may not publish', () => urlOfUser(...all, '-publish'), /'publish'/],
      ['may not subscribe', () => urlOfUser(...all, '-subscribe'), /'subscribe'/],
      ['may use no channel', () => urlOfUser('+@all'), /NOPERM.*channel/],
      ['may use only other channels', () => urlOfUser('+@all', '&other:*'), /NOPERM.*channel/],
      ['has a wrong password', () => urlOfUser(...all).then(spoil), /WRONGPASS/],
      ['finds something else', () => urlOfStranger('HTTP/1.1 400 Bad Request\r\n\r\n'), /type/],
      ['finds something that answers nil', () => urlOfStranger('$-1\r\n'), /no Redis/],
      ['is not answered', () => urlOfStranger(''), /timed out/],
      ['is one too many', () => urlOfStranger('-ERR max number of clients reached\r\n'), /max/],
      ['comes while Redis loads', () => urlOfStranger('-LOADING Redis is loading\r\n'), /LOADING/],
      ['finds nobody', () => 'redis://127.0.0.1:1', /ECONNREFUSED/],
    ];
    const started = new Map<string, Node>();

    // All cases run at the same time, since each is watched for a while.
    beforeAll(async () => {
      for (const [name, urlOf] of cases) started.set(name, startNode(await urlOf()));
      await eventually(() => {
        for (const { warnings } of started.values()) {
          if (warnings.length === 0) throw new Error('a node has not warned');
        }
      });
      // Attempts and heartbeats keep failing meanwhile.
      await new Promise((resolve) => {
        setTimeout(resolve, 3_000);
      });
    });

    it.each(cases)('%s', (name, _, reason) => {
      const node = started.get(name);
      expect(node?.warnings).toHaveLength(1);
      expect(node?.warnings[0]).toMatchObject({
        text: 'broker is down, polling the database',
        err: { message: expect.stringMatching(reason) as string },
      });
      expect([node?.peers.isUp, node?.peers.receivesAll]).toEqual([false, false]);
    });
  });

  it('reports the broker as up as soon as Redis allows the commands it needs, and needs no others', async () => {
    const url = await urlOfUser('-@all');
    const node = startNode(url);
    await eventually(() => {
      expect(node.warnings).toHaveLength(1);
    });
    const { username } = new URL(url);
    const needed = ['+publish', '+subscribe', '+unsubscribe', '+ping', `&${PREFIX}:*`];
    await admin.acl('SETUSER', username, ...needed);
    await eventually(() => {
      expect(node.peers.isUp).toBe(true);
    });
  });

  it('reports the broker as up without the right to PING', async () => {
    const node = startNode(await urlOfUser(...all, '-ping', '-info'));
    await eventually(() => {
      expect(node.peers.receivesAll).toBe(true);
    });
  });

  it('reports the broker as down when the rights are taken away', async () => {
    const url = await urlOfUser(...all);
    const node = startNode(url);
    await eventually(() => {
      expect(node.peers.isUp).toBe(true);
    });
    await admin.acl('SETUSER', new URL(url).username, '-publish');
    await eventually(() => {
      expect(node.peers.isUp).toBe(false);
    });
  });
});
