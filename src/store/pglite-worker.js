// @ts-check
// PGlite behind a Unix socket, in a thread of its own (pglite-thread.ts): it blocks its thread while it works, for seconds
// when a database is made, and for ever when it is broken. In JavaScript, as Node starts it from src/ as well as from dist/.
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

/** @type {{ folder: string, socket: string, maxConnections: number }} */
const { folder, socket, maxConnections } = workerData;

/** What a file system refuses, by the numbers of WASI: where Postgres does not say it, as the database is made. */
const FILE_ERRORS = new Map([
  [2, 'Permission denied'],
  [19, 'Disk quota exceeded'],
  [22, 'File too large'],
  [29, 'Input/output error'],
  [51, 'No space left on device'],
  [69, 'Read-only file system'],
]);

/** What Postgres complained of last. */
let lastWords = '';

/**
 * @param {string} line of Postgres' log
 * @returns {boolean} whether it is printed
 */
function readLog(line) {
  const [, words] = /\b(?:ERROR|FATAL|PANIC): +(.*)/.exec(line) ?? [];
  if (words !== undefined) lastWords = words;
  // A PANIC, and all else that WebAssembly does not survive. PGlite goes on, with what is left in its memory: the next
  // statement may hang for ever, or worse.
  if (line.startsWith('Aborted(')) fail(lastWords || line);
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
  const said = FILE_ERRORS.get(errno ?? 0) ?? lastWords;
  fail(said || (error instanceof Error ? error.message : `error ${errno}`));
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
