import { ChatError } from '../errors.js';
import { healthContent, readinessContent } from './answers.js';
import { route, type Route } from './route.js';

/** `GET /healthz`: the process lives. */
const healthz = route({
  method: 'GET',
  path: '/healthz',
  access: 'open',
  about: {
    name: 'isAlive',
    tag: 'Server',
    summary: 'The process lives',
    who: 'anybody, no token',
    content: healthContent,
  },
  handle: () => ({ content: { status: 'ok' } }),
});

/**
 * `GET /readyz`: 200 if the node can serve, or else 503 with the missing parts. A missing broker is no reason for 503:
 * all nodes lose it at once, and a load balancer would be left with none.
 */
const readyz = route({
  method: 'GET',
  path: '/readyz',
  access: 'open',
  about: {
    name: 'isReady',
    tag: 'Server',
    summary: 'The process can serve',
    who: 'anybody, no token',
    content: readinessContent,
    errors: ['UNAVAILABLE'],
  },
  async handle(_request, { readiness }) {
    const missing = await readiness.missing();
    if (missing.length > 0) {
      throw new ChatError('UNAVAILABLE', { detail: `not ready: ${missing.join(', ')}` });
    }
    return { content: { status: 'ok', broker: readiness.brokerIsUp ? 'up' : 'down' } };
  },
});

export const healthRoutes: readonly Route[] = [healthz, readyz];
