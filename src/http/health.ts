import type { Router } from '@koa/router';
import { errorEnvelope, respond } from './envelope.js';
import { ChatError } from '../errors.js';

const PROBE_TIMEOUT_MS = 2_000;

/** What the process depends on, by name; a probe rejects where it does not answer. */
export type Probes = Readonly<Record<string, () => Promise<void>>>;

/** `GET /healthz`: the process lives. `GET /readyz`: it can serve; 503 with what does not answer. */
export function routeHealth(
  router: Router,
  { probes, isClosing }: { probes: Probes; isClosing: () => boolean },
): void {
  router.get('/healthz', (ctx) => {
    respond(ctx, { status: 'ok' });
  });

  router.get('/readyz', async (ctx) => {
    const failed = (
      await Promise.all(
        Object.entries(probes).map(async ([name, probe]) => ((await answers(probe)) ? [] : [name])),
      )
    ).flat();
    if (isClosing()) failed.push('server');
    if (failed.length === 0) {
      respond(ctx, { status: 'ok' });
      return;
    }
    const error = new ChatError('UNAVAILABLE', { detail: `not ready: ${failed.join(', ')}` });
    ctx.status = error.status;
    ctx.body = errorEnvelope(error);
  });
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
