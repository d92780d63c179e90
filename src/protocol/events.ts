import type { EntryKind } from './entry-kinds.js';

/** The `data` of a `message` event. */
export interface MessageData {
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
  /** Absent if the sender gave none. */
  readonly ref?: string;
}

/** What an event needs of an entry. */
type EventEntry = Omit<MessageData, 'ref'> & { readonly ref: string | null };

/** What the server asks for. */
export const QUERY_WORDS = ['START?', 'TOKEN?', 'SELECTROOM?', 'COMMAND?'] as const;

export type QueryWord = (typeof QUERY_WORDS)[number];

/** What the server answers. */
export const STATUS_WORDS = [
  'READY',
  'BADAUTH',
  'CONNECTED',
  'NOTAUTHORIZED',
  'BADJSON',
  'INVALID',
  'SENT',
  'UNAVAILABLE',
  'INTERNAL',
] as const;

export type StatusWord = (typeof STATUS_WORDS)[number];

/** Text of the server's question for what it needs next. */
export function encodeQuery(data: QueryWord): string {
  return `{"type":"query","data":"${data}"}`;
}

/** Text of an answer; `details` are the keys that stand beside `data`. */
export function encodeStatus(data: StatusWord, details?: Readonly<object>): string {
  return JSON.stringify({ type: 'status', data, ...details });
}

/** By kind, the event of an entry; undefined: version 1 does not show the kind. */
const EVENTS: Readonly<Record<EntryKind, ((entry: EventEntry) => string) | undefined>> = {
  message({ room_id, seq, emitter, content, createdAt, ref }) {
    const data: MessageData = {
      room_id,
      seq,
      emitter,
      content,
      createdAt,
      ...(ref !== null && { ref }),
    };
    return `{"type":"message","data":${JSON.stringify(data)}}`;
  },
  rule: undefined,
};

/** Text of an entry's event, which is built once a room; undefined if version 1 does not show the entry. */
export function encodeEvent(entry: EventEntry & { readonly kind: EntryKind }): string | undefined {
  return EVENTS[entry.kind]?.(entry);
}
