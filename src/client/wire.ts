import type { CloseReason } from '../protocol/close-codes.js';

/** A JSON object of the application. */
export type Json = Readonly<Record<string, unknown>>;

/** A frame of the server. An answer has its details beside `data`; an entry and an event have theirs in it. */
export interface Frame {
  readonly type: string;
  readonly data: unknown;
  readonly ref?: string;
}

/** An answer to a command; each word has some of the optional fields. */
export interface Status extends Frame {
  readonly data: string;
  readonly room_id?: number | string;
  readonly seq?: number;
  readonly upto?: number;
  readonly reason?: string;
  readonly detail?: string;
  readonly uuid?: string;
  readonly head?: number;
  readonly epoch?: string;
  readonly from?: number;
  readonly permissions?: string;
  readonly read?: number;
  readonly userUUID?: string;
  readonly entityUUID?: string;
  readonly expires_in_ms?: number;
  readonly limits?: Limits;
  /** Milliseconds to wait before the same is tried again. */
  readonly retry_after_ms?: number;
}

/** What a message, a frame and a socket may hold: characters, bytes, bytes, rooms. */
export interface Limits {
  readonly content: number;
  readonly data: number;
  readonly frame: number;
  readonly rooms: number;
}

/** The data of an entry; each type has some of the optional fields, unless they are withheld. */
export interface Entry {
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly createdAt: string;
  readonly ref?: string;
  readonly target?: number;
  readonly content?: string;
  readonly data?: Json | null;
  readonly reply_to?: number;
  readonly mentions?: readonly string[];
  readonly emoji?: string;
  readonly on?: boolean;
  readonly count?: number;
  readonly entity_UUID?: string;
  readonly userUUID?: string;
  readonly permissions?: string;
  readonly level?: number;
  readonly accepted?: boolean;
  readonly members?: readonly {
    readonly entity_UUID: string;
    readonly level: number;
    readonly permissions: string;
    readonly accepted: boolean;
  }[];
  readonly name?: string;
}

/** The data of an event without a number; each type has some of the optional fields. */
export interface Hint {
  readonly room_id: number;
  readonly emitter: string;
  readonly upto: number;
  readonly count: number;
  readonly online?: readonly string[];
  readonly join?: readonly string[];
  readonly leave?: readonly string[];
  readonly permissions: string;
  readonly reason?: string;
}

/** A message of an answer of the REST API, with all that was done to it up to `rev`. */
export interface MessageRow {
  readonly seq: number;
  readonly room_id: number;
  readonly emitter: string;
  /** Only of the user's own messages. */
  readonly ref?: string;
  readonly content: string;
  readonly createdAt: string;
  readonly edited_at?: string;
  readonly data?: Json;
  readonly reply_to?: number;
  readonly mentions?: readonly string[];
  readonly reactions?: readonly Reaction[];
  readonly rev?: number;
}

/** How many users have an emoji on a message, and whether the user of the client is one. */
export interface Reaction {
  readonly emoji: string;
  readonly count: number;
  readonly mine: boolean;
}

/** A room of `GET /me/rooms`. */
export interface RoomRow {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly type: 'group' | 'user2user';
  readonly data: Json | null;
  readonly head: number;
  readonly epoch: string;
  readonly createdAt: string;
  readonly permissions: string;
  readonly accepted: boolean;
  readonly read: number;
  readonly unread: number;
  readonly mentions: number;
  readonly notify: 'all' | 'mentions' | 'none';
  readonly last_message: MessageRow | null;
  readonly with?: UserRow | null;
}

/** A user as the server knows them by their tokens. */
export interface UserRow {
  readonly userUUID: string;
  readonly name: string | null;
  readonly picture: string | null;
}

/** An answer of the REST API. */
export interface Answer<Content> {
  readonly meta: {
    readonly code: number;
    readonly message: string;
    readonly reason?: string;
    readonly detail?: string;
    readonly seq?: number;
    readonly next?: string;
    readonly head?: number;
    readonly epoch?: string;
  };
  readonly content: Content;
}

/**
 * Why a client has stopped: the server closed with a code that says not to come back (PROTOCOL: one of RFC 6455 for frames
 * that are wrong; TOKEN: a token of another user), or `close` was called.
 */
export type StopReason = CloseReason | 'PROTOCOL' | 'CLOSED';

/** Why a client is offline, if not because of the network: the token was refused, or there was none. It tries again. */
export type OfflineReason = 'UNAUTHORIZED' | 'NO_TOKEN';
