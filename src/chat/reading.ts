import type { Writable } from 'node:stream';
import type { WebSocket } from 'ws';

/**
 * Bytes that are parsed per turn of the event loop, messages not counted, which the inbox paces: 340 of the smallest
 * frames, 0.15 ms of work. The kernel may hold 2 MB.
 */
const BYTES_A_TURN = 2_048;
/** The shortest header of a client's frame, with its mask (RFC 6455 section 5.2). */
const FRAME_HEADER_BYTES = 6;

type Write = NonNullable<Writable['_write']>;

/**
 * Gives other sockets turns between frames that never reach the inbox: control frames and fragments. Anybody may send
 * any number of them without a token, and `ws` would parse everything that it has read in one turn.
 */
export function readInTurns(socket: WebSocket): void {
  // The parser, a Writable that `ws` keeps private.
  const { _receiver: receiver } = socket as unknown as { readonly _receiver: Writable };
  const parse: Write = receiver._write.bind(receiver);
  /** Bytes of this turn that belong to no complete message. */
  let idleBytes = 0;
  socket.on('message', (data: Buffer) => {
    idleBytes = Math.max(0, idleBytes - data.length - FRAME_HEADER_BYTES);
  });
  const parseInTurns: Write = (bytes: Buffer, encoding, done) => {
    if (idleBytes + bytes.length < BYTES_A_TURN) {
      idleBytes += bytes.length;
      parse(bytes, encoding, done);
      return;
    }
    const part = bytes.subarray(0, BYTES_A_TURN);
    const rest = bytes.subarray(BYTES_A_TURN);
    idleBytes += part.length;
    parse(part, encoding, (error) => {
      if (error || (rest.length === 0 && idleBytes < BYTES_A_TURN)) {
        done(error);
        return;
      }
      if (idleBytes < BYTES_A_TURN) {
        parseInTurns(rest, encoding, done);
        return;
      }
      setImmediate(() => {
        idleBytes = 0;
        if (rest.length === 0) done();
        else parseInTurns(rest, encoding, done);
      });
    });
  };
  receiver._write = parseInTurns;
}
