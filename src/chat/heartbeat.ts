import type { Limits } from '../config.js';
import type { Logger } from '../logger.js';
import { closeFullest, type Backlog } from './backlog.js';
import type { Session } from './session.js';

const MAX_SWEEP_INTERVAL_MS = 1_000;
const MIN_SWEEP_INTERVAL_MS = 20;

/**
 * One sweep for all sockets, instead of timers for each: deadlines are kept to within a second, or a
 * quarter of the shortest one where that is less.
 * @returns ends it
 */
export function startHeartbeat(
  sessions: ReadonlySet<Session>,
  backlog: Backlog,
  limits: Limits,
  logger: Logger,
): () => void {
  const { authTimeoutMs, pingIntervalMs, pongTimeoutMs, sendTimeoutMs } = limits;
  const shortest = Math.min(authTimeoutMs, pingIntervalMs, pongTimeoutMs, sendTimeoutMs);
  const interval = Math.max(
    MIN_SWEEP_INTERVAL_MS,
    Math.min(MAX_SWEEP_INTERVAL_MS, Math.floor(shortest / 4)),
  );
  const timer = setInterval(() => {
    const now = performance.now();
    for (const session of sessions) session.sweep(now);
    const closed = closeFullest(sessions, backlog, limits.outboxTotalBytes);
    if (closed > 0) logger.warn({ closed }, 'too much waits to be read: the fullest are closed');
  }, interval);
  return () => {
    clearInterval(timer);
  };
}
