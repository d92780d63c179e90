import type { Logger } from '../logger.js';
import type { Database } from './connect.js';
import { plain, type Statement } from './prepared.js';

/** As often as a healthy cluster compares the heads of its rooms. */
const LOOK_INTERVAL_MS = 10_000;

/** Nodes without Redis count their looks; the others only read the count. */
const COUNT: Statement = {
  name: 'count_look',
  text: 'UPDATE log_epoch SET lone_looks = lone_looks + 1 RETURNING lone_looks AS looks',
};
const READ: Statement = {
  name: 'read_looks',
  text: 'SELECT lone_looks AS looks FROM log_epoch',
};

/**
 * Warns once if a node without Redis runs beside this one, or beside another if this one has none: messages between
 * them are late by POLL_INTERVAL_MS.
 * @returns ends it
 */
export function watchForLoneNodes({
  database,
  isLone,
  logger,
}: {
  database: Database;
  /** Whether this node has no Redis. */
  isLone: boolean;
  logger: Logger;
}): () => void {
  const run = plain(database.rooms);
  let expected: number | undefined;
  const timer = setInterval(() => {
    look().catch((error: unknown) => {
      logger.debug({ err: error }, 'could not look for nodes without Redis');
    });
  }, LOOK_INTERVAL_MS);

  async function look(): Promise<void> {
    const [row] = await run(isLone ? COUNT : READ, []);
    const { looks } = row as { looks: number };
    const isAlone = expected === undefined || looks === expected;
    expected = isLone ? looks + 1 : looks;
    if (isAlone) return;
    clearInterval(timer);
    logger.warn(
      'another process uses this database, and at least one has no REDIS_URL: messages between them are late',
    );
  }

  return () => {
    clearInterval(timer);
  };
}
