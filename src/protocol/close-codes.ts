/**
 * Why the server closed a socket. `reconnect` is what a client should do about it; docs/PROTOCOL.md
 * has the same table. 1000-1015 are those of RFC 6455 section 7.4.1, 4000-4999 are this protocol's own.
 */
export const CLOSE_CODES = {
  /** The client sent `quit`. */
  NORMAL: { code: 1000, reconnect: false },
  /** The peer went away; never sent by the server. */
  GOING_AWAY: { code: 1001, reconnect: true },
  /** A frame was larger than the limit. */
  TOO_BIG: { code: 1009, reconnect: false },
  /** A fault of the server's. */
  INTERNAL: { code: 1011, reconnect: true },
  /** The server is being restarted: another node, or this one in a moment, takes over. */
  RESTART: { code: 1012, reconnect: true },
  /** The server has no room for this socket now. */
  OVERLOAD: { code: 1013, reconnect: true },
  /** A frame was not a JSON object. */
  BAD_JSON: { code: 4400, reconnect: false },
  /** The token was refused too often, has expired, or was revoked: come back with a fresh one. */
  TOKEN: { code: 4401, reconnect: true },
  /** No token came in time. */
  TOO_LATE: { code: 4408, reconnect: true },
  /** Commands came faster than the limit allows. */
  TOO_FAST: { code: 4429, reconnect: true },
} as const satisfies Record<string, { code: number; reconnect: boolean }>;

/** The name of a close code, as the log line of a session's end has it. */
export type CloseReason = keyof typeof CLOSE_CODES;
