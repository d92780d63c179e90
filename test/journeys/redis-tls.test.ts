import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRedisBroker } from '../../src/broker/redis.js';
import { createRoom, request } from '../harness/api.js';
import { BrokerEar } from '../harness/broker-ear.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { eventually } from '../harness/eventually.js';
import { startOwnRedis, type OwnRedis } from '../harness/redis.js';
import { findFreePort } from '../harness/server-process.js';
import { QUIET } from '../harness/store-hosts.js';
import { CERTIFICATE, KEY } from '../harness/tls-front.js';
import { person } from '../harness/tokens.js';

const operations = readFileSync(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8');
/** The words of the documented command that makes the user, without the quotes of the shell. */
const documented = (/redis-cli (ACL SETUSER (?:.*\\\n)*.*)/.exec(operations)?.[1] ?? '')
  .replaceAll(/\\\n|'/g, '')
  .split(/\s+/);
const PASSWORD = 'hush';
/** What each connection sends before it has a user, and what the test sends. */
const OTHERS = new Set(['hello', 'info', 'acl|setuser', 'acl|log', 'keys', 'auth']);

describe('a Redis with TLS, and a user with the documented rights', () => {
  const ana = person({ levelOnEntity: 999 });
  let redis: OwnRedis;
  let tlsPort: number;
  let admin: Redis;
  let world: ChatWorld;
  /** The options of a URL for the files of the certificates. */
  let files: string;

  beforeAll(async () => {
    tlsPort = await findFreePort();
    redis = await startOwnRedis((folder) => {
      const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
      writeFileSync(cert, CERTIFICATE, { mode: 0o644 });
      writeFileSync(key, KEY, { mode: 0o644 });
      files = `sslrootcert=${cert}&sslcert=${cert}&sslkey=${key}`;
      const names = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert];
      return ['--tls-port', String(tlsPort), ...names, '--unixsocket', join(folder, 'redis.sock')];
    });
    admin = new Redis({ port: redis.port });
    world = await createChatWorld();
  });
  afterAll(async () => {
    await world.close();
    admin.disconnect();
    await redis.stop();
  });

  it('carry messages and count requests, with no right refused and none needless', async () => {
    const prefix = 'mine';
    const [acl = '', ...rules] = documented.map((word) =>
      word.replace('nano-messaging', prefix).replace('PASSWORD', PASSWORD),
    );
    await admin.call(acl, ...rules);
    const env = {
      REDIS_URL: `rediss://chat:${PASSWORD}@localhost:${tlsPort}?${files}`,
      REDIS_PREFIX: prefix,
      REQUESTS_PER_SECOND: '1',
      REQUESTS_BURST: '1000',
      FAILED_TOKENS_PER_MINUTE: '1000',
      POLL_INTERVAL_MS: '1000',
    };
    const [east, west] = await Promise.all([world.start(env), world.start(env)]);
    for (const node of [east, west]) {
      await eventually(async () => {
        const { content } = await request(node, 'GET', '/readyz');
        expect(content).toMatchObject({ broker: 'up' });
      });
    }
    const room = await createRoom(east, ana);
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ana, room);
    here.say('over TLS');
    expect(await there.messages(1)).toEqual(['over TLS']);
    const refused = await request(east, 'GET', '/rooms', { as: { ...ana, token: 'x' } });
    expect(refused.status).toBe(401);
    await Promise.all([here.close(), there.close()]);

    const allowed = rules.filter((rule) => rule.startsWith('+')).map((rule) => rule.slice(1));
    // Its room is left after some seconds.
    await expect.poll(sentCommands).toEqual(new Set(allowed));
    expect(await admin.acl('LOG')).toEqual([]);
    expect(await admin.keys('*')).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^mine:[0-9a-f-]{36}:requests:/),
        expect.stringMatching(/^mine:[0-9a-f-]{36}:failed-tokens:/),
      ]),
    );
  });

  it('is not used if its certificate is not known', async () => {
    const options = new URLSearchParams(files);
    options.delete('sslrootcert');
    const broker = open(`rediss://localhost:${tlsPort}?${options.toString()}`);

    await eventually(() => {
      expect(broker.problem).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    });
    expect(broker.isUp).toBe(false);
    await broker.close();
  });

  it('is reached by its Unix socket', async () => {
    const ear = new BrokerEar();
    const broker = open(`redis://?path=${redis.folder}/redis.sock`, ear);

    await ear.up(broker);
    await broker.subscribe('a');
    broker.publish('a', 'hi');
    await ear.heard('a', 'hi');
    expect(ear.messages).toEqual([['a', 'hi']]);
    await broker.close();
  });

  function open(url: string, ear = new BrokerEar()) {
    return createRedisBroker({ url, prefix: 'test', logger: QUIET, onMessage: ear.hear });
  }

  /** The commands that the nodes have sent. */
  async function sentCommands(): Promise<Set<string>> {
    const stats = await admin.info('commandstats');
    const names = [...stats.matchAll(/^cmdstat_([^:]+):/gm)].map(([, name = '']) => name);
    return new Set(names.filter((name) => !OTHERS.has(name)));
  }
});
