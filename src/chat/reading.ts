import type { Writable } from 'node:stream';
import type { WebSocket } from 'ws';

/**
 * Bytes of a socket that are parsed in a turn, unless they are messages, which its inbox paces: 340 of the smallest
 * frames, 0.15 ms. The kernel may have 2 MB in hand.
 */
const BYTES_A_TURN = 2_048;
/** Bytes of a frame around its payload, at least (RFC 6455 section 5.2). */
const FRAME_HEADER_BYTES = 6;

type Write = NonNullable<Writable['_write']>;

/**
 * Has others heard between the frames of a socket that come to no inbox: control frames and fragments, of which anybody
 * may send any number without a token. `ws` would parse all that came in one turn. It reads nothing more until then.
 */
export function readInTurns(socket: WebSocket): void {
  // What parses: a Writable, which `ws` has for itself.
  const { _receiver: receiver } = socket as unknown as { readonly _receiver: Writable };
  const parse: Write = receiver._write.bind(receiver);
  /** Bytes of this turn that were no whole message. */
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
