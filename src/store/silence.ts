import type { Socket } from 'node:net';
import pg from 'pg';

/** What `@types/pg` does not tell of a client. */
interface Internals {
  readonly connection: { readonly stream: Socket };
  /** False while a query is not answered, or not to its end. */
  readonly readyForQuery: boolean;
  /** Whether its end was asked for, which the server has to answer as well. */
  readonly _ending: boolean;
}

/**
 * `pg`'s client, of connections that break when nothing comes for `silenceMs` while a query is not answered: a
 * server that hangs, or a host that is gone, would else keep the query until TCP gives up. One that nothing is asked of
 * may be silent, unless it is to end. Until it is connected, `connectionTimeoutMillis` bounds that.
 */
export function impatientClient(silenceMs: number): typeof pg.Client {
  return class ImpatientClient extends pg.Client {
    constructor(config?: string | pg.ClientConfig) {
      super(config);
      const internals = this as unknown as Internals;
      this.once('connect', () => {
        // Only now: with TLS it is another stream than the one that it began with.
        const { stream } = internals.connection;
        stream.setTimeout(silenceMs, () => {
          const { readyForQuery, _ending } = internals;
          if (readyForQuery && !_ending) return;
          const { bytesRead } = stream;
          // Where this process was held up, an answer may have come that was not read yet: timers come first.
          setImmediate(() => {
            if (stream.bytesRead !== bytesRead) return;
            stream.destroy(new Error(`the database has been silent for ${silenceMs} ms`));
          });
        });
      });
    }
  };
}
