import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the ports that Linux and macOS give to outgoing connections. */
const PORTS = { min: 20_000, max: 32_000 };

/**
 * A TCP port on 127.0.0.1 that is free at the moment. No outgoing connection takes it while its server is down: the
 * proof opens many then.
 */
export async function findSteadyPort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.min, PORTS.max);
    const probe = createServer();
    try {
      await once(probe.listen(port, '127.0.0.1'), 'listening');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      continue;
    }
    await once(probe.close(), 'close');
    return port;
  }
}
