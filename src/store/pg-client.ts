import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import pg from 'pg';
import { endsConnection, isReadOnly } from './pg-errors.js';

/** How long a server has to take its leave; one that hangs, or is gone, never does. */
const LEAVE_MS = 1_000;
/**
 * How old a connection to a database that cannot be written to has to be for another one to be tried instead: it may
 * lead to the new primary.
 */
const RENEW_MS = 1_000;

/** What `@types/pg` does not tell of a client. */
interface Internals {
  readonly connection: EventEmitter & { readonly stream: Socket };
  /** False while a query is not answered, or not to its end. */
  readonly readyForQuery: boolean;
  /** Whether its end was asked for, which the server has to answer as well. */
  readonly _ending: boolean;
}

/** `pg`'s client, and whether it may be used again. */
export interface PgClient extends pg.Client {
  /** False once it is broken, or has to make way for a new one. */
  readonly isUsable: boolean;
  /** Not to be used again; what runs on it may end. */
  retire(): void;
}

/** The clients of one database: what one of them finds out about the way there concerns the others. */
export interface PgClients {
  /**
   * `pg`'s client, of connections that break when nothing comes for `silenceMs` while a query is not answered: a
   * server that hangs, or a host that is gone, would else keep the query until TCP gives up. One that nothing is asked
   * of may be silent. Until it is connected, `connectionTimeoutMillis` bounds that.
   */
  readonly Client: typeof pg.Client;
  /** The database cannot be written to: clients that connected before are not used again, once they are a second old. */
  foundReadOnly(): void;
  /** Breaks all connections, with whatever runs on them. */
  destroy(): void;
}

/** @param silenceMs none: a connection may be silent for ever */
export function createPgClients(silenceMs?: number): PgClients {
  const clients = new Set<Client>();
  let foundReadOnlyAt = -Infinity;

  class Client extends pg.Client implements PgClient {
    readonly #internals = this as unknown as Internals;
    #isUsable = true;
    /** By `performance.now()`, as is the next. */
    #connectedAt = Infinity;
    #answeredAt = 0;

    constructor(config?: string | pg.ClientConfig) {
      super(config);
      clients.add(this);
      const { connection } = this.#internals;
      // From its first moment to its last: an `error` event without a listener would end the process, and some come
      // before whoever asked for the connection has it, or in twos. Queries that they concern reject.
      this.on('error', () => {
        this.retire();
      });
      connection.on('end', () => {
        this.retire();
        clients.delete(this);
      });
      connection.on('errorMessage', (error: pg.DatabaseError) => {
        if (isReadOnly(error)) foundReadOnly();
        else if (endsConnection(error)) this.retire();
      });
      connection.on('readyForQuery', () => {
        this.#answeredAt = performance.now();
      });
      this.once('connect', () => {
        this.#connectedAt = performance.now();
        // Only now: with TLS it is another stream than the one that it began with.
        const { stream } = connection;
        if (silenceMs !== undefined) stream.setTimeout(silenceMs);
        // Again and again: a connection may be idle for long before it is asked something.
        stream.on('timeout', () => {
          this.#hasBeenSilent(stream);
        });
      });
    }

    get isUsable(): boolean {
      const mayLeadElsewhere =
        this.#connectedAt < foundReadOnlyAt && performance.now() - this.#connectedAt >= RENEW_MS;
      return this.#isUsable && !mayLeadElsewhere;
    }

    get answeredAt(): number {
      return this.#answeredAt;
    }

    retire(): void {
      this.#isUsable = false;
    }

    destroy(error: Error): void {
      this.#internals.connection.stream.destroy(error);
    }

    override end(): Promise<void>;
    override end(callback: (error: Error) => void): void;
    override end(callback?: (error: Error) => void): Promise<void> | void {
      this.retire();
      this.#internals.connection.stream.setTimeout(LEAVE_MS);
      return callback === undefined ? super.end() : super.end(callback);
    }

    #hasBeenSilent(stream: Socket): void {
      const { readyForQuery, _ending } = this.#internals;
      if (readyForQuery && !_ending) return;
      const { bytesRead } = stream;
      // Where this process was held up, an answer may have come that was not read yet: timers come first.
      setImmediate(() => {
        if (stream.bytesRead !== bytesRead) return;
        stream.destroy(new Error(`the database has been silent for ${stream.timeout} ms`));
        if (silenceMs === undefined || _ending) return;
        // Those that have answered since then live. The others may be on the same dead way, and would each cost somebody
        // as long.
        const askedAt = performance.now() - silenceMs;
        for (const client of clients) if (client.answeredAt < askedAt) client.retire();
      });
    }
  }

  function foundReadOnly(): void {
    foundReadOnlyAt = performance.now();
  }

  return {
    Client,
    foundReadOnly,
    destroy() {
      for (const client of clients) client.destroy(new Error('the database is closed'));
    },
  };
}
