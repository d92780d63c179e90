import type { EntryKind } from './protocol/entry-kinds.js';
import type { Version } from './protocol/versions.js';

/** The place of an entry in a log: a trace is of one entry. */
export interface EntryPlace {
  readonly roomId: number;
  readonly seq: number;
}

/** When a step of an entry began and ended, by `performance.now()`. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/**
 * Follows entries from the socket, through the store, to the sockets of all nodes. Parts that have none follow nothing:
 * without OTEL_EXPORTER_OTLP_ENDPOINT there is none.
 */
export interface Tracer {
  /** An entry is stored and known to this node: from when it was handed in, or else from its date. */
  appended(place: EntryPlace, kind: EntryKind, span: Span): void;
  /** The statement that stores a message, with others, was answered. */
  stored(place: EntryPlace, span: Span, batchEntries: number): void;
  /** All live sockets of one version on this node were written an entry: from when its room here has taken it. */
  delivered(place: EntryPlace, span: Span, version: Version): void;
}
