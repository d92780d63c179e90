import { Counter, type Registry } from 'prom-client';
import { withDeadline } from '../deadline.js';
import type { Version } from '../protocol/versions.js';
import { Gauges } from './gauges.js';

/** What a scrape reads of a node. */
export interface WatchedNode {
  readonly chat: {
    readonly sessions: Iterable<{
      readonly version: Version;
      /** Whether a token was accepted. */
      readonly isReady: boolean;
      readonly writer: { readonly isFull: boolean };
    }>;
    readonly backlogBytes: number;
  };
  readonly hub: {
    readonly roomCount: number;
    readonly peerCount: number;
    readonly brokerIsUp: boolean;
  };
  /** The messages that wait to be stored. */
  readonly unsettled: () => { readonly entries: number; readonly bytes: number };
  readonly poolUses: () => readonly PoolUse[];
  readonly epoch: { readonly uuid: string; onChange(listener: () => void): void };
  /** Undefined without WEBHOOK_URL. */
  readonly webhookBacklog?:
    (() => Promise<{ readonly rooms: number; readonly oldest: Date | null }>) | undefined;
}

/** The connections of a pool to Postgres. */
interface PoolUse {
  readonly pool: string;
  /** Those that are open. */
  readonly open: number;
  /** Those of them that work. */
  readonly used: number;
  /** Queries that wait for a connection. */
  readonly waiting: number;
}

/** Adds the metrics of a node's state. */
export function addNodeGauges(
  registry: Registry,
  { chat, hub, unsettled, poolUses, epoch, webhookBacklog }: WatchedNode,
): void {
  const gauges = new Gauges(registry);
  gauges.addLabelled({
    name: 'nano_messaging_sockets',
    help: 'Open sockets, by version of the wire; greeting: no token was accepted yet',
    labelNames: ['version', 'state'],
    collect() {
      for (const version of [1, 2]) {
        for (const state of ['greeting', 'ready']) this.set({ version, state }, 0);
      }
      for (const { version, isReady } of chat.sessions) {
        this.inc({ version, state: isReady ? 'ready' : 'greeting' });
      }
    },
  });
  gauges.add('nano_messaging_sockets_full', 'Open sockets that have OUTBOX_BYTES unsent', () => {
    let full = 0;
    for (const { writer } of chat.sessions) if (writer.isFull) full += 1;
    return full;
  });
  gauges.add(
    'nano_messaging_backlog_bytes',
    'Bytes that wait for sockets to read them, as OUTBOX_TOTAL_BYTES counts them',
    () => chat.backlogBytes,
  );
  gauges.add('nano_messaging_rooms', 'Rooms that are open on this node', () => hub.roomCount);
  gauges.add('nano_messaging_peers', 'Other nodes that are heard', () => hub.peerCount);
  gauges.add(
    'nano_messaging_broker_up',
    '1 if this node hears its own heartbeats through the broker, otherwise 0',
    () => (hub.brokerIsUp ? 1 : 0),
  );
  gauges.add(
    'nano_messaging_unsettled_messages',
    'Messages that wait to be stored, as LOG_QUEUE_ENTRIES counts them',
    () => unsettled().entries,
  );
  gauges.add(
    'nano_messaging_unsettled_bytes',
    'Bytes of these messages, as LOG_QUEUE_BYTES counts them',
    () => unsettled().bytes,
  );
  gauges.addLabelled({
    name: 'nano_messaging_pool_connections',
    help: 'Open connections to Postgres, by pool',
    labelNames: ['pool', 'state'],
    collect() {
      for (const { pool, open, used } of poolUses()) {
        this.set({ pool, state: 'used' }, used);
        this.set({ pool, state: 'idle' }, open - used);
      }
    },
  });
  gauges.addLabelled({
    name: 'nano_messaging_pool_waiting',
    help: 'Queries that wait for a connection, by pool',
    labelNames: ['pool'],
    collect() {
      for (const { pool, waiting } of poolUses()) this.set({ pool }, waiting);
    },
  });
  gauges.addLabelled({
    name: 'nano_messaging_epoch_info',
    help: 'The identity of the log, the same on all nodes of a database; always 1',
    labelNames: ['epoch'],
    collect() {
      this.reset();
      this.set({ epoch: epoch.uuid }, 1);
    },
  });
  if (webhookBacklog !== undefined) addWebhookGauges(gauges, webhookBacklog);
  const epochChanges = new Counter({
    name: 'nano_messaging_epoch_changes_total',
    help: 'Times that the log went back, so that all sessions began anew',
    registers: [registry],
  });
  epoch.onChange(() => {
    epochChanges.inc();
  });
}

/** For the answer of the database: Prometheus gives a scrape up after 10 s by default, and then has no number at all. */
const BACKLOG_TIMEOUT_MS = 1_000;

/** Of all nodes together. If the database does not answer in time, a scrape has the numbers of the last one. */
function addWebhookGauges(
  gauges: Gauges,
  backlog: NonNullable<WatchedNode['webhookBacklog']>,
): void {
  let oldest: Date | null = null;
  gauges.addLabelled({
    name: 'nano_messaging_webhook_rooms_waiting',
    help: 'Rooms with events that WEBHOOK_URL has not taken, on all nodes; 1000 means 1000 or more',
    async collect() {
      const found = await withDeadline(BACKLOG_TIMEOUT_MS, backlog).catch(() => undefined);
      if (found === undefined) return;
      ({ oldest } = found);
      this.set(found.rooms);
    },
  });
  gauges.add(
    'nano_messaging_webhook_lag_seconds',
    'Age of the oldest event that WEBHOOK_URL has not taken, on all nodes',
    // oxlint-disable-next-line no-restricted-properties -- another machine wrote the date
    () => (oldest === null ? 0 : Math.max(0, Date.now() - oldest.getTime()) / 1_000),
  );
}
