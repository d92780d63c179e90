import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ChatError, type ErrorCode } from '../errors.js';
import type { Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import { Pace } from '../pace.js';
import { errorEnvelope } from './envelope.js';
import { createPacedReading } from './reading.js';
import { limitHeaders } from './rate-headers.js';
import type { Uploads } from './uploads.js';

/** How long a client may take for each step, in milliseconds. */
export interface Deadlines {
  /** For the head of a request; counted from its first byte, or from the connection. */
  readonly head: number;
  /** For the whole request. */
  readonly request: number;
  /** Between two requests: longer than proxies keep a connection (60 s is usual), so that they hang up first. */
  readonly keepAlive: number;
  /** Without a byte in either direction, even while an answer waits to be read. */
  readonly silence: number;
  /** The interval at which Node checks `head` and `request`. */
  readonly check: number;
}

/**
 * docs/HTTP-API.md promises the first three. They are trade-offs, not measurements: a head has as long as the token of
 * a socket (AUTH_TIMEOUT_MS), and a body of 128 KiB has time to arrive at 35 kbit/s. `silence` was Node's default
 * (`server.timeout`) up to version 12.
 */
const DEADLINES: Deadlines = {
  head: 10_000,
  request: 30_000,
  keepAlive: 75_000,
  silence: 120_000,
  check: 1_000,
};

/**
 * Pieces that are parsed and pipelined requests that are served in one turn of the event loop, of all connections
 * together: a few milliseconds, as a piece takes 1 ms at worst.
 */
const TASKS_A_TURN = 4;

/** By the code of Node's error for a request that it gives up; with any other code it is not HTTP. */
const CODE_BY_PARSER_ERROR: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
};

const DETAILS: Readonly<Record<string, string>> = {
  HEADERS_TOO_LARGE: 'the path and the headers are too large',
  REQUEST_TIMEOUT: 'the request did not arrive in time',
  INVALID: 'this is not a request of HTTP/1.1',
};

/** The connections of a node. */
export interface Connections {
  readonly server: Server;
  /** Ends each connection when the requests that have arrived over it completely are answered. */
  finish(): void;
  /** Cuts all connections, WebSockets included. */
  cut(): void;
}

/**
 * Creates an HTTP server that answers the requests of a connection in their order, upgrades included. A request that
 * offers a protocol other than WebSocket is served as if it offered none (RFC 9110 section 7.8).
 */
