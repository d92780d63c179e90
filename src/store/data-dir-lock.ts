import { once } from 'node:events';
import { mkdir, rm, stat } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { relative, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { StartError } from '../errors.js';

/** sun_path of unix(7) has 108 bytes on Linux and 104 on macOS, with the closing NUL. */
export const MAX_SOCKET_PATH_BYTES = 103;
/** A process that finds the guard taken tries again after this long; its owner needs it for a few milliseconds. */
const RETRY_MS = 20;
/** The guard of a process that was killed is removed at this age, a thousand times what its owner needs. */
const GUARD_MAX_AGE_MS = 10_000;

/** Another process that runs uses the data folder. */
export class DataDirInUseError extends StartError {
  override readonly name = 'DataDirInUseError';

  constructor(dataDir: string) {
    super(
      `${dataDir} is in use by another process: stop that one, or give this one a DATA_DIR of its own ` +
        `(several processes share one chat through DATABASE_URL and REDIS_URL)`,
    );
  }
}

/** The right to use a data folder, until it is released or the process ends. */
export interface DataDirLock {
  release(): Promise<void>;
}

/**
 * Locks an existing data folder for this process. The lock is a Unix socket that its owner listens on: the kernel
 * closes it with the process, however that ends, so a socket that refuses connections has a dead owner. (A file with a
 * process id fails in containers, in which every server is process 1.)
 * @throws {DataDirInUseError}
 * @throws {StartError} if the folder's path is too long for a socket
 */
export async function lockDataDir(dataDir: string): Promise<DataDirLock> {
  const path = lockPath(dataDir);
  for (;;) {
    const server = await listenAlone(path);
    if (server !== undefined) return { release: () => closeServer(server) };
    if (await isAnswered(path)) throw new DataDirInUseError(dataDir);
    await delay(RETRY_MS);
  }
}

/**
 * Listens on the path, and first removes the socket of a dead owner; undefined if another process listens there or
 * holds the guard. The guard lets one process at a time check, remove and listen: else a second one could remove the
 * socket that the first has just created and does not answer on yet.
 */
async function listenAlone(path: string): Promise<Server | undefined> {
  const guard = `${path}.guard`;
  if (!(await tryMakeGuard(guard))) return undefined;
  try {
    const server = await tryListen(path);
    if (server !== undefined || (await isAnswered(path))) return server;
    await rm(path, { force: true });
    return await tryListen(path);
  } finally {
    await rm(guard, { recursive: true, force: true });
  }
}

async function tryMakeGuard(guard: string): Promise<boolean> {
  try {
    await mkdir(guard);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const made = await stat(guard).catch(() => undefined);
    // oxlint-disable-next-line no-restricted-properties -- a file's mtime is a date
    if (made !== undefined && Math.abs(Date.now() - made.mtimeMs) > GUARD_MAX_AGE_MS) {
      await rm(guard, { recursive: true, force: true });
    }
    return false;
  }
}

async function tryListen(path: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  server.listen(path);
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined;
    throw error;
  }
  // The lock alone must not keep the process alive.
  return server.unref();
}

async function isAnswered(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Refused: the owner is dead. Missing: it has just closed the socket. Any other error does not tell.
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false;
    throw error;
  } finally {
    socket.destroy();
  }
}

function closeServer(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => {
      done();
    });
  });
}

/** The absolute path, or the relative one if that is too long for the kernel. */
function lockPath(dataDir: string): string {
  const absolute = resolve(dataDir, 'lock');
  const path = [absolute, relative('', absolute)].find(
    (candidate) => Buffer.byteLength(candidate) <= MAX_SOCKET_PATH_BYTES,
  );
  if (path === undefined) throw new StartError(`the path of DATA_DIR is too long: ${dataDir}`);
  return path;
}
