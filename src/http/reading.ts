import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Pace } from '../pace.js';

/**
 * Bytes that are parsed at once, about 1 ms at worst: 100 of the shortest requests, or 340 chunks of one byte. Most
 * requests fit.
 */
const PIECE_BYTES = 2_048;

/** The state of one connection. */
interface Reading {
  /** Node's own listener for `data`. */
  readonly parse: (bytes: Buffer) => void;
  /** Whether a piece waits for its turn. */
  isWaiting: boolean;
}

/**
 * Has Node parse the bytes of HTTP connections in small pieces, so that other work runs in between. Otherwise Node
 * would parse all that the kernel has of a connection, up to 2 MB, in one turn of the event loop: seconds, for
 * pipelined requests and for bodies in chunks of one byte, which need no token.
 */
export interface PacedReading {
  /**
   * Begins to pace a connection, unless it does already. Called at its first request, not earlier: a WebSocket
   * handshake costs a sixth more if its bytes are not read in Node's own way, 64 KB at once.
   */
  begin(socket: Socket): void;
  /** Stops pacing a connection that another protocol takes over; unparsed bytes stay in the stream. */
  end(stream: Duplex): void;
}

export function createPacedReading(pace: Pace): PacedReading {
  const readings = new WeakMap<Duplex, Reading>();

  function read(this: Socket, bytes: Buffer): void {
    const reading = readings.get(this);
    if (reading === undefined) return;
    if (bytes.length <= PIECE_BYTES && !reading.isWaiting) {
      reading.parse(bytes);
      return;
    }
    this.pause();
    this.unshift(bytes);
    // A piece waits already: the reader of a body has resumed the socket meanwhile.
    if (reading.isWaiting) return;
    reading.isWaiting = true;
    pace.run(() => {
      readPiece(this, reading);
    });
  }

  function readPiece(socket: Socket, reading: Reading): void {
    reading.isWaiting = false;
    if (socket.destroyed) return;
    // The bytes behind the piece follow by themselves, unless parsing the piece pauses the socket.
    socket.resume();
    socket.read(Math.min(PIECE_BYTES, socket.readableLength));
  }

  return {
    begin(socket) {
      if (readings.has(socket)) return;
      // From now on `read` calls it. While Node's is the only listener, its parser reads from the handle directly.
      const [parse] = socket.listeners('data') as ((bytes: Buffer) => void)[];
      if (parse === undefined) return;
      readings.set(socket, { parse, isWaiting: false });
      socket.on('data', read);
      socket.off('data', parse);
    },

    end(stream) {
      if (readings.delete(stream)) stream.off('data', read);
    },
  };
}
