import type { EntryKind } from '../entry-kinds.js';

/** The `data` of a `message` event. */
export interface MessageData {
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
  /** Absent if the sender gave none. */
  readonly ref?: string | undefined;
}

/** What an event needs of an entry. */
interface EventEntry extends Omit<MessageData, 'room_id' | 'ref'> {
  readonly roomId: number;
  readonly ref: string | null;
}

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

/** The keys beside `data` of an answer. */
export interface StatusDetails {
  readonly roomId?: number | undefined;
  readonly ref?: string | undefined;
  readonly seq?: number | undefined;
  readonly reason?: string | undefined;
}

const STATUS_KEYS: Readonly<Record<keyof StatusDetails, string>> = {
  roomId: 'room_id',
  ref: 'ref',
  seq: 'seq',
  reason: 'reason',
};

/** Text of an answer: its details in the order in which they are given, without those that are undefined. */
export function encodeStatus(data: StatusWord, details: StatusDetails): string {
  const status: Record<string, unknown> = { type: 'status', data };
  let key: keyof StatusDetails;
  for (key in details) status[STATUS_KEYS[key]] = details[key];
  return JSON.stringify(status);
}

/** By kind, the event of an entry, if it has one; undefined: version 1 does not show the kind. */
const EVENTS: Readonly<Record<EntryKind, ((entry: EventEntry) => string | undefined) | undefined>> =
  {
    message({ roomId, seq, emitter, content, createdAt, ref }) {
      // Deleted, or with data alone.
      if (content === '') return undefined;
      const data: MessageData = {
        room_id: roomId,
        seq,
        emitter,
        content,
        createdAt,
        ref: ref ?? undefined,
      };
      return `{"type":"message","data":${JSON.stringify(data)}}`;
    },
    edit: undefined,
    delete: undefined,
    reaction: undefined,
    erase: undefined,
    member: undefined,
    members: undefined,
    room: undefined,
  };

/** Text of an entry's event, which is built once a room; undefined if version 1 does not show the entry. */
export function encodeEvent(entry: EventEntry & { readonly kind: EntryKind }): string | undefined {
  return EVENTS[entry.kind]?.(entry);
}
