/** A writer that collects bytes while an event is handled. */
export interface Flushable {
  flush(): void;
}

/** A room with frames for many sockets. */
export interface FlushableRoom {
  /**
   * Writes to at most `sockets` sockets.
   * @returns how many of them are left; with 0 the room may have more to write
   */
  flush(sockets: number): number;
}

/**
 * Sockets that rooms write to per turn of the event loop, about 2 ms of work: between two turns other sockets are read,
 * and messages are stored while a large room is still being written to.
 */
const SOCKETS_PER_FLUSH = 256;

/**
 * Batches socket writes until the current event and its promises are handled, so an echo and its SENT leave in one
 * write. If the rooms have more than SOCKETS_PER_FLUSH writes, the rest follows in the next turn, together with frames
 * that came meanwhile. Rooms are served in turn; answers to single clients leave at the end of every turn.
 */
export interface FlushQueue {
  addRoom(room: FlushableRoom): void;
  addWriter(writer: Flushable): void;
}

export function createFlushQueue(): FlushQueue {
  const rooms = new Set<FlushableRoom>();
  let writers = new Set<Flushable>();
  let scheduled = false;

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    // A tick that is queued in an event runs before the event's promises. Queued in a promise, it runs behind all of
    // them, and still before the next socket is read.
    queueMicrotask(flushAfterPromises);
  }

  function flushAfterPromises(): void {
    process.nextTick(flush);
  }

  function flush(): void {
    let sockets = SOCKETS_PER_FLUSH;
    // A room that is put back comes last in the iteration.
    for (const room of rooms) {
      if (sockets === 0) break;
      rooms.delete(room);
      sockets = room.flush(sockets);
      if (sockets === 0) rooms.add(room);
    }
    const changed = writers;
    writers = new Set();
    for (const writer of changed) writer.flush();
    scheduled = rooms.size > 0 || writers.size > 0;
    if (scheduled) setImmediate(flush);
  }

  return {
    addRoom(room) {
      rooms.add(room);
      schedule();
    },
    addWriter(writer) {
      writers.add(writer);
      schedule();
    },
  };
}
