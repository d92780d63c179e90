import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { DatabaseAddress } from '../config/load.js';
import { StartError } from '../errors.js';
import { lockDataDir, MAX_SOCKET_PATH_BYTES, type DataDirLock } from './data-dir-lock.js';
import { startPGlite } from './pglite-thread.js';

/** PGlite's only user and only database. */
const NAME = 'postgres';
/** Part of the socket's name; nothing listens on TCP. */
const PORT = 5432;
/** `pg` appends it to a host that is a folder. */
const SOCKET_NAME = `.s.PGSQL.${PORT}`;
/** More than the one pooled connection: its replacement may come before PGlite notices that it has ended. */
const MAX_CONNECTIONS = 10;

export interface EmbeddedPostgres {
  /** A Unix socket that only this user can reach. */
  readonly address: DatabaseAddress;
  /** Resolves with the reason if the database is lost: the process has to end. */
  readonly failed: Promise<Error>;
  close(): Promise<void>;
}

/**
 * Opens the embedded Postgres in `dataDir`, for this process alone. If the last process was killed, Postgres recovers
 * from its write-ahead log.
 * @throws {DataDirInUseError}
 * @throws {StartError} if the folder can't be used, or Postgres can't open the database in it
 */
export async function startEmbeddedPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const lock = await lockDataDir(dataDir);
    return await start(dataDir, lock).catch(async (error: unknown) => {
      await lock.release();
      throw error;
    });
  } catch (error) {
    // Not writable, not a folder, read-only, full: Node's message names the path.
    if (error instanceof StartError || !isSystemError(error)) throw error;
    throw new StartError(`DATA_DIR can't be used: ${error.message}`, { cause: error });
  }
}

async function start(dataDir: string, lock: DataDirLock): Promise<EmbeddedPostgres> {
  const folder = await makeSocketFolder(dataDir);
  const thread = await startPGlite({
    folder: join(dataDir, 'postgres'),
    socket: join(folder, SOCKET_NAME),
    maxConnections: MAX_CONNECTIONS,
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
      await lock.release();
    },
  };
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

/**
 * Creates a folder of mode 0700 for the socket that `pg` connects to; PGlite asks for no password, so a TCP port would
 * be open to everybody. In dataDir, unless that path is too long for a socket.
 */
async function makeSocketFolder(dataDir: string): Promise<string> {
  const folder = resolve(dataDir, 'socket');
  if (Buffer.byteLength(join(folder, SOCKET_NAME)) > MAX_SOCKET_PATH_BYTES) {
    return mkdtemp(join(tmpdir(), 'nano-messaging-'));
  }
  // Left by a killed process: this one holds the lock.
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  return folder;
}
