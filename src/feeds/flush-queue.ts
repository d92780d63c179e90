/** Something that gathers bytes while one event is handled, and writes them when it is. */
export interface Flushable {
  flush(): void;
}

/** Something that writes to many sockets, and may have to stop in between. */
export interface FlushableRoom {
  /**
   * Writes to at most so many sockets.
   * @returns what is left of them; with 0 there may be more to write
   */
  flush(sockets: number): number;
}

/**
 * Sockets that the rooms write to in one turn, about 2 ms of work: then whoever waits to be read has a turn, and
 * messages are stored while a large room is still written to.
 */
const SOCKETS_PER_FLUSH = 256;

/**
 * Writes at the end of what an event brought about, its promises included: an echo and the word that it is stored
 * leave as one write. Where that is more than a turn's sockets, the rest has its turn when others were heard; what
 * comes in meanwhile leaves with it. Rooms take turns; the answers to single clients leave with each.
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
    // A tick comes before the promises of the event that it was asked in, unless it is asked in one of them: then it
    // comes behind them all, and still before the next socket is read.
    queueMicrotask(endBehindPromises);
  }

  function endBehindPromises(): void {
    process.nextTick(end);
  }

  function end(): void {
    let sockets = SOCKETS_PER_FLUSH;
    // What is put back is met again at the end, unless nothing is left for it.
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
    if (scheduled) setImmediate(end);
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
