import type { Router } from '@koa/router';
import { errorEnvelope, respond } from './envelope.js';
import { ChatError } from '../errors.js';

const PROBE_TIMEOUT_MS = 2_000;
/** However many ask, the database is asked so often. */
const ANSWER_HOLDS_MS = 1_000;

export interface HealthOptions {
  /** Rejects if the database does not answer. */
  readonly pingDatabase: () => Promise<void>;
  readonly brokerIsUp: () => boolean;
  readonly isClosing: () => boolean;
}

/**
 * `GET /healthz`: the process lives. `GET /readyz`: it can serve; 503 with what keeps it from that. Without its broker
 * it can: all nodes lose it at once, and a load balancer would be left with none.
 */
export function routeHealth(
  router: Router,
  { pingDatabase, brokerIsUp, isClosing }: HealthOptions,
): void {
  const databaseAnswers = onceAWhile(() => answers(pingDatabase));

  router.get('/healthz', (ctx) => {
    respond(ctx, { status: 'ok' });
  });

  router.get('/readyz', async (ctx) => {
    const missing = (await databaseAnswers()) ? [] : ['database'];
    if (isClosing()) missing.push('server');
    if (missing.length === 0) {
      respond(ctx, { status: 'ok', broker: brokerIsUp() ? 'up' : 'down' });
      return;
    }
    const error = new ChatError('UNAVAILABLE', { detail: `not ready: ${missing.join(', ')}` });
    ctx.status = error.status;
    ctx.body = errorEnvelope(error);
  });
}

/** Asks again only if the last answer is older than ANSWER_HOLDS_MS; those who ask meanwhile share one. */
function onceAWhile(ask: () => Promise<boolean>): () => Promise<boolean> {
  let answer: Promise<boolean> | undefined;
  let askedAt = -Infinity;
  return () => {
    const now = performance.now();
    if (answer === undefined || now - askedAt >= ANSWER_HOLDS_MS) {
      askedAt = now;
      answer = ask();
    }
    return answer;
  };
}

async function answers(probe: () => Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('no answer in time'));
    }, PROBE_TIMEOUT_MS);
  });
  try {
    await Promise.race([probe(), timeout]);
    return true;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}
