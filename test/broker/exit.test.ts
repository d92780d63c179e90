import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PATIENCE_MS } from '../harness/patience.js';
import { redisUrl } from '../harness/services.js';

const DIST = new URL('../../dist/src/', import.meta.url).href;

/** A port on which nothing listens. */
const NOWHERE = 'redis://127.0.0.1:1';

/** A process that opens, uses and closes a broker, and must then end by itself. */
describe('a closed broker keeps no process alive', () => {
  it.each([
    ['in the process', `createLocalBroker(() => undefined)`],
    ['over Redis', redisBroker(redisUrl())],
    ['over a missing Redis', redisBroker(NOWHERE)],
  ])('%s', async (_, create) => {
    const program = `
      import { createLocalBroker } from '${DIST}broker/local.js';
      import { createRedisBroker } from '${DIST}broker/redis.js';
      import { createLogger } from '${DIST}logger.js';
      const logger = createLogger({ level: 'silent', production: true });
      const broker = ${create};
      await broker.subscribe('a');
      broker.publish('a', 'hi');
      await broker.subscribe('b');
      const closing = broker.subscribe('c');
      broker.publish('a', 'hi');
      await broker.close();
      await closing;
      console.log('closed');
    `;

    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { timeout: PATIENCE_MS, killSignal: 'SIGKILL' },
    );

    expect(stdout).toBe('closed\n');
  });
});

function redisBroker(url: string): string {
  const options = JSON.stringify({ url, prefix: 'exit' });
  return `createRedisBroker({ ...${options}, logger, onMessage: () => undefined })`;
}
