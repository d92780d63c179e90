import { Counter, Histogram, type Registry } from 'prom-client';
import { ERRORS } from '../errors.js';
import { HOOK_OUTCOMES, type EndOfSession, type Observer } from '../observer.js';
import { CLOSE_CODES, type CloseReason } from '../protocol/close-codes.js';
import { ENTRY_KIND_NAMES } from '../protocol/entry-kinds.js';

/**
 * From the fastest append (0.3 ms on a local disk) to a statement that waits for a lock or a broken connection
 * (STORE_TIMEOUT_MS); around 50 ms, the limit of the bench, they lie closest.
 */
const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
/** From a receiver beside the node to one that is not in time (WEBHOOK_TIMEOUT_MS of server.ts). */
const WEBHOOK_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15];
/** Up to MAX_BATCH_ENTRIES of group-commit.ts. */
const ENTRIES = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000];

const ERROR_CODES = Object.keys(ERRORS);
const ENDS: readonly EndOfSession[] = [
  ...(Object.keys(CLOSE_CODES) as CloseReason[]),
  'CONNECTION_LOST',
  'OTHER',
];

/** Metrics of what happens between two scrapes, and the observer that counts it. */
export function createCounters(registry: Registry): Observer {
  const registers = [registry];
  const appended = new Counter({
    name: 'nano_messaging_entries_appended_total',
    help: 'Entries that this node has appended to logs',
    labelNames: ['kind'],
    registers,
  });
  // A rate needs a number before the first increase.
  for (const kind of ENTRY_KIND_NAMES) appended.inc({ kind }, 0);
  const ofMessages = appended.labels({ kind: 'message' });
  const batchEntries = new Histogram({
    name: 'nano_messaging_batch_entries',
    help: 'Messages of one statement that stores messages',
    buckets: ENTRIES,
    registers,
  });
  const appendSeconds = new Histogram({
    name: 'nano_messaging_append_seconds',
    help: 'Time until Postgres has answered a statement that stores messages',
    buckets: SECONDS,
    registers,
  });
  const brokerSeconds = new Histogram({
    name: 'nano_messaging_broker_round_trip_seconds',
    help: 'Time of a heartbeat of this node through the broker and back, every 400 ms',
    buckets: SECONDS,
    registers,
  });
  const deliverySeconds = new Histogram({
    name: 'nano_messaging_delivery_seconds',
    help: "Time from an entry's date until all live sockets of its room here were written it; the date is of Postgres' clock",
    buckets: SECONDS,
    registers,
  });
  const gapRepairs = new Counter({
    name: 'nano_messaging_gap_repairs_total',
    help: 'Reads of the log by rooms that had missed entries',
    registers,
  });
  const gapEntries = new Counter({
    name: 'nano_messaging_gap_entries_total',
    help: 'Entries that these reads found',
    registers,
  });
  const polls = new Counter({
    name: 'nano_messaging_polls_total',
    help: 'Comparisons of the open rooms with the log',
    registers,
  });
  const pollsThatFound = new Counter({
    name: 'nano_messaging_polls_found_total',
    help: 'Comparisons that found a room behind the log',
    registers,
  });
  const lostHeads = new Counter({
    name: 'nano_messaging_lost_entries_total',
    help: 'Times that the broker has lost the entries of a room, as comparisons noticed',
    registers,
  });
  const slowReaders = new Counter({
    name: 'nano_messaging_slow_readers_total',
    help: 'Times that a socket had OUTBOX_BYTES unsent, so that it reads on from Postgres',
    registers,
  });
  const hookSeconds = new Histogram({
    name: 'nano_messaging_hook_seconds',
    help: 'Time that messages and edits have waited for the hook before storing, their turn included',
    labelNames: ['outcome'],
    buckets: SECONDS,
    registers,
  });
  for (const outcome of HOOK_OUTCOMES) hookSeconds.zero({ outcome });
  const refusals = new Counter({
    name: 'nano_messaging_refusals_total',
    help: 'Requests, commands and handshakes that were answered with an error',
    labelNames: ['over', 'reason'],
    registers,
  });
  for (const reason of ERROR_CODES) {
    for (const over of ['rest', 'socket']) refusals.inc({ over, reason }, 0);
  }
  const webhooks = new Counter({
    name: 'nano_messaging_webhooks_total',
    help: 'Attempts to post an event to WEBHOOK_URL; given_up: events that were not taken for 24 hours',
    labelNames: ['outcome'],
    registers,
  });
  for (const outcome of ['taken', 'refused', 'given_up']) webhooks.inc({ outcome }, 0);
  const webhookSeconds = new Histogram({
    name: 'nano_messaging_webhook_seconds',
    help: 'Time until WEBHOOK_URL has answered an event, or has not in time',
    buckets: WEBHOOK_SECONDS,
    registers,
  });
  const ended = new Counter({
    name: 'nano_messaging_sessions_ended_total',
    help: 'Sockets that have closed',
    labelNames: ['version', 'reason'],
    registers,
  });
  for (const reason of ENDS) {
    for (const version of [1, 2]) ended.inc({ version, reason }, 0);
  }

  return {
    batchStored(entries, stored, ms) {
      batchEntries.observe(entries);
      appendSeconds.observe(ms / 1_000);
      ofMessages.inc(stored);
    },
    appended(kind) {
      appended.inc({ kind });
    },
    heartbeatReturned(ms) {
      brokerSeconds.observe(ms / 1_000);
    },
    delivered(createdAt) {
      // oxlint-disable-next-line no-restricted-properties -- another machine wrote the date
      const ms = Date.now() - Date.parse(createdAt);
      deliverySeconds.observe(Math.max(0, ms) / 1_000);
    },
    gapRepaired(entries) {
      gapRepairs.inc();
      gapEntries.inc(entries);
    },
    headsCompared(behind) {
      polls.inc();
      if (behind > 0) pollsThatFound.inc();
    },
    headLost() {
      lostHeads.inc();
    },
    fellBehind() {
      slowReaders.inc();
    },
    hookAsked(outcome, ms) {
      hookSeconds.observe({ outcome }, ms / 1_000);
    },
    webhookPosted(outcome, ms) {
      webhooks.inc({ outcome });
      webhookSeconds.observe(ms / 1_000);
    },
    webhookGivenUp() {
      webhooks.inc({ outcome: 'given_up' });
    },
    refused(over, reason) {
      refusals.inc({ over, reason });
    },
    sessionEnded(version, reason) {
      ended.inc({ version, reason });
    },
  };
}
