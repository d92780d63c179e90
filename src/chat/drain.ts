import { setTimeout as delay } from 'node:timers/promises';
import type { Session } from './session.js';

/** How often sockets are closed: so seldom that it costs nothing, so often that no step is a herd. */
const STEP_MS = 50;

/**
 * Closes sessions with 1012 one after the other, evenly over `ms`, so that their clients don't all come to the other
 * nodes at once. Each session is served until its turn, and is told at once when that is. Resolves when none is left.
 */
export async function drain(sessions: ReadonlySet<Session>, ms: number): Promise<void> {
  const startedAt = performance.now();
  const turns = [...sessions].map((session, index) => ({
    session,
    afterMs: Math.round((ms * (index + 1)) / sessions.size),
  }));
  for (const { session, afterMs } of turns) session.closesAfter(afterMs);
  for (const { session, afterMs } of turns) {
    while (sessions.has(session) && performance.now() - startedAt < afterMs) await delay(STEP_MS);
    if (sessions.has(session)) session.close('RESTART');
  }
}
