import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PATIENCE_MS } from '../harness/patience.js';
import { redisUrl } from '../harness/services.js';

const DIST = new URL('../../dist/src/', import.meta.url).href;

/** Runs a program with a broker at `url`, and returns its output; rejects if the process ends by itself. */
async function run(url: string, program: string, flags: readonly string[] = []): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      ...flags,
      '--input-type=module',
      '--eval',
      `
      import { Redis } from 'ioredis';
      import { createRedisBroker } from '${DIST}broker/redis.js';
      import { createLogger } from '${DIST}logger.js';
      let onMessage = () => undefined;
      const broker = createRedisBroker({
        url: ${JSON.stringify(url)},
        prefix: 'survival-' + process.pid,
        logger: createLogger({ level: 'silent', production: true }),
        onMessage: (...news) => onMessage(...news),
      });
      const until = async (condition) => {
        while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
      };
      /** Resolves when a message has come back, even after errors. */
      const works = async () => {
        await until(() => broker.isUp);
        await broker.subscribe('end');
        await new Promise((resolve) => {
          onMessage = (channel) => channel === 'end' && resolve();
          broker.publish('end', 'end');
        });
        console.log('works');
        await broker.close();
      };
      ${program}`,
    ],
    { timeout: PATIENCE_MS, killSignal: 'SIGKILL' },
  );
  return stdout;
}

describe('the process survives', () => {
  it.each([
    '/mychat',
    '/99',
    '?connectTimeout=soon',
    '?monitor=true',
    '?sentinels=x',
    '?tls=x',
    '?replyMapping=resp3&protocol=2',
  ])('redis://host%s', async (rest) => {
    expect(await run(redisUrl() + rest, 'await works();')).toBe('works\n');
  });

  it('a listener that throws', async () => {
    const program = `
      await until(() => broker.isUp);
      await broker.subscribe('a');
      let calls = 0;
      onMessage = () => {
        calls += 1;
        throw new Error('of the listener');
      };
      for (let call = 0; call < 3; call += 1) broker.publish('a', 'hi');
      await until(() => calls === 3);
      await works();`;
    expect(await run(redisUrl(), program)).toBe('works\n');
  });

  it('more channels than a call may have arguments, and has them again after a reconnect', async () => {
    const program = `
      await until(() => broker.isUp);
      let reconnects = 0;
      broker.onReconnect(() => (reconnects += 1));
      const names = Array.from({ length: 20_000 }, (_, at) => 'room:' + at);
      await Promise.all(names.map((name) => broker.subscribe(name)));
      const admin = new Redis('${redisUrl()}');
      const clients = (await admin.client('LIST', 'TYPE', 'pubsub')).split('\\n');
      const subscriber = clients.find((client) => client.includes(' sub=20000 '));
      await admin.client('KILL', 'ID', /id=(\\d+)/.exec(subscriber)[1]);
      admin.disconnect();
      await until(() => reconnects === 1);
      const heard = new Set();
      onMessage = (channel) => heard.add(channel);
      for (const name of [names[0], names[9_999], names.at(-1)]) broker.publish(name, 'hi');
      await until(() => heard.size === 3);
      await works();`;
    // With a smaller stack than usual, this number of arguments is too large for a call.
    expect(await run(redisUrl(), program, ['--stack-size=200'])).toBe('works\n');
  });
});
