import type { EntryKind } from '../entry-kinds.js';

/** What a frame needs of an entry; what is undefined, or was withheld, is left out. */
export interface FrameEntry {
  readonly kind: EntryKind;
  readonly roomId: number;
  readonly seq: number;
  readonly emitter: string;
  readonly createdAt: string;
  readonly content: string;
  readonly ref: string | null;
  readonly target?: number | undefined;
  /** JSON, as it goes into the frame. */
  readonly data?: string | undefined;
  readonly replyTo?: number | undefined;
  readonly mentions?: readonly string[] | undefined;
  readonly textSeq?: number | undefined;
  readonly isWithheld?: true | undefined;
}

/** What the server answers. */
export const STATUS_WORDS = [
  'READY',
  'BADAUTH',
  'EXPIRING',
  'CONNECTED',
  'SENT',
  'OK',
  'PONG',
  'NOTFOUND',
  'NOTAUTHORIZED',
  'INVALID',
  'REJECTED',
  'RATELIMITED',
  'UNAVAILABLE',
  'INTERNAL',
  'BADJSON',
  'DRAIN',
] as const;

export type StatusWord = (typeof STATUS_WORDS)[number];

/** The keys beside `data` of an answer. */
export interface StatusDetails {
  readonly ref?: string | undefined;
  /** In an error of a `join`, as the client wrote it. */
  readonly roomId?: number | string | undefined;
  readonly seq?: number | undefined;
  /** A constant: the code of an error. */
  readonly reason?: string | undefined;
  /** A sentence for people. */
  readonly detail?: string | undefined;
  readonly uuid?: string | undefined;
  readonly head?: number | undefined;
  readonly epoch?: string | undefined;
  readonly from?: number | undefined;
  readonly permissions?: string | undefined;
  /** Seq at which the caller's own read marker is. */
  readonly read?: number | undefined;
  readonly upto?: number | undefined;
  readonly userUUID?: string | undefined;
  readonly entityUUID?: string | undefined;
  readonly expiresInMs?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly limits?: Readonly<Record<string, number>> | undefined;
}

const STATUS_KEYS: Readonly<Record<keyof StatusDetails, string>> = {
  ref: 'ref',
  roomId: 'room_id',
  seq: 'seq',
  reason: 'reason',
  detail: 'detail',
  uuid: 'uuid',
  head: 'head',
  epoch: 'epoch',
  from: 'from',
  permissions: 'permissions',
  read: 'read',
  upto: 'upto',
  userUUID: 'userUUID',
  entityUUID: 'entityUUID',
  expiresInMs: 'expires_in_ms',
  retryAfterMs: 'retry_after_ms',
  limits: 'limits',
};

/** Text of an answer: its details in the order in which they are given, without those that are undefined. */
export function encodeStatus(data: StatusWord, details: StatusDetails): string {
  const status: Record<string, unknown> = { type: 'status', data };
  let key: keyof StatusDetails;
  for (key in details) status[STATUS_KEYS[key]] = details[key];
  return JSON.stringify(status);
}

/** Text of the event about a session's own permissions in a room; `reason` says why it has left the room. */
export function encodeAccess(roomId: number, permissions: string, reason?: string): string {
  return JSON.stringify({ type: 'access', data: { room_id: roomId, permissions, reason } });
}

/** Text of the event about a new rule, to those whom it invites. */
export function encodeInvited(roomId: number, entityUUID: string, permissions: string): string {
  const data = { room_id: roomId, entity_UUID: entityUUID, permissions };
  return JSON.stringify({ type: 'invited', data });
}

/** Text of the event about a read marker that was moved. */
export function encodeRead(roomId: number, emitter: string, upto: number): string {
  return `{"type":"read","data":{"room_id":${roomId},"emitter":"${emitter}","upto":${upto}}}`;
}

/** Text of the event about a user who types. */
export function encodeTyping(roomId: number, emitter: string): string {
  return `{"type":"typing","data":{"room_id":${roomId},"emitter":"${emitter}"}}`;
}

/** Text of the event about who is online: all of them, or who came and who went, or their number alone. */
export function encodePresence(
  roomId: number,
  count: number,
  users: {
    readonly online?: readonly string[];
    readonly join?: readonly string[];
    readonly leave?: readonly string[];
  },
): string {
  return JSON.stringify({ type: 'presence', data: { room_id: roomId, count, ...users } });
}

/** By kind, the JSON of the fields beside those of every entry, each with a comma before it. */
const FIELDS: Readonly<Record<EntryKind, (entry: FrameEntry) => string>> = {
  message: ({ content, data, replyTo, mentions, textSeq, isWithheld }) =>
    // An edited message has its text at the edit.
    (isWithheld === true || textSeq !== undefined ? '' : textOf(content, data)) +
    (replyTo === undefined ? '' : `,"reply_to":${replyTo}`) +
    (mentions === undefined ? '' : `,"mentions":${JSON.stringify(mentions)}`),
  edit: ({ target, content, data, isWithheld }) =>
    `,"target":${target}${isWithheld === true ? '' : textOf(content, data)}`,
  delete: ({ target }) => `,"target":${target}`,
  reaction: ({ target, content, isWithheld }) =>
    `,"target":${target}${isWithheld === true ? '' : fieldsOf(content)}`,
  erase: ({ content }) => fieldsOf(content),
  member: ({ content }) => fieldsOf(content),
  members: ({ content }) => fieldsOf(content),
  room: ({ content }) => fieldsOf(content),
};

/**
 * Text of an entry's frame, which is built once a room. A kind that this node does not know, as a newer node may store
 * during an upgrade, has a frame as well: clients count.
 */
export function encodeEntry(entry: FrameEntry): string {
  return `{"type":"${entry.kind}","data":${encodeFields(entry)}}`;
}

/** The `data` of that frame, as JSON. */
export function encodeFields(entry: FrameEntry): string {
  const { kind, roomId, seq, emitter, createdAt, ref } = entry;
  const own = FIELDS[kind]?.(entry) ?? '';
  const sent = ref === null ? '' : `,"ref":${JSON.stringify(ref)}`;
  return `{"room_id":${roomId},"seq":${seq},"emitter":"${emitter}","createdAt":"${createdAt}"${sent}${own}}`;
}

function textOf(content: string, data: string | undefined): string {
  return `,"content":${JSON.stringify(content)}${data === undefined ? '' : `,"data":${data}`}`;
}

/** The fields of a JSON object, which has some. */
function fieldsOf(json: string): string {
  return `,${json.slice(1, -1)}`;
}
