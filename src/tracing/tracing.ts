import { createHash, randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { ROOT_CONTEXT, SpanKind, TraceFlags, trace, type Attributes } from '@opentelemetry/api';
import { ExportResultCode } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOnSampler,
  BasicTracerProvider,
  BatchSpanProcessor,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base';
import type { Logger } from '../logger.js';
import type { EntryPlace, Span, Tracer } from '../tracer.js';

/** For the answer of the collector. Spans that were not taken by then are dropped. */
const EXPORT_TIMEOUT_MS = 5_000;
/** When the node goes down: a collector that is down must not hold it up. */
const FLUSH_TIMEOUT_MS = 1_000;
/** The number of values of the part of a trace's id that decides whether it is sampled. */
const SAMPLES = 2 ** 32;

/** Where to send spans, and of which part of the entries. */
export interface TracingOptions {
  /** Base URL of a collector that takes OTLP over HTTP. */
  readonly endpoint: URL;
  readonly serviceName: string;
  /** The share of entries that are followed, 0 to 1. */
  readonly ratio: number;
}

/** Sends spans of entries to a collector. */
export interface Tracing {
  readonly tracer: Tracer;
  /** Sends what is left, within a second. */
  close(): Promise<void>;
}

/** The ids of an entry's trace, and of its root span. */
interface TraceIds {
  readonly traceId: string;
  readonly spanId: string;
}

/**
 * The ids of a trace are made from the entry's place in the log, so that all nodes know them, and whether the trace is
 * sampled, without telling each other.
 * @param epoch names the log that the places belong to
 */
export function createTracing(
  { endpoint, serviceName, ratio }: TracingOptions,
  epoch: { readonly uuid: string },
  logger: Logger,
): Tracing {
  /** Those of the root span that is made now. */
  let rootIds: TraceIds | undefined;
  const exporter = new OTLPTraceExporter({
    url: new URL('v1/traces', withSlash(endpoint)).href,
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });
  const provider = new BasicTracerProvider({
    // What is not sampled makes no spans. By OTEL_TRACES_SAMPLER, roots would be sampled once more than their children.
    sampler: new AlwaysOnSampler(),
    resource: resourceFromAttributes({
      'service.name': serviceName,
      'service.instance.id': `${hostname()}:${process.pid}`,
    }),
    idGenerator: {
      generateTraceId: () => rootIds?.traceId ?? randomBytes(16).toString('hex'),
      generateSpanId: () => rootIds?.spanId ?? randomBytes(8).toString('hex'),
    },
    spanProcessors: [new BatchSpanProcessor(telling(exporter, logger))],
  });
  const spans = provider.getTracer('nano-messaging');

  /** Undefined if the entry is not sampled. */
  function idsOf({ roomId, seq }: EntryPlace): TraceIds | undefined {
    const hash = createHash('sha256').update(`${epoch.uuid}:${roomId}:${seq}`).digest();
    if (hash.readUInt32BE() >= ratio * SAMPLES) return undefined;
    return { traceId: hash.toString('hex', 0, 16), spanId: hash.toString('hex', 16, 24) };
  }

  /** Adds a child of the root span, which may not be known yet, or not to this node. */
  function addChild(
    name: string,
    kind: SpanKind,
    place: EntryPlace,
    span: Span,
    attributes: Attributes,
  ): void {
    const ids = idsOf(place);
    if (ids === undefined) return;
    const parent = { ...ids, traceFlags: TraceFlags.SAMPLED, isRemote: true };
    const context = trace.setSpanContext(ROOT_CONTEXT, parent);
    spans
      .startSpan(
        name,
        {
          kind,
          attributes: { ...attributesOf(place), ...attributes },
          startTime: dateOf(span.from),
        },
        context,
      )
      .end(dateOf(span.to));
  }

  return {
    tracer: {
      appended(place, kind, { from, to }) {
        rootIds = idsOf(place);
        if (rootIds === undefined) return;
        const attributes = attributesOf(place);
        const options = { kind: SpanKind.SERVER, attributes, startTime: dateOf(from) };
        const span = spans.startSpan(kind, options, ROOT_CONTEXT);
        rootIds = undefined;
        span.end(dateOf(to));
      },
      stored(place, span, batchEntries) {
        addChild('store', SpanKind.CLIENT, place, span, {
          'db.system.name': 'postgresql',
          'db.operation.batch.size': batchEntries,
        });
      },
      delivered(place, span, version) {
        addChild('deliver', SpanKind.CONSUMER, place, span, { 'nano_messaging.version': version });
      },
    },
    async close() {
      const flushed = provider.shutdown().catch((error: unknown) => {
        logger.warn({ err: error }, 'sending the last traces failed');
      });
      const timeIsUp = setTimeout(FLUSH_TIMEOUT_MS, undefined, { ref: false });
      await Promise.race([flushed, timeIsUp]);
    },
  };
}

/** By the semantic conventions for messaging. */
function attributesOf({ roomId, seq }: EntryPlace): Attributes {
  return {
    'messaging.system': 'nano_messaging',
    'messaging.destination.name': `${roomId}`,
    'messaging.message.id': `${roomId}:${seq}`,
  };
}

/** Of `performance.now()`; traces have the dates of each node's own clock. */
function dateOf(now: number): number {
  return performance.timeOrigin + now;
}

function withSlash(url: URL): URL {
  const base = new URL(url);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  return base;
}

/** The exporter, which logs when the collector goes, and when it comes back. */
function telling(exporter: SpanExporter, logger: Logger): SpanExporter {
  let isDown = false;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const failed = result.code !== ExportResultCode.SUCCESS;
        if (failed && !isDown) logger.warn({ err: result.error }, 'sending traces failed');
        if (!failed && isDown) logger.info('traces are sent again');
        isDown = failed;
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  };
}
