// @ts-check
// PGlite behind a Unix socket, in a thread of its own (pglite-thread.ts), because it blocks its thread while it works: for
// seconds while it creates a database, for ever once it is broken. In JavaScript, so that Node runs it from src/ and dist/.
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

/** @type {{ folder: string, socket: string, maxConnections: number }} */
const { folder, socket, maxConnections } = workerData;

/** File errors by their number in WASI, for those that Postgres does not log while a database is created. */
const FILE_ERRORS = new Map([
  [2, 'Permission denied'],
  [19, 'Disk quota exceeded'],
  [22, 'File too large'],
  [29, 'Input/output error'],
  [51, 'No space left on device'],
  [69, 'Read-only file system'],
]);

/** The last error in Postgres' log. */
let lastError = '';

/**
 * @param {string} line of Postgres' log
 * @returns {boolean} whether to print it
 */
function readLog(line) {
  const [, message] = /\b(?:ERROR|FATAL|PANIC): +(.*)/.exec(line) ?? [];
  if (message !== undefined) lastError = message;
  // After a PANIC, and whatever else WebAssembly does not survive, PGlite goes on with a broken memory: the next statement
  // may hang for ever, or return wrong rows.
  if (line.startsWith('Aborted(')) fail(lastError || line);
  return false;
}

/**
 * @param {string} reason
 * @returns {never}
 */
function fail(reason) {
  parentPort?.postMessage({ failed: reason });
  process.exit(1);
}

/** @param {unknown} error */
function failWith(error) {
  const errno = /** @type {{ errno?: number } | null} */ (error)?.errno;
  const reason = FILE_ERRORS.get(errno ?? 0) ?? lastError;
  fail(reason || (error instanceof Error ? error.message : `error ${errno}`));
}

/**
 * @param {PGLiteSocketServer} server
 * @param {PGlite} database
 */
async function close(server, database) {
  await server.stop();
  await database.close();
  process.exit();
}

process.on('uncaughtException', failWith);
try {
  const database = await PGlite.create(folder, { onStderr: readLog });
  const server = new PGLiteSocketServer({ db: database, path: socket, maxConnections });
  await server.start();
  parentPort?.on('message', (message) => {
    if (message === 'ping') parentPort?.postMessage('pong');
    else close(server, database).catch(failWith);
  });
  parentPort?.postMessage('ready');
} catch (error) {
  failWith(error);
}
