import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installDebianPackage, pathFolders } from './programs.js';
import { createServerFolder, findFreePort } from './server-process.js';

/** The file that docker-compose.scale.yml mounts. */
export const HAPROXY_CONFIG = fileURLToPath(
  new URL('../../deploy/haproxy/haproxy.cfg', import.meta.url),
);

export interface Haproxy {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  stop(): Promise<void>;
}

/** The program, from those on this machine or apt-get; undefined if it can't be had. */
export async function findHaproxy(): Promise<string | undefined> {
  if (find() === undefined) await installDebianPackage('haproxy').catch(() => undefined);
  return find();
}

/** Starts HAProxy with the project's own configuration, in front of three nodes. */
export async function startHaproxy(
  program: string,
  nodes: readonly { readonly url: string }[],
): Promise<Haproxy> {
  const folder = createServerFolder('haproxy');
  const address = `127.0.0.1:${await findFreePort()}`;
  const url = `http://${address}`;
  const server = await folder.start({
    file: program,
    args: ['-db', '-f', HAPROXY_CONFIG],
    env: {
      BIND: address,
      ...Object.fromEntries(
        nodes.map((node, index) => [`NODE_${index + 1}`, new URL(node.url).host]),
      ),
    },
    async ready() {
      const { ok } = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) });
      if (!ok) throw new Error('not ready');
    },
    stopSignal: 'SIGTERM',
    orphanSignal: 'SIGTERM',
  });
  return { url, stop: () => server.stop() };
}

/** Debian has it in /usr/sbin, which only the PATH of root names. */
function find(): string | undefined {
  const files = [...pathFolders(), '/usr/sbin'].map((folder) => join(folder, 'haproxy'));
  return files.find((file) => existsSync(file));
}
