/** Something that gathers bytes during a turn of the event loop and writes them at its end. */
export interface Flushable {
  flush(): void;
}

/**
 * Ends the turn: what feeds took in during one turn of the event loop leaves as one write a socket, and
 * the answers to single clients behind it, so that an echo comes before the word that it is stored.
 */
export interface Turn {
  feedChanged(feed: Flushable): void;
  outboxChanged(outbox: Flushable): void;
}

export function createTurn(): Turn {
  let feeds = new Set<Flushable>();
  let outboxes = new Set<Flushable>();
  let scheduled = false;

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(end);
  }

  function end(): void {
    scheduled = false;
    const changed = [feeds, outboxes];
    feeds = new Set();
    outboxes = new Set();
    for (const flushables of changed) for (const flushable of flushables) flushable.flush();
  }

  return {
    feedChanged(feed) {
      feeds.add(feed);
      schedule();
    },
    outboxChanged(outbox) {
      outboxes.add(outbox);
      schedule();
    },
  };
}
