import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { startExitGuard } from './exit-guard.js';
import { untilReady } from './server-process.js';

const docker = (args: string[], timeout = 0) => promisify(execFile)('docker', args, { timeout });

/** Whether a Docker daemon answers. */
export function dockerAnswers(): Promise<boolean> {
  return docker(['info'], 10_000).then(
    () => true,
    () => false,
  );
}

/** Starts a container with one port published on 127.0.0.1, and waits until it is ready. */
export async function startContainer(container: {
  port: number;
  environment: Record<string, string>;
  /** The image and its command. */
  image: string[];
  /** One attempt to reach the server, as in ServerOptions. */
  ready(hostPort: number): Promise<void>;
}): Promise<{ port: number; stop(): Promise<void> }> {
  const name = `nano-messaging-test-${randomUUID()}`;
  const remove = ['rm', '--force', '--volumes', name];
  const guard = startExitGuard();
  guard.arm(`docker ${remove.join(' ')}`);
  async function stop(): Promise<void> {
    await docker(remove);
    guard.disarm();
  }
  const options = ['--rm', '-d', '--name', name, '-p', `127.0.0.1::${container.port}`];
  for (const [variable, value] of Object.entries(container.environment)) {
    options.push('-e', `${variable}=${value}`);
  }
  try {
    await docker(['run', ...options, ...container.image]);
    const address = (await docker(['port', name, `${container.port}/tcp`])).stdout;
    const port = Number(/:(\d+)\s*$/.exec(address)?.[1]);
    await untilReady(() => container.ready(port));
    return { port, stop };
  } catch (error) {
    await stop().catch(() => undefined); // The first error is the one that tells.
    throw error;
  }
}
