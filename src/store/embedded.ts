import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { once } from 'node:events';
import type { DatabaseAddress } from '../config.js';

/** PGlite has one user and one database of this name. */
const NAME = 'postgres';
const PORT = 5432;
/** sun_path of unix(7) has 108 bytes on Linux and 104 on macOS, with the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 103;

export interface EmbeddedPostgres {
  /** Where `pg` finds it: a Unix socket that only this user can reach. */
  readonly address: DatabaseAddress;
  close(): Promise<void>;
}

/** The data folder belongs to another process that lives. */
export class DataDirInUseError extends Error {
  constructor(dataDir: string) {
    super(
      `${dataDir} is in use by another process: stop that one, or give this one a DATA_DIR of its own ` +
        `(several processes share one chat through DATABASE_URL and REDIS_URL)`,
    );
    this.name = 'DataDirInUseError';
  }
}

/**
 * Opens the embedded Postgres in `dataDir`, for this process alone. A folder that a killed process left
 * is recovered by Postgres itself, from its write-ahead log.
 * @throws {DataDirInUseError}
 */
export async function startEmbeddedPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const lock = await lockDataDir(dataDir);
  try {
    const database = await PGlite.create(join(dataDir, 'postgres'));
    // A Unix socket rather than a TCP port, in a folder of mode 0700: PGlite asks for no password. Not in
    // dataDir, whose path may be longer than a socket's may be.
    const folder = await mkdtemp(join(tmpdir(), 'nano-messaging-'));
    const socket = join(folder, `.s.PGSQL.${PORT}`);
    // More than the one pooled connection, which may be replaced before its end is noticed.
    const server = new PGLiteSocketServer({ db: database, path: socket, maxConnections: 10 });
    await server.start();
    return {
      address: {
        host: folder,
        port: PORT,
        database: NAME,
        username: NAME,
        password: undefined,
        ssl: false,
      },
      async close() {
        await server.stop();
        await database.close();
        await rm(folder, { recursive: true, force: true });
        await closeServer(lock);
      },
    };
  } catch (error) {
    await closeServer(lock);
    throw error;
  }
}

/**
 * The lock is a Unix socket that its owner listens on: the kernel ends it with the process, however that
 * ends, so that a socket nobody answers on is a dead owner's. (A file with a process id would be fooled
 * by containers, where every server is process 1.)
 */
async function lockDataDir(dataDir: string): Promise<Server> {
  const path = lockPath(dataDir);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const server = await tryListen(path);
    if (server !== undefined) return server;
    if (await isAnswered(path)) throw new DataDirInUseError(dataDir);
    await removeDeadSocket(path);
  }
  throw new DataDirInUseError(dataDir);
}

/**
 * Two processes may find the same dead socket. The one that moves it away looks again at what it has
 * moved: if that is the other's new lock, it is put back.
 */
async function removeDeadSocket(path: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (await isAnswered(aside)) await rename(aside, path);
  else await rm(aside, { force: true });
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
  } catch {
    return false;
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
  if (path === undefined) throw new Error(`the path of DATA_DIR is too long: ${dataDir}`);
  return path;
}
