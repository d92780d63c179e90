import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type ServerOptions, type WebSocket } from 'ws';
import { bearerToken, type Identity } from '../access/token.js';
import { allowsOrigin, type Origins } from '../config/origins.js';
import { ChatError, toChatError } from '../errors.js';
import type { AddressOf } from '../limits/client-address.js';
import type { FailedTokens } from '../limits/failed-tokens.js';
import type { SocketLimits } from '../limits/socket-limits.js';
import { debugLog } from '../logger.js';
import { Pace } from '../pace.js';
import { CLOSE_CODES, type CloseReason } from '../protocol/close-codes.js';
import { encodeQuery } from '../protocol/v1/events.js';
import { SUBPROTOCOL_V2 } from '../protocol/versions.js';
import { encodeFrame } from '../feeds/ws-frame.js';
import { Backlog, closeFullest } from '../feeds/backlog.js';
import { drain } from './drain.js';
import { startHeartbeat } from './heartbeat.js';
import { SocketWriter } from '../feeds/socket-writer.js';
import { readInTurns } from './reading.js';
import type { Session } from './session.js';
import type { SessionContext } from './context.js';
import { SessionV1 } from './v1/session.js';
import { SessionV2 } from './v2/session.js';
import type { FlushQueue } from '../feeds/flush-queue.js';

