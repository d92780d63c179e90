import type { CloseReason } from './protocol/close-codes.js';
import type { StatusWord } from './protocol/v1/events.js';

interface ErrorEntry {
  /** HTTP status of the response. */
  readonly status: number;
  /** The word of the status frame over the socket. */
  readonly word: StatusWord;
  /** The close code that follows the word; undefined: the socket stays open. */
  readonly close?: CloseReason;
}

/**
 * Every error that a client can get, by its code, which is `meta.reason` over HTTP. docs/HTTP-API.md lists all of them,
 * docs/PROTOCOL.md those of the socket.
 */
export const ERRORS = {
  INVALID: { status: 400, word: 'INVALID' },
  AHEAD: { status: 400, word: 'INVALID' },
  TOO_MANY_ROOMS: { status: 400, word: 'INVALID' },
  UNKNOWN_COMMAND: { status: 400, word: 'INVALID' },
  BAD_JSON: { status: 400, word: 'BADJSON', close: 'BAD_JSON' },
  UNAUTHORIZED: { status: 401, word: 'BADAUTH' },
  FORBIDDEN: { status: 403, word: 'NOTAUTHORIZED' },
  TOO_MANY_RULES: { status: 403, word: 'NOTAUTHORIZED' },
  ROOM_FULL: { status: 403, word: 'NOTAUTHORIZED' },
  OUTRANKED: { status: 403, word: 'NOTAUTHORIZED' },
  NOT_FOUND: { status: 404, word: 'NOTAUTHORIZED' },
  NO_SUCH_MESSAGE: { status: 404, word: 'NOTAUTHORIZED' },
  METHOD_NOT_ALLOWED: { status: 405, word: 'INVALID' },
  REQUEST_TIMEOUT: { status: 408, word: 'INVALID' },
  DELETED: { status: 409, word: 'INVALID' },
  TOO_MANY_REACTIONS: { status: 409, word: 'INVALID' },
  REF_USED: { status: 409, word: 'INVALID' },
  TOO_LARGE: { status: 413, word: 'INVALID', close: 'TOO_BIG' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, word: 'INVALID' },
  EXPECTATION_FAILED: { status: 417, word: 'INVALID' },
  UPGRADE_REQUIRED: { status: 426, word: 'INVALID' },
  HEADERS_TOO_LARGE: { status: 431, word: 'INVALID' },
  INTERNAL: { status: 500, word: 'INTERNAL', close: 'INTERNAL' },
  UNAVAILABLE: { status: 503, word: 'UNAVAILABLE' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** A field of a request that was refused: its path, and the reason. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

export interface ErrorDetails {
  /** HTTP status, if it is another one than the table has. */
  readonly status?: number | undefined;
  /** A sentence for the client. */
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
  /** With REF_USED: the number of the entry that has the ref. */
  readonly seq?: number;
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

  constructor(code: ErrorCode, details: ErrorDetails = {}) {
    super(details.detail ?? code, { cause: details.cause });
    this.name = 'ChatError';
    this.code = code;
    this.status = details.status ?? ERRORS[code].status;
    this.detail = details.detail;
    this.errors = details.errors;
    this.seq = details.seq;
  }

  get word(): StatusWord {
    return ERRORS[this.code].word;
  }

  /** The close code that follows the word; undefined: the socket stays open. */
  get close(): CloseReason | undefined {
    const entry: ErrorEntry = ERRORS[this.code];
    return entry.close;
  }
}

/** Returns a ChatError as it is, and wraps any other error as INTERNAL. */
export function toChatError(error: unknown): ChatError {
  return error instanceof ChatError ? error : new ChatError('INTERNAL', { cause: error });
}

/** The process can't start for a reason that its operator can mend. The message names it; no stack is logged. */
export class StartError extends Error {
  override readonly name: string = 'StartError';
}
