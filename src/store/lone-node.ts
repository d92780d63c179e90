import type { Logger } from '../logger.js';
import type { Database } from './connect.js';
import { plain, type Statement } from './prepared.js';

/** The default of POLL_INTERVAL_MS, at which a healthy cluster compares the heads of its rooms. */
const CHECK_INTERVAL_MS = 10_000;

/** Nodes without Redis count their checks; the others only read the count. */
const COUNT: Statement = {
  name: 'count_look',
  text: 'UPDATE log_epoch SET lone_looks = lone_looks + 1 RETURNING lone_looks AS looks',
};
const READ: Statement = {
  name: 'read_looks',
  text: 'SELECT lone_looks AS looks FROM log_epoch',
};

/**
 * Warns once if two nodes use this database and at least one of them has no Redis: messages between them are late by up
 * to POLL_INTERVAL_MS.
 * @returns stops the checks
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
    check().catch((error: unknown) => {
      logger.debug({ err: error }, 'check for nodes without Redis failed');
    });
  }, CHECK_INTERVAL_MS);

  async function check(): Promise<void> {
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
