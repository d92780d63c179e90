import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { createVerifier } from '../../src/access/token.js';
import { createActions } from '../../src/actions/actions.js';
import { createApp } from '../../src/http/app.js';
import type { Store } from '../../src/store/store.js';
import { request } from '../harness/api.js';
import { deferred } from '../harness/deferred.js';
import { SECRET } from '../harness/node.js';
import { LIMITS, NO_ERASURES, NO_REVOCATIONS, QUIET } from '../harness/store-hosts.js';
import { person } from '../harness/tokens.js';

it('a request that the store never answers is UNAVAILABLE in time, and a late result is dropped', async () => {
  const late = deferred();
  const rulesOf = (): Promise<never[]> => late.promise.then(() => []);
  const verify = createVerifier({ secrets: [SECRET] });
  const app = createApp({
    actions: createActions({
      store: { rooms: { rulesOf } } as unknown as Store,
      hub: {
        publish: () => undefined,
        active: () => undefined,
        announceStored: () => undefined,
        created: () => undefined,
        open: () => Promise.resolve(undefined),
        publishDeletion: () => undefined,
        publishRevocation: () => undefined,
        markerMoved: () => undefined,
        invite: () => undefined,
        online: () => Promise.resolve(new Set()),
      },
      revocations: NO_REVOCATIONS,
      erasures: NO_ERASURES,
      verify,
      directRoomLevel: 0,
      limits: LIMITS,
      logger: QUIET,
    }),
    uploads: new WeakSet(),
    tokens: { verify },
    addressOf: () => '',
    requestRate: undefined,
    readiness: { missing: () => Promise.resolve([]), brokerIsUp: true },
    isClosing: () => false,
    corsOrigins: '*',
    timeZone: 'UTC',
    devUsers: undefined,
    page: undefined,
    limits: { ...LIMITS, storeTimeoutMs: 100 },
    logger: QUIET,
  });
  const handle = app.callback();
  const server = createServer((incoming, outgoing) => {
    void handle(incoming, outgoing);
  }).listen(0, '127.0.0.1');
  onTestFinished(async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  });
  await once(server, 'listening');
  const node = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };

  const answer = await request(node, 'GET', '/rooms', { as: person() });
  expect(answer).toMatchObject({ status: 503, meta: { reason: 'UNAVAILABLE' }, content: {} });
  late.resolve();
  const next = await request(node, 'GET', '/rooms', { as: person() });
  expect(next).toMatchObject({ status: 200, content: [] });
});
