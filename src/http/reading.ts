import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Pace } from '../pace.js';

/** Bytes that are parsed at once: most requests, 100 of the shortest, or 340 chunks of a byte, about 1 ms. */
const PIECE_BYTES = 2_048;

/** How the bytes of a connection are read. */
interface Reading {
  /** Node's listener. */
  readonly parse: (bytes: Buffer) => void;
  /** Whether a piece waits for its turn. */
  isWaiting: boolean;
}

/**
 * Has others heard between the pieces of what comes over HTTP, of which anybody may send any amount without a token.
 * Node would parse all that the kernel has of a connection, up to 2 MB, in one turn: it takes seconds for requests that
 * are pipelined, and for bodies in chunks of a byte.
 */
export interface PacedReading {
  /**
   * From now on, unless it was so before. Asked at a connection's first request: the handshake of a WebSocket would cost
   * a sixth more without Node's own way of reading, which takes 64 KB at once.
   */
  begin(socket: Socket): void;
  /** What comes now is for whoever takes the stream over, which holds what was not parsed. */
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
    // Whoever reads a body has resumed the socket meanwhile.
    if (reading.isWaiting) return;
    reading.isWaiting = true;
    pace.run(() => {
      readPiece(this, reading);
    });
  }

  function readPiece(socket: Socket, reading: Reading): void {
    reading.isWaiting = false;
    if (socket.destroyed) return;
    // What is behind the piece follows by itself, unless the socket is paused for what is in it.
    socket.resume();
    socket.read(Math.min(PIECE_BYTES, socket.readableLength));
  }

  return {
    begin(socket) {
      if (readings.has(socket)) return;
      // It is called from now on: as long as nobody else listens, the parser reads past it.
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
