import type { Socket } from 'node:net';
import pg from 'pg';

/** What `@types/pg` does not tell of a client. */
interface Internals {
  readonly connection: { readonly stream: Socket };
  /** False while a query is not answered, or not to its end. */
  readonly readyForQuery: boolean;
}

/**
 * `pg`'s client, of connections that break when nothing comes for `silenceMs` while a query is not answered: a
 * server that hangs, or a host that is gone, would else keep the query until TCP gives up. One that nothing is asked of
 * may be silent. Until it is connected, `connectionTimeoutMillis` bounds that.
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
          if (internals.readyForQuery) return;
          stream.destroy(new Error(`the database has been silent for ${silenceMs} ms`));
        });
      });
    }
  };
}
