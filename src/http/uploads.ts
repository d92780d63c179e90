import type { IncomingMessage } from 'node:http';
import type { Context } from 'koa';
import { ChatError } from '../errors.js';
import { requireUtf8 } from './body.js';

/**
 * The requests whose bodies are read as they come, for as long as they keep coming: the deadline of a whole request is not
 * theirs.
 */
export type Uploads = WeakSet<IncomingMessage>;

/** So that a client that only reads when it has sent has the time to read why it was refused. */
const LINGER_MS = 5_000;

/**
 * The bytes of a body as they come. Whoever takes no more of them keeps the client waiting; what is left at the end is read
 * and dropped for a while, then the connection is cut.
 * @throws {ChatError} UNSUPPORTED_MEDIA_TYPE; INVALID if the body ends early
 */
export async function* uploadOf(
  { req: request }: Context,
  mediaType: string,
  uploads: Uploads,
): AsyncGenerator<Buffer, void, undefined> {
  requireType(request, mediaType);
  uploads.add(request);
  try {
    // By default, the iterator would destroy the connection with it.
    yield* request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  } catch (error) {
    throw new ChatError('INVALID', { detail: 'the body did not arrive', cause: error });
  } finally {
    if (!request.complete && !request.destroyed) drop(request);
  }
}

function requireType({ headers }: IncomingMessage, mediaType: string): void {
  const { 'content-type': type = '' } = headers;
  const [given = ''] = type.split(';');
  if (given.trim().toLowerCase() !== mediaType) {
    throw new ChatError('UNSUPPORTED_MEDIA_TYPE', { detail: `send ${mediaType}` });
  }
  requireUtf8(type);
  const coding = headers['content-encoding']?.trim().toLowerCase() || 'identity';
  if (coding !== 'identity') {
    throw new ChatError('UNSUPPORTED_MEDIA_TYPE', { detail: 'send it without an encoding' });
  }
}

function drop(request: IncomingMessage): void {
  const timer = setTimeout(() => request.destroy(), LINGER_MS).unref();
  for (const event of ['end', 'close']) {
    request.once(event, () => {
      clearTimeout(timer);
    });
  }
  request.resume();
}
