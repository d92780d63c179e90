/** Something that gathers bytes during a turn of the event loop and writes them at its end. */
export interface Flushable {
  flush(): void;
}

/** Something that writes to many sockets, and may have to stop in between. */
export interface Divisible {
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
const SOCKETS_A_TURN = 256;

/**
 * Ends the turn: what a room took in while the sockets before were written to leaves as one write a socket.
 * Rooms take turns; the answers to single clients leave with each.
 */
export interface Turn {
  roomChanged(room: Divisible): void;
  outboxChanged(outbox: Flushable): void;
}

export function createTurn(): Turn {
  const rooms = new Set<Divisible>();
  let outboxes = new Set<Flushable>();
  let scheduled = false;

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(end);
  }

  function end(): void {
    scheduled = false;
    let sockets = SOCKETS_A_TURN;
    // What is put back is met again at the end, unless nothing is left for it.
    for (const room of rooms) {
      if (sockets === 0) break;
      rooms.delete(room);
      sockets = room.flush(sockets);
      if (sockets === 0) rooms.add(room);
    }
    const changed = outboxes;
    outboxes = new Set();
    for (const outbox of changed) outbox.flush();
    if (rooms.size > 0 || outboxes.size > 0) schedule();
  }

  return {
    roomChanged(room) {
      rooms.add(room);
      schedule();
    },
    outboxChanged(outbox) {
      outboxes.add(outbox);
      schedule();
    },
  };
}
