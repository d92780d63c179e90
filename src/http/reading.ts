import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Pace } from '../pace.js';

/** Bytes that are parsed at once: most requests, 100 of the shortest, or 340 chunks of a byte, about 1 ms. */
const PIECE_BYTES = 2_048;

/**
 * Has others heard between the pieces of what comes over the connections of a server, of which anybody may send any
 * amount without a token. Node would parse all that the kernel has of a connection, up to 2 MB, in one turn: it takes
 * seconds for requests that are pipelined, and for bodies in chunks of a byte.
 */
export function readInTurns(server: Server, pace: Pace): void {
  server.on('connection', (socket: Socket) => {
    // Node's. It is called from now on: as long as nobody else listens, the parser reads past it.
    const [parse] = socket.listeners('data') as ((bytes: Buffer) => void)[];
    if (parse === undefined) return;
    let isWaiting = false;

    function parsePiece(): void {
      isWaiting = false;
      if (socket.destroyed) return;
      // What is behind the piece follows by itself, unless the socket is paused for what is in it.
      socket.resume();
      socket.read(Math.min(PIECE_BYTES, socket.readableLength));
    }

    socket.on('data', (bytes: Buffer) => {
      if (bytes.length <= PIECE_BYTES && !isWaiting) {
        parse(bytes);
        return;
      }
      socket.pause();
      socket.unshift(bytes);
      // Whoever reads a body has resumed the socket meanwhile.
      if (isWaiting) return;
      isWaiting = true;
      pace.run(parsePiece);
    });
    socket.off('data', parse);
  });

  for (const event of ['upgrade', 'connect']) {
    // What comes now is for whoever takes the stream over, which holds what was not parsed.
    server.on(event, (_request: unknown, stream: Duplex) => {
      const [listener] = stream.listeners('data') as (() => void)[];
      if (listener !== undefined) stream.off('data', listener);
    });
  }
}
