import { STATUS_CODES, ServerResponse, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ChatError, type ErrorCode } from '../errors.js';
import { errorEnvelope } from './envelope.js';

/** What Node's parser says of a request that it gives up; anything else is merely not HTTP. */
const CODE_BY_PARSER_ERROR: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
};

/** An error in the envelope, on the bare stream of a request that no application sees; then it is closed. */
export function answerError(stream: Duplex, error: ChatError): void {
  const body = JSON.stringify(errorEnvelope(error));
  // The stream may be half open, and nobody reads it: a client that does not hang up would keep it for ever.
  stream.once('finish', () => {
    stream.destroy();
  });
  stream.end(
    [
      `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? ''}`,
      'Connection: close',
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      '',
      body,
    ].join('\r\n'),
  );
}

/** For the `clientError` event of a server: bytes that are no request. */
export function refuseBytes(error: NodeJS.ErrnoException, stream: Duplex): void {
  // Where an answer has begun, another head in the middle of it would be garbage.
  const { _httpMessage: begun } = stream as { _httpMessage?: { headersSent: boolean } | null };
  if (!stream.writable || error.code === 'ECONNRESET' || begun?.headersSent === true) {
    stream.destroy();
    return;
  }
  const code = CODE_BY_PARSER_ERROR[error.code ?? ''] ?? 'INVALID';
  answerError(stream, new ChatError(code, { detail: 'this is not a request of HTTP/1.1' }));
}

/**
 * Serves a request that offers a protocol which is not served (`Upgrade: h2c`, as some HTTP clients do by
 * default) as the plain one that it also is, if it has no body: Node has parsed it as an upgrade. From
 * 24.9 on Node can be told not to (`shouldUpgradeCallback`), and this is not needed.
 */
export function serveWithoutUpgrade(
  server: Server,
  request: IncomingMessage,
  stream: Duplex,
): void {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(stream as Socket);
  response.once('finish', () => {
    stream.end(() => stream.destroy());
  });
  server.emit('request', request, response);
}