export function createConnections(options: {
  readonly serve: RequestListener;
  /** Whether to upgrade a request that offers another protocol. */
  readonly isHandshake: (request: IncomingMessage) => boolean;
  /** Takes over the stream of such a request. */
  readonly upgrade: (request: IncomingMessage, stream: Duplex, head: Buffer) => void;
  readonly uploads?: Uploads;
  readonly logger: Logger;
  readonly observer?: Observer | undefined;
  readonly deadlines?: Deadlines;
}): Connections {
  const { serve, isHandshake, upgrade, uploads, logger, observer, deadlines = DEADLINES } = options;
  const sockets = new Set<Socket>();
  const pace = new Pace(TASKS_A_TURN);
  const reading = createPacedReading(pace);
  /** The answer to the last request of each connection. */
  const answers = new WeakMap<Duplex, ServerResponse>();

  /** Serves the requests of a connection one after the other; Node hands over all requests of a piece at once. */
  const listener: RequestListener = (request, response) => {
    const { socket } = request;
    reading.begin(socket);
    const before = answers.get(socket);
    answers.set(socket, response);
    if (before === undefined || pendingOn(socket) === response) {
      serve(request, response);
      return;
    }
    socket.pause();
    before.once('finish', () => {
      pace.run(() => {
        if (answers.get(socket) === response) socket.resume();
        if (socket.writable) serve(request, response);
      });
    });
  };
  const server = createServer(
    {
      headersTimeout: deadlines.head,
      requestTimeout: deadlines.request,
      keepAliveTimeout: deadlines.keepAlive,
      connectionsCheckingInterval: deadlines.check,
      // Node's own refusal has no envelope: `serve` checks the header.
      requireHostHeader: false,
    },
    listener,
  );
  server.timeout = deadlines.silence;
  // Their number is bounded by the size of the head. None may be missing, as `plainHead` writes the head anew.
  server.maxHeadersCount = 0;
  // `close` would cut a client that still reads an answer that has ended: Node takes such a connection for idle.
  server.closeIdleConnections = () => undefined;
  server.on('checkExpectation', listener);

  server.once('listening', () => {
    // A connection was not accepted, as no file descriptor is left. The next one may be.
    server.on('error', (error) => {
      logger.warn({ err: error }, 'connection not accepted');
    });
  });

  function failed(error: Error): void {
    logger.debug({ err: error }, 'connection error');
  }

  function refuse(stream: Duplex, error: ChatError, isBare = false): void {
    observer?.refused('rest', error.code);
    answerError(stream, error, { isBare });
  }

  function closed(this: Socket): void {
    sockets.delete(this);
  }

  server.on('connection', (socket) => {
    // Emitted again for a stream whose upgrade is not wanted.
    if (sockets.has(socket)) return;
    sockets.add(socket);
    // These stay until the socket closes; Node removes its own listener at an upgrade.
    socket.on('error', failed);
    socket.on('close', closed);
  });

  server.on('upgrade', (request, stream, head) => {
    reading.end(stream);
    const isWanted = isHandshake(request);
    if (!isWanted) stream.unshift(Buffer.concat([plainHead(request), head]));
    whenAnswered(stream, () => {
      if (isWanted) {
        upgrade(request, stream, head);
        return;
      }
      pace.run(() => {
        if (!stream.writable) return;
        server.emit('connection', stream);
        reading.begin(stream as Socket);
      });
    });
  });

  server.on('connect', (_request, stream) => {
    reading.end(stream);
    whenAnswered(stream, () => {
      refuse(stream, new ChatError('METHOD_NOT_ALLOWED', { detail: 'this is no proxy' }));
    });
  });

  server.on('clientError', (error: ParserError, stream) => {
    const pending = pendingOn(stream);
    const last = answers.get(stream)?.req;
    // The request whose body is malformed; undefined if it is the head of the next request.
    const broken = last?.complete === false ? last : undefined;
    const code = CODE_BY_PARSER_ERROR[error.code ?? ''] ?? 'INVALID';
    // A client that opened the connection for later would take an answer for that to its first request.
    const isUnused = code === 'REQUEST_TIMEOUT' && (stream as Socket).bytesRead === 0;
    // Node says so once; from then on `silence` alone ends it.
    if (code === 'REQUEST_TIMEOUT' && last !== undefined && uploads?.has(last)) return;
    // The rest has arrived, and waits for its turn behind an answer.
    if (code === 'REQUEST_TIMEOUT' && pending !== undefined && stream.readableLength > 0) return;
    // A stream that is not writable ends with what was written last.
    if (error.code === 'ECONNRESET' || isUnused) stream.destroy();
    if (!stream.writable) return;
    if (pending !== undefined && pending.req !== broken) {
      // The answers to earlier requests come first. Bytes that arrive meanwhile are no request either.
      stream.pause();
      pending.once('finish', () => {
        if (stream.writable) server.emit('clientError', error, stream);
      });
    } else if (broken !== undefined && (pending === undefined || pending.headersSent)) {
      // It has been answered, at least in part.
      stream.destroy();
    } else {
      refuse(stream, new ChatError(code, { detail: DETAILS[code] ?? code }), isHead(error));
    }
  });

  function endWhenAnswered(socket: Socket): void {
    const pending = pendingOn(socket);
    if (pending?.req.complete === true) {
      pending.once('close', () => {
        endWhenAnswered(socket);
      });
    } else if (pending === undefined || pending.headersSent) {
      socket.destroy();
    } else {
      refuse(socket, new ChatError('UNAVAILABLE', { detail: 'the server is going down' }));
    }
  }

  return {
    server,
    finish() {
      for (const socket of sockets) endWhenAnswered(socket);
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** An error of Node's parser. */
interface ParserError extends NodeJS.ErrnoException {
  /** The bytes in which it was found, which may begin in the middle of a head. */
  readonly rawPacket?: Buffer;
}

/** Whether what could not be parsed begins like a HEAD, whose answers have no body (RFC 9110 section 9.3.2). */
function isHead({ rawPacket }: ParserError): boolean {
  return rawPacket?.toString('latin1', 0, 5) === 'HEAD ';
}

/**
 * Writes an error in the envelope to the bare stream of a request that Koa never sees, and closes the stream.
 * @param options.isBare whether the body is left out
 */
export function answerError(
  stream: Duplex,
  error: ChatError,
  { headers = [], isBare = false }: { headers?: readonly string[]; isBare?: boolean } = {},
): void {
  const body = JSON.stringify(errorEnvelope(error));
  // Nothing reads a half-open stream: a client that does not hang up would keep it for ever.
  stream.once('finish', () => {
    stream.destroy();
  });
  stream.end(
    [
      `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? ''}`,
      'Connection: close',
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      ...Object.entries(limitHeaders(error)).map(([name, value]) => `${name}: ${value}`),
      ...headers,
      '',
      isBare ? '' : body,
    ].join('\r\n'),
  );
}

/** The members of a list in a header, in lower case. */
function tokensOf(list: string): string[] {
  return list.split(',').map((token) => token.trim().toLowerCase());
}

/** The head of a request as it arrived, without the offer of another protocol. */
function plainHead({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    const value = withoutUpgrade(name.toLowerCase(), rawHeaders[i + 1] ?? '');
    // Without a space, so that the head never gets longer than it was.
    if (value !== undefined) head += `${name}:${value}\r\n`;
  }
  return Buffer.from(`${head}\r\n`, 'latin1');
}

function withoutUpgrade(name: string, value: string): string | undefined {
  if (name === 'upgrade' || name === 'http2-settings') return undefined;
  if (name !== 'connection') return value;
  const others = tokensOf(value).filter(
    (token) => token !== 'upgrade' && token !== 'http2-settings',
  );
  return others.length > 0 ? others.join(',') : undefined;
}

/**
 * Calls `then` when the answers to the requests before an upgrade are written, and not at all if the connection ends
 * with them. Node has removed its own listeners, but those answers still go through the stream.
 */
function whenAnswered(stream: Duplex, then: () => void): void {
  const pending = pendingOn(stream);
  if (pending === undefined) {
    then();
    return;
  }
  const listeners = {
    // Without this listener, a request whose body is read now would let the stream flow, and its bytes be lost.
    readable: () => undefined,
    drain: () => pendingOn(stream)?.emit('drain'),
    timeout: () => stream.destroy(),
  };
  for (const [event, listener] of Object.entries(listeners)) stream.on(event, listener);
  const answered = (): void => {
    const next = pendingOn(stream);
    if (next !== undefined) {
      next.once('finish', answered);
      return;
    }
    for (const [event, listener] of Object.entries(listeners)) stream.off(event, listener);
    if (stream.writable) then();
  };
  pending.once('finish', answered);
}

/** The answer that is being written to a connection, or waits to be; Node exposes it by this private name only. */
function pendingOn(stream: Duplex): ServerResponse | undefined {
  const { _httpMessage: pending } = stream as { readonly _httpMessage?: ServerResponse | null };
  return pending ?? undefined;
}