const PATH = /^\/chat\/?$/;
/** The scheme and authority of an absolute request target (RFC 9112 section 3.2.2). */
const AUTHORITY = /^(?:http|ws)s?:\/\/[^/?#]*/i;

/** The first frame of each session, in all versions. */
const START = encodeFrame(encodeQuery('START?'));

/** RFC 6455 section 4.4: the answer to a client that asks for another version lists the known ones. */
const VERSIONS = 'Sec-WebSocket-Version: 13, 8';

/**
 * Handshakes per turn of the event loop, about 3 ms of work: thousands of reconnecting clients do not delay messages.
 */
const HANDSHAKES_A_TURN = 16;

/**
 * How long a peer may take to answer a close frame, as docs/PROTOCOL.md promises. A trade-off: an answer takes one
 * round trip, and all sockets of a node that shuts down wait at once. Unsent bytes are kept until then, and nothing
 * follows the frame.
 */
const CLOSE_TIMEOUT_MS = 2_000;

/** The WebSocket side: takes upgrades from the HTTP server and owns their sessions. */
export interface Chat {
  /** Whether this side answers an upgrade request, even if only to refuse it. */
  isHandshake(request: IncomingMessage): boolean;
  /** For the `upgrade` event of a `http.Server`; the stream must have an error listener. */
  upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void;
  /** Closes the sessions of a user whose tokens are no longer accepted. */
  endRevoked(userUUID: string): void;
  /** Number of open sessions. */
  readonly size: number;
  readonly sessions: Iterable<Pick<Session, 'version' | 'isReady' | 'writer'>>;
  /** Bytes that wait for sockets to read them. */
  readonly backlogBytes: number;
  /** Takes no more sessions, and closes those that are open evenly over `ms`; resolves when each had its turn. */
  drain(ms: number): Promise<void>;
  /** Takes no more sessions and commands; resolves when the commands before are answered. */
  quiesce(): Promise<void>;
  /** Closes all sessions with 1012; resolves when their peers have answered. */
  close(): Promise<void>;
  /** Cuts the remaining sessions. */
  terminate(): void;
}

export function createChat(
  options: SessionContext & {
    readonly tokens: FailedTokens;
    /** Undefined if they are off. */
    readonly socketLimits: SocketLimits | undefined;
    readonly addressOf: AddressOf;
    readonly flushQueue: FlushQueue;
    /** The allowed origins of browsers. */
    readonly corsOrigins: Origins;
    readonly isRevoked: (identity: Identity) => boolean;
    /** Refuses an upgrade with the error envelope of REST, and closes its stream. */
    readonly refuse: (
      stream: Duplex,
      error: ChatError,
      options: { readonly headers?: readonly string[] },
    ) => void;
  },
): Chat {
  const { limits, logger, flushQueue, observer } = options;
  const context: SessionContext = { ...options, debug: debugLog(logger) };
  let opened = 0;
  const sessions = new Set<Session>();
  const backlog = new Backlog(limits.outboxTotalBytes, () => {
    const closed = closeFullest(sessions, backlog, limits.outboxTotalBytes);
    if (closed > 0) logger.warn({ closed }, 'OUTBOX_TOTAL_BYTES exceeded, slowest readers closed');
  });
  /** Resolves `close` when the last session has ended. */
  let lastEnded: (() => void) | undefined;
  let closing = false;
  const settings: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    clientTracking: false,
    maxPayload: limits.frameBytes,
    perMessageDeflate: false,
    closeTimeout: CLOSE_TIMEOUT_MS,
    // The socket writer answers pings, many in one write.
    autoPong: false,
    // A client that asks for subprotocols, but not for version 2, gets the first one: a browser drops a connection
    // without any. Those of this project that this version does not speak are not promised.
    handleProtocols: (protocols) =>
      protocols.has(SUBPROTOCOL_V2)
        ? SUBPROTOCOL_V2
        : ([...protocols].find((name) => !name.startsWith('nano-messaging.')) ?? false),
  };
  const server = new WebSocketServer(settings);
  server.on('error', (error) => {
    logger.warn({ err: error }, 'websocket server error');
  });
  const stopHeartbeat = startHeartbeat(sessions, limits);
  const handshakes = new Pace(HANDSHAKES_A_TURN);

  function open(socket: WebSocket, stream: Duplex, request: IncomingMessage): Session {
    readInTurns(socket);
    opened += 1;
    const address = options.addressOf(request);
    const place = options.socketLimits?.open(address);
    const SessionOfVersion = socket.protocol === SUBPROTOCOL_V2 ? SessionV2 : SessionV1;
    const session = new SessionOfVersion(
      { id: opened, address, place },
      socket,
      new SocketWriter(socket, stream, flushQueue, limits.outboxBytes, backlog),
      context,
    );
    context.debug?.({ session: session.id, address }, 'session opened');
    sessions.add(session);
    socket.on('error', (error) => {
      // ws closes by itself, with the code that fits: 1007, 1009, 1002.
      logger.debug({ err: error }, 'websocket error');
    });
    socket.on('close', (code) => {
      sessions.delete(session);
      place?.release();
      if (sessions.size === 0) lastEnded?.();
      void session.ended();
      const reason = session.closeReason ?? closeReasonOf(code);
      observer?.sessionEnded(session.version, reason ?? 'OTHER');
      logger.info(
        {
          session: session.id,
          code,
          reason: reason ?? String(code),
          address,
          user: session.userUUID,
          ms: Math.round(performance.now() - session.openedAt),
        },
        'session ended',
      );
    });
    const token = bearerToken(request.headers.authorization);
    if (token !== undefined) session.begin(token);
    return session;
  }

  function refuse(stream: Duplex, error: ChatError, headers: readonly string[] = []): void {
    observer?.refused('socket', error.code);
    options.refuse(stream, error, { headers });
  }

  server.on('wsClientError', ({ message }, stream) => {
    refuse(stream, new ChatError('INVALID', { detail: message }), [VERSIONS]);
  });

  function refusal(request: IncomingMessage): ChatError | undefined {
    if (!PATH.test(pathOf(request))) {
      return new ChatError('NOT_FOUND', { detail: 'the socket is at /chat' });
    }
    if (closing) return new ChatError('UNAVAILABLE', { detail: 'the server is going down' });
    if (request.method !== 'GET') {
      return new ChatError('METHOD_NOT_ALLOWED', { detail: 'a WebSocket is opened by GET' });
    }
    try {
      const address = options.addressOf(request);
      options.tokens.check(address);
      options.socketLimits?.check(address);
    } catch (error) {
      return toChatError(error);
    }
    const { origin } = request.headers;
    // A client without an Origin is no browser.
    if (origin !== undefined && !allowsOrigin(options.corsOrigins, origin)) {
      return new ChatError('FORBIDDEN', { detail: 'this origin is not allowed' });
    }
    return undefined;
  }

  function shakeHands(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    const refused = refusal(request);
    if (refused !== undefined) {
      refuse(stream, refused);
      return;
    }
    // `ws` refuses a list of protocols.
    request.headers.upgrade = 'websocket';
    // The answer to the handshake and START? leave in one write.
    stream.cork();
    server.handleUpgrade(request, stream, head, (socket) => {
      stream.write(START);
      open(socket, stream, request).writer.flush();
    });
    stream.uncork();
  }

  return {
    get size() {
      return sessions.size;
    },

    sessions,

    get backlogBytes() {
      return backlog.bytes;
    },

    isHandshake(request) {
      if (!offersWebSocket(request.headers.upgrade)) return false;
      // With another method it is an ordinary request, unless its path serves nothing else.
      return request.method === 'GET' || PATH.test(pathOf(request));
    },

    upgrade(request, stream, head) {
      handshakes.run(() => {
        shakeHands(request, stream, head);
      });
    },

    endRevoked(userUUID) {
      // A token that was accepted a moment ago may not be a session's yet.
      setImmediate(() => {
        for (const session of sessions) {
          if (session.userUUID === userUUID && options.isRevoked(session.identity)) {
            session.close('TOKEN');
          }
        }
      });
    },

    async drain(ms) {
      closing = true;
      await drain(sessions, ms);
    },

    async quiesce() {
      closing = true;
      const quiet = [...sessions].map((session) => session.quiesce());
      // Messages that wait for their turn are stored now.
      options.messageLimits?.release();
      await Promise.all(quiet);
    },

    async close() {
      closing = true;
      stopHeartbeat();
      for (const session of sessions) session.close('RESTART');
      if (sessions.size === 0) return;
      await new Promise<void>((resolve) => {
        lastEnded = resolve;
      });
    },

    terminate() {
      for (const session of sessions) session.terminate();
    },
  };
}

function offersWebSocket(protocols = ''): boolean {
  // The usual spelling, without splitting.
  if (protocols === 'websocket') return true;
  return protocols.split(',').some((protocol) => protocol.trim().toLowerCase() === 'websocket');
}

function pathOf({ url = '' }: IncomingMessage): string {
  const [path = ''] = (url.startsWith('/') ? url : url.replace(AUTHORITY, '')).split('?', 1);
  return path;
}

/** The name of a code that the peer or `ws` chose, if it has one; 1005 and 1006 stand for no code. */
function closeReasonOf(code: number): CloseReason | 'CONNECTION_LOST' | undefined {
  const names = Object.keys(CLOSE_CODES) as CloseReason[];
  const known = names.find((name) => CLOSE_CODES[name].code === code);
  return known ?? (code === 1006 ? 'CONNECTION_LOST' : undefined);
}
