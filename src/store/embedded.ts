import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { join, relative, resolve } from 'node:path';
import { once } from 'node:events';
import type { DatabaseAddress } from '../config/load.js';
import { StartError } from '../errors.js';
import { startPGlite } from './pglite-thread.js';

/** PGlite has one user and one database of this name. */
const NAME = 'postgres';
const PORT = 5432;
/** What `pg` adds to a folder that it is given as a host. */
const SOCKET_NAME = `.s.PGSQL.${PORT}`;
/** sun_path of unix(7) has 108 bytes on Linux and 104 on macOS, with the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 103;
const TAKE_OVER_RETRY_MS = 20;
const GUARD_MAX_AGE_MS = 10_000;

export interface EmbeddedPostgres {
  /** Where `pg` finds it: a Unix socket that only this user can reach. */
  readonly address: DatabaseAddress;
  /** Resolves with the reason if the database is lost; the process can't go on. */
  readonly failed: Promise<Error>;
  close(): Promise<void>;
}

/** The data folder belongs to another process that lives. */
export class DataDirInUseError extends StartError {
  override readonly name = 'DataDirInUseError';

  constructor(dataDir: string) {
    super(
      `${dataDir} is in use by another process: stop that one, or give this one a DATA_DIR of its own ` +
        `(several processes share one chat through DATABASE_URL and REDIS_URL)`,
    );
  }
}

/**
 * Opens the embedded Postgres in `dataDir`, for this process alone. A folder that a killed process left
 * is recovered by Postgres itself, from its write-ahead log.
 * @throws {StartError} if the folder can't be used, or Postgres can't open what is there; {DataDirInUseError}
 */
export async function startEmbeddedPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const lock = await lockDataDir(dataDir);
    return await start(dataDir, lock).catch(async (error: unknown) => {
      await closeServer(lock);
      throw error;
    });
  } catch (error) {
    // Not writable, a file, read-only, full: what Node says has the path.
    if (error instanceof StartError || !isSystemError(error)) throw error;
    throw new StartError(`DATA_DIR can't be used: ${error.message}`, { cause: error });
  }
}

async function start(dataDir: string, lock: Server): Promise<EmbeddedPostgres> {
  const folder = await makeSocketFolder(dataDir);
  const thread = await startPGlite({
    folder: join(dataDir, 'postgres'),
    socket: join(folder, SOCKET_NAME),
    // More than the one pooled connection, which may be replaced before its end is noticed.
    maxConnections: 10,
  });
  return {
    address: {
      host: folder,
      port: PORT,
      database: NAME,
      username: NAME,
      password: undefined,
      ssl: false,
    },
    failed: thread.failed,
    async close() {
      await thread.close();
      await rm(folder, { recursive: true, force: true });
      await closeServer(lock);
    },
  };
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

/**
 * A folder of mode 0700 for the socket that `pg` connects to: rather than a TCP port, as PGlite asks for no
 * password. In dataDir, unless its path is longer than a socket's may be.
 */
async function makeSocketFolder(dataDir: string): Promise<string> {
  const folder = resolve(dataDir, 'socket');
  if (Buffer.byteLength(join(folder, SOCKET_NAME)) > MAX_SOCKET_PATH_BYTES) {
    return mkdtemp(join(tmpdir(), 'nano-messaging-'));
  }
  // What a killed process left there is nobody's: this one holds the lock.
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  return folder;
}

/**
 * The lock is a Unix socket that its owner listens on: the kernel ends it with the process, however that
 * ends, so that a socket nobody answers on is a dead owner's. (A file with a process id would be fooled
 * by containers, where every server is process 1.)
 */
async function lockDataDir(dataDir: string): Promise<Server> {
  const path = lockPath(dataDir);
  for (;;) {
    const server = await listenAlone(path);
    if (server !== undefined) return server;
    if (await isAnswered(path)) throw new DataDirInUseError(dataDir);
    await delay(TAKE_OVER_RETRY_MS);
  }
}

/**
 * Listens, in place of a dead owner if need be, or not where somebody else does. One process at a time looks,
 * removes and listens: else the second could remove what the first has just put there, and does not answer on yet.
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
    // It is there for milliseconds, unless its maker was killed then.
    // oxlint-disable-next-line no-restricted-properties -- what a file says is a date
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
  // The lock alone keeps no process alive.
  return server.unref();
}

async function isAnswered(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Refused: its owner is dead. Missing: it has just been closed. Anything else is no answer to the question.
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

/** The shorter of the absolute and the relative path, as the kernel takes only so many bytes. */
function lockPath(dataDir: string): string {
  const absolute = resolve(dataDir, 'lock');
  const path = [absolute, relative('', absolute)].find(
    (candidate) => Buffer.byteLength(candidate) <= MAX_SOCKET_PATH_BYTES,
  );
  if (path === undefined) throw new StartError(`the path of DATA_DIR is too long: ${dataDir}`);
  return path;
}
