import { fileURLToPath } from 'node:url';
import { SECRET } from './load/tokens.mjs';
import { accepts, findFreePort, startProcess } from './processes.mjs';

/** @typedef {'nano' | 'ws' | 'uws' | 'stored' | 'socketio'} Kind */
/** @typedef {{ kind: Kind, port: number, pid: number, hasEnded: () => boolean, stop: () => Promise<void> }} RunningServer */

/** @type {Record<Kind, string>} */
export const NAMES = {
  nano: 'nano-messaging',
  ws: 'bare ws',
  uws: 'uWebSockets.js',
  stored: 'ws + INSERT',
  socketio: 'Socket.IO',
};

/** @param {string} path */
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/**
 * Starts servers, each on the first core.
 *
 * @param {{
 *   postgres: Awaited<ReturnType<typeof import('./services.mjs').startPostgres>>, redisUrl: string,
 *   pin: boolean, server: string, profile: string | undefined,
 * }} options
 */
export function createServers({ postgres, redisUrl, pin, server, profile }) {
  /** @type {Map<string, Promise<string>>} */
  const databases = new Map();
  /** @type {Set<RunningServer>} */
  const started = new Set();

  /**
   * @param {string} name
   */
  function databaseUrl(name) {
    let url = databases.get(name);
    if (url === undefined) databases.set(name, (url = postgres.createDatabase(name)));
    return url;
  }

  /**
   * @param {Kind} kind
   * @param {{ database?: string, build?: string }} [options] a database of its own, else one a kind; the main
   *   file of another build of this server
   * @returns {Promise<RunningServer>}
   */
  async function start(kind, { database = kind, build = server } = {}) {
    const port = await findFreePort();
    const script = kind === 'nano' ? build : here(`peers/${kind}.mjs`);
    const profiling =
      profile !== undefined && kind === 'nano'
        ? ['--cpu-prof', `--cpu-prof-dir=${profile}/${database}`]
        : [];
    const running = await startProcess({
      command: [process.execPath, '--import', here('gc.mjs'), ...profiling, script],
      core: pin ? 0 : undefined,
      env: {
        PATH: process.env['PATH'],
        NODE_ENV: 'production',
        LOG_LEVEL: 'warn',
        HOST: '127.0.0.1',
        PORT: String(port),
        JWT_MASTER_SECRET: SECRET,
        // What a node can do, not what one user may.
        MESSAGES_PER_SECOND: '0',
        ROOM_MESSAGES_PER_SECOND: '0',
        REQUESTS_PER_SECOND: '0',
        FAILED_TOKENS_PER_MINUTE: '0',
        SOCKETS_PER_USER: '0',
        SOCKETS_PER_ADDRESS: '0',
        SOCKETS_BEFORE_READY: '0',
        DATABASE_URL: await databaseUrl(database),
        REDIS_URL: redisUrl,
      },
      ready: () => accepts(port),
    });
    const one = { kind, port, ...running };
    started.add(one);
    return one;
  }

  /** Ends those that a failed measure left behind. */
  async function stopAll() {
    await Promise.all([...started].filter(({ hasEnded }) => !hasEnded()).map(({ stop }) => stop()));
    started.clear();
  }

  return { start, stopAll, databaseUrl };
}

/** Whether uWebSockets.js has a binary for this Node; else a sentence that says why not. */
export async function problemOfUws() {
  try {
    const { default: uws } = await import('@trufflesuite/uws-js-unofficial');
    // Without its binary the package falls back to JavaScript, which has no SSLApp.
    const isNative = 'SSLApp' in uws;
    return isNative ? undefined : 'it has no binary for this Node';
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0] : String(error);
  }
}
