import { ENTRY_KINDS, type WebhookType } from './entry-kinds.js';
import { encodeFields, type FrameEntry } from './v2/events.js';

/** An event as it is posted to WEBHOOK_URL: docs/WEBHOOKS.md has each. */
export interface WebhookEvent {
  /** Names the event, the same at each attempt. */
  readonly id: string;
  readonly type: WebhookType | 'message.read' | 'room.deleted';
  /** The body. */
  readonly json: string;
}

/** What all events tell of their room. */
export interface EventRoom {
  readonly uuid: string;
  readonly name: string;
  readonly type: string;
  /** The uuid of the log. */
  readonly epoch: string;
}

/** A user whom a message may concern. */
export interface Recipient {
  readonly userUUID: string;
  readonly online: boolean;
  readonly unread: number;
  readonly mentioned: boolean;
  readonly level: string;
}

/** Whom a message may concern: those who may read it, but for its sender. */
export interface Audience {
  readonly recipients: readonly Recipient[];
  /** UUIDs that are not known to be those of users: no token or read marker has said so. */
  readonly entities: readonly string[];
  /** Whether there are more of them. */
  readonly isTruncated: boolean;
}

/**
 * The event of an entry.
 * @param holeFrom seq from which on entries before it were not told; undefined: none
 * @returns undefined for a kind that is not told
 */
export function entryEvent(
  entry: FrameEntry,
  room: EventRoom,
  { audience, holeFrom }: { audience?: Audience | undefined; holeFrom?: number | undefined },
): WebhookEvent | undefined {
  const type = ENTRY_KINDS[entry.kind].webhook;
  if (type === null) return undefined;
  const more = {
    ...roomMembers(room),
    ...holeMember(holeFrom, entry.seq - 1),
    ...(audience !== undefined && {
      recipients: audience.recipients,
      entities: audience.entities,
      recipients_truncated: audience.isTruncated,
    }),
  };
  const data = `${encodeFields(entry).slice(0, -1)},${JSON.stringify(more).slice(1)}`;
  return {
    id: `${entry.roomId}:${entry.seq}`,
    type,
    json: `{"type":"${type}","timestamp":"${entry.createdAt}","data":${data}}`,
  };
}

/**
 * The event of a read marker that was moved. A marker may come to a place again, which is another event.
 * @param hole the entries before it that were not told, from the first on, if there are some, and the last before it
 */
export function readEvent(
  roomId: number,
  {
    userUUID,
    upto,
    movedAt,
  }: { readonly userUUID: string; readonly upto: number; readonly movedAt: Date },
  room: EventRoom,
  hole: { readonly from: number | undefined; readonly to: number },
): WebhookEvent {
  const data = {
    room_id: roomId,
    emitter: userUUID,
    upto,
    ...roomMembers(room),
    ...holeMember(hole.from, hole.to),
  };
  return eventOf('message.read', `${roomId}:read:${userUUID}:${movedAt.getTime()}`, data, movedAt);
}

/** The event of a deleted room. */
export function roomDeletedEvent(roomId: number, uuid: string): WebhookEvent {
  const data = { room_id: roomId, room: { uuid } };
  return eventOf('room.deleted', `${roomId}:deleted`, data, new Date());
}

function eventOf(
  type: 'message.read' | 'room.deleted',
  id: string,
  data: object,
  at: Date,
): WebhookEvent {
  return { id, type, json: JSON.stringify({ type, timestamp: at.toISOString(), data }) };
}

function roomMembers({ uuid, name, type, epoch }: EventRoom): object {
  return { room: { uuid, name, type }, epoch };
}

function holeMember(from: number | undefined, to: number): object {
  return from === undefined ? {} : { hole: { from, to } };
}
