import type { Limits } from '../config/load.js';
import type { Session } from './session.js';

/** Deadlines have seconds, and may be kept a second late. */
const MAX_SWEEP_INTERVAL_MS = 1_000;
/** Only deadlines of less than 80 ms, as tests have them, would be checked more often. */
const MIN_SWEEP_INTERVAL_MS = 20;

/**
 * One sweep over all sessions instead of a timer per socket: deadlines are kept to within a second, or to within
 * a quarter of the shortest one, if that is less.
 * @returns stops the sweeps
 */
export function startHeartbeat(sessions: ReadonlySet<Session>, limits: Limits): () => void {
  const { authTimeoutMs, pingIntervalMs, pongTimeoutMs, sendTimeoutMs } = limits;
  const shortest = Math.min(authTimeoutMs, pingIntervalMs, pongTimeoutMs, sendTimeoutMs);
  const interval = Math.max(
    MIN_SWEEP_INTERVAL_MS,
    Math.min(MAX_SWEEP_INTERVAL_MS, Math.floor(shortest / 4)),
  );
  const timer = setInterval(() => {
    const now = performance.now();
    // oxlint-disable-next-line no-restricted-properties -- tokens end at a date
    const date = Math.floor(Date.now() / 1000);
    for (const session of sessions) session.sweep(now, date);
  }, interval);
  return () => {
    clearInterval(timer);
  };
}
