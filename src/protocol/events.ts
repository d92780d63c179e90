/** A stored message as everyone in its room gets it. */
export interface MessageData {
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
  /** Only where the sender gave one. */
  readonly ref?: string;
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

/** Text of an answer; `details` are the keys that stand beside `data`. */
export function encodeStatus(data: StatusWord, details?: Readonly<object>): string {
  return JSON.stringify({ type: 'status', data, ...details });
}

/** Text of a message's event: built once a room, whoever gets it. */
export function encodeMessage(data: MessageData): string {
  return `{"type":"message","data":${JSON.stringify(data)}}`;
}
