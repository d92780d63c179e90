import type { CloseReason } from './protocol/close-codes.js';
import type { StatusWord } from './protocol/v1/events.js';
import type { StatusWord as StatusWordV2 } from './protocol/v2/events.js';

interface ErrorEntry {
  /** HTTP status of the response. */
  readonly status: number;
  /** The word of the status frame over the socket. */
  readonly word: StatusWord | Extract<StatusWordV2, 'RATELIMITED' | 'REJECTED'>;
  /** The close code that follows the word; undefined: the socket stays open. */
  readonly close?: CloseReason;
  /** A sentence for the documents of the API. */
  readonly when: string;
}

/**
 * Every error that a client can get, by its code, which is `meta.reason` over HTTP. docs/HTTP-API.md lists all of them,
 * docs/PROTOCOL.md those of the socket.
 */
export const ERRORS = {
  INVALID: {
    status: 400,
    word: 'INVALID',
    when: 'A field of the body, the path or the query is wrong; `meta.errors` names it.',
  },
  AHEAD: {
    status: 400,
    word: 'INVALID',
    when: "`after` is beyond the room's last entry, or of another epoch.",
  },
  TOO_MANY_ROOMS: {
    status: 400,
    word: 'INVALID',
    when: 'Over the socket only: it has joined `ROOMS_PER_SOCKET` rooms.',
  },
  UNKNOWN_COMMAND: {
    status: 400,
    word: 'INVALID',
    when: 'Over the socket only, version 2: the `type` is unknown.',
  },
  BAD_JSON: {
    status: 400,
    word: 'BADJSON',
    close: 'BAD_JSON',
    when: 'The body is not a JSON object.',
  },
  UNAUTHORIZED: {
    status: 401,
    word: 'BADAUTH',
    when: 'There is no token, or it is refused.',
  },
  FORBIDDEN: {
    status: 403,
    word: 'NOTAUTHORIZED',
    when: 'The caller lacks the permission.',
  },
  TOO_MANY_RULES: {
    status: 403,
    word: 'NOTAUTHORIZED',
    when: 'The room has `max_entity_rules` rules already.',
  },
  ROOM_FULL: {
    status: 403,
    word: 'NOTAUTHORIZED',
    when: 'The `user2user` room has two members already.',
  },
  OUTRANKED: {
    status: 403,
    word: 'NOTAUTHORIZED',
    when: "A rule with `a` is above the caller's rank.",
  },
  NOT_FOUND: {
    status: 404,
    word: 'NOTAUTHORIZED',
    when: 'No such path, room, rule or erasure. For an unknown path no token is needed.',
  },
  NO_SUCH_MESSAGE: {
    status: 404,
    word: 'NOTAUTHORIZED',
    when: 'The room has no such message.',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    word: 'INVALID',
    when: 'The path has no such method; the `Allow` header lists the methods that it has.',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    word: 'INVALID',
    when: 'The request did not arrive in time.',
  },
  DELETED: {
    status: 409,
    word: 'INVALID',
    when: 'The message was deleted. 404 if it was to be read.',
  },
  TOO_MANY_REACTIONS: {
    status: 409,
    word: 'INVALID',
    when: 'The message has 20 different emojis.',
  },
  REF_USED: {
    status: 409,
    word: 'INVALID',
    when: 'A `ref` was used for something else, whose number is in `meta.seq`.',
  },
  TOO_LARGE: {
    status: 413,
    word: 'INVALID',
    close: 'TOO_BIG',
    when: 'The body is larger than `BODY_BYTES`.',
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    word: 'INVALID',
    when: 'The body is not `application/json`, or its encoding is unknown.',
  },
  EXPECTATION_FAILED: {
    status: 417,
    word: 'INVALID',
    when: 'The header `Expect` is not `100-continue`.',
  },
  REJECTED: {
    status: 422,
    word: 'REJECTED',
    when: 'The application refuses the message or the edit.',
  },
  UPGRADE_REQUIRED: {
    status: 426,
    word: 'INVALID',
    when: '`GET /chat` without a WebSocket upgrade.',
  },
  RATELIMITED: {
    status: 429,
    word: 'RATELIMITED',
    when: 'More than a limit allows: wait for `meta.retry_after_ms`, and try again.',
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    word: 'INVALID',
    when: 'The path and the headers are larger than 16 KiB.',
  },
  INTERNAL: {
    status: 500,
    word: 'INTERNAL',
    close: 'INTERNAL',
    when: 'A fault of the server, which its log describes.',
  },
  UNAVAILABLE: {
    status: 503,
    word: 'UNAVAILABLE',
    when: 'The database does not answer, the room is locked, or the server is not ready.',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** A field of a request that was refused: its path, and the reason. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

/** A limit of which nothing is left. */
export interface ExceededRate {
  /** How many are allowed at once. */
  readonly limit: number;
  /** Milliseconds until as many are allowed again. */
  readonly resetMs: number;
}

export interface ErrorDetails {
  /** HTTP status, if it is another one than the table has. */
  readonly status?: number | undefined;
  /** A sentence for the client. */
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
  /** With REF_USED: the number of the entry that has the ref. */
  readonly seq?: number;
  /** With RATELIMITED: milliseconds until the same may be tried again. */
  readonly retryAfterMs?: number;
  /** With RATELIMITED: the limit that was exceeded. */
  readonly rate?: ExceededRate;
  /** The underlying error: logged, never sent. */
  readonly cause?: unknown;
}

/** An error that is meant for the client. Any other error is answered as INTERNAL. */
export class ChatError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly detail: string | undefined;
  readonly errors: readonly FieldError[] | undefined;
  readonly seq: number | undefined;
  readonly retryAfterMs: number | undefined;
  readonly rate: ExceededRate | undefined;

  constructor(code: ErrorCode, details: ErrorDetails = {}) {
    super(details.detail ?? code, { cause: details.cause });
    this.name = 'ChatError';
    this.code = code;
    this.status = details.status ?? ERRORS[code].status;
    this.detail = details.detail;
    this.errors = details.errors;
    this.seq = details.seq;
    this.retryAfterMs = details.retryAfterMs;
    this.rate = details.rate;
  }

  get word(): ErrorEntry['word'] {
    return ERRORS[this.code].word;
  }

  /** The close code that follows the word; undefined: the socket stays open. */
  get close(): CloseReason | undefined {
    const entry: ErrorEntry = ERRORS[this.code];
    return entry.close;
  }
}

/** The error about a room that does not exist, or not any more. */
export function noSuchRoom(): ChatError {
  return new ChatError('NOT_FOUND', { detail: 'there is no such room' });
}

/** Returns a ChatError as it is, and wraps any other error as INTERNAL. */
export function toChatError(error: unknown): ChatError {
  return error instanceof ChatError ? error : new ChatError('INTERNAL', { cause: error });
}

/** The process can't start for a reason that its operator can mend. The message names it; no stack is logged. */
export class StartError extends Error {
  override readonly name: string = 'StartError';
}
