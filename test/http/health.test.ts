import { Router } from '@koa/router';
import Koa from 'koa';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createErrorHandler } from '../../src/http/error-handler.js';
import { healthRoutes } from '../../src/http/health.js';
import { createReadiness } from '../../src/http/readiness.js';
import { serve, type RouteState, type Services } from '../../src/http/route.js';
import { eventually } from '../harness/eventually.js';
import { QUIET } from '../harness/store-hosts.js';

interface Answer {
  readonly status: number;
  readonly body: { readonly meta: { readonly detail?: string }; readonly content: object };
}

describe('/readyz', () => {
  const pingDatabase = vi.fn<() => Promise<void>>();
  let brokerIsUp: boolean;
  let isClosing: boolean;
  let server: ReturnType<typeof createServer>;

  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
    pingDatabase.mockReset().mockResolvedValue();
    [brokerIsUp, isClosing] = [true, false];
    const app = new Koa();
    const router = new Router<RouteState>();
    const readiness = createReadiness({
      pingDatabase,
      brokerIsUp: () => brokerIsUp,
      isClosing: () => isClosing,
    });
    for (const route of healthRoutes) {
      router.register(route.path, [route.method], serve(route, { readiness } as Services));
    }
    app.use(createErrorHandler(QUIET));
    app.use(router.routes());
    const handle = app.callback();
    server = createServer((request, response) => void handle(request, response)).listen(0);
    await once(server, 'listening');
  });
  afterEach(() => {
    vi.useRealTimers();
    server.close();
    server.closeAllConnections();
  });

  async function ask(): Promise<Answer> {
    const { port } = server.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    return { status: response.status, body: (await response.json()) as Answer['body'] };
  }

  it('is 200 if the broker is down, and reports that', async () => {
    expect(await ask()).toMatchObject({ status: 200, body: { content: { broker: 'up' } } });
    brokerIsUp = false;
    expect(await ask()).toMatchObject({ status: 200, body: { content: { broker: 'down' } } });
  });

  it('is 503 if the database does not answer', async () => {
    pingDatabase.mockRejectedValue(new Error('no'));
    const answer = await ask();
    expect(answer).toMatchObject({
      status: 503,
      body: { meta: { detail: 'not ready: database' } },
    });
  });

  it('is 503 if the database hangs', async () => {
    pingDatabase.mockReturnValue(new Promise(() => undefined));
    const answer = ask();
    await eventually(() => {
      expect(pingDatabase).toHaveBeenCalled();
    });
    vi.advanceTimersByTime(2_000);
    expect((await answer).status).toBe(503);
  });

  it('is 503 as soon as the server shuts down', async () => {
    expect((await ask()).status).toBe(200);
    isClosing = true;
    const answer = await ask();
    expect(answer).toMatchObject({ status: 503, body: { meta: { detail: 'not ready: server' } } });
  });

  it('asks the database once a second, however many requests there are', async () => {
    await Promise.all(Array.from({ length: 20 }, ask));
    expect(pingDatabase).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(999);
    await ask();
    expect(pingDatabase).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(1);
    pingDatabase.mockRejectedValue(new Error('no'));
    expect((await ask()).status).toBe(503);
    expect(pingDatabase).toHaveBeenCalledTimes(2);
  });
});
