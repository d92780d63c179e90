import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import type { Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import { createCounters } from './counters.js';
import { addNodeGauges, type WatchedNode } from './node-gauges.js';
import { addProcessGauges } from './process-gauges.js';

const PATH = /^\/metrics\/?(?:\?|$)/;

/** The metrics of a node, for Prometheus. */
export interface Metrics {
  /** Counts what the parts of the node tell it. */
  readonly observer: Observer;
  /** Adds what is read of a node, and of the process, at each scrape. */
  watch(node: WatchedNode): void;
  /** Resolves when `/metrics` is served; rejects if the port can't be had. */
  listen(): Promise<void>;
  /** The address that it listens on; undefined before `listen` and after `close`. */
  readonly address: AddressInfo | undefined;
  close(): Promise<void>;
}

/** @param address where to serve `/metrics`: a server of its own, since anybody may reach the public one */
export function createMetrics(
  address: { readonly port: number; readonly host: string },
  logger: Logger,
): Metrics {
  const registry = new Registry();
  const observer = createCounters(registry);
  let stopWatching: (() => void) | undefined;

  const answer: RequestListener = (request, response) => {
    if (!PATH.test(request.url ?? '')) {
      response.writeHead(404).end();
      return;
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end();
      return;
    }
    registry.metrics().then(
      (text) => {
        response.writeHead(200, { 'Content-Type': registry.contentType }).end(text);
      },
      (error: unknown) => {
        logger.error({ err: error }, 'reading the metrics failed');
        response.writeHead(500).end();
      },
    );
  };
  const server = createServer(answer);

  return {
    observer,

    watch(node) {
      addNodeGauges(registry, node);
      stopWatching = addProcessGauges(registry);
    },

    async listen() {
      // `once` rejects with the error of an address that can't be had. A worker shares this port with no other one.
      server.listen({ ...address, exclusive: true });
      await once(server, 'listening');
      server.on('error', (error) => {
        logger.warn({ err: error }, 'connection for metrics not accepted');
      });
    },

    get address() {
      return server.listening ? (server.address() as AddressInfo) : undefined;
    },

    async close() {
      stopWatching?.();
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
