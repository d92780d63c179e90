import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';

/** The secret of every receiver of the tests. */
export const WEBHOOK_SECRET = `whsec_${Buffer.from('a secret of the tests with 40 characters').toString('base64')}`;

/** A request that a receiver got. */
export interface Delivery {
  readonly id: string;
  readonly path: string;
  /** Its JSON. */
  readonly body: { readonly type: string; readonly timestamp: string; readonly data: EventData };
  readonly headers: Readonly<Record<string, string>>;
}

export type EventData = Readonly<Record<string, unknown>>;

/** The server of an application, which gets webhooks. */
export interface Receiver {
  readonly url: string;
  /** All requests in the order of their arrival, also those that it refused. */
  readonly got: readonly Delivery[];
  /** What it has answered with 2xx, in that order. */
  readonly taken: readonly Delivery[];
  /** How it answers; by default 204. */
  answer: (delivery: Delivery, response: ServerResponse) => void;
  /** Resolves when `isSo`, which is looked at behind each request and each answer. The test's time limit is its patience. */
  until(isSo: () => boolean): Promise<void>;
  /** Ends all connections; `open` listens on the same port again. */
  close(): Promise<void>;
  open(): Promise<void>;
}

/** Each request must have a valid signature, or it is answered with 401 and an error is thrown by `until`. */
export async function startReceiver(): Promise<Receiver> {
  const webhook = new Webhook(WEBHOOK_SECRET);
  const got: Delivery[] = [];
  const taken: Delivery[] = [];
  const waiting = new Set<() => void>();
  const look = (): void => {
    for (const one of waiting) one();
  };
  let problem: Error | undefined;

  const server = createServer((request, response) => {
    void (async () => {
      const payload = await text(request);
      const headers = request.headers as Record<string, string>;
      try {
        webhook.verify(payload, headers);
      } catch (error) {
        problem = error as Error;
        response.writeHead(401).end();
        look();
        return;
      }
      const delivery = {
        id: headers['webhook-id'] ?? '',
        path: request.url ?? '',
        body: JSON.parse(payload) as Delivery['body'],
        headers,
      };
      got.push(delivery);
      response.on('finish', () => {
        if (response.statusCode >= 200 && response.statusCode < 300) taken.push(delivery);
        look();
      });
      receiver.answer(delivery, response);
      look();
    })().catch(() => undefined);
  });
  let port = 0;
  async function open(): Promise<void> {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  }
  await open();

  const receiver: Receiver = {
    url: `http://127.0.0.1:${port}/hooks`,
    got,
    taken,
    answer: (_, response) => {
      response.writeHead(204).end();
    },
    until: (isSo) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          if (problem === undefined && !isSo()) return;
          waiting.delete(check);
          if (problem === undefined) resolve();
          else reject(problem);
        };
        waiting.add(check);
        check();
      }),
    open,
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return receiver;
}
